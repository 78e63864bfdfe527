//! Taking over: a lease that ran out belongs to nobody, and its attempt gets the row that its process did not write.
//!
//! It is decided by the lease alone, never by whether somebody looks dead.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::{Error, Ledger};

/// What the audit row says of an attempt whose process is gone.
const EXPLANATION: &str = "the process that held the session did not write a result before its lease ended";

struct Expired {
    session_id: Uuid,
    counted_attempts: i32,
    /// As in a claim, but for one whose last attempt was interrupted: one interruption is forgiven, the second counts, or a
    /// session that kills its process would be taken up for ever.
    after_outage: bool,
}

impl Ledger {
    /// Gives at most `limit` sessions whose lease ran out back to everybody, with an `interrupted` row for each, and
    /// tells how many there were.
    ///
    /// The first `passed_over` of them, by the end of their lease, are left as they are.
    ///
    /// `pause` gives the pause after an attempt that so many counted ones went before, and none where it spends the
    /// budget: such a session becomes due at once, and its last claim asks for its status and ends it.
    pub async fn take_over(
        &self,
        sweep: Option<Uuid>,
        limit: u32,
        passed_over: u32,
        pause: impl Fn(u32) -> Option<Duration>,
    ) -> Result<u64, Error> {
        // Boxed: it is a large future, and rarely needed.
        let taking = Box::pin(take_over(self.database.pool(), sweep, limit, passed_over, pause));
        self.run("taking over sessions whose lease ran out", taking).await
    }
}

async fn take_over(
    pool: &PgPool,
    sweep: Option<Uuid>,
    limit: u32,
    passed_over: u32,
    pause: impl Fn(u32) -> Option<Duration>,
) -> Result<u64, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    // Locks: these rows, until the end of the transaction, and only those that nobody else has locked.
    let expired = sqlx::query_as!(
        Expired,
        r#"/* geft-sweeper ledger.expired */
         SELECT c.session_id AS "session_id!", counted_attempts AS "counted_attempts!",
                coalesce(uncounted_running > 0 AND last_outcome NOT IN ('unauthorized', 'rate_limited', 'interrupted'), false)
                    AS "after_outage!"
           FROM (SELECT token, session_ids FROM geft_sweeper.claims
                  WHERE lease_until < now() AND (open > 0 OR lease_until < now() - interval '1 minute')
                  ORDER BY lease_until) k,
                LATERAL (SELECT session_id, counted_attempts, uncounted_running, last_outcome
                           FROM geft_sweeper.cancellations
                          WHERE session_id = ANY (k.session_ids) AND claim = k.token AND state = 'in_flight'
                          ORDER BY session_id LIMIT $1::bigint + $2::bigint FOR UPDATE SKIP LOCKED) c
          LIMIT $1::bigint OFFSET $2::bigint"#,
        i64::from(limit),
        i64::from(passed_over),
    )
    .fetch_all(&mut *transaction)
    .await?;
    if expired.is_empty() {
        forget_claims(&mut transaction).await?;
        transaction.commit().await?;
        return Ok(0);
    }
    let pauses = expired.iter().map(|row| {
        let counted = u32::try_from(row.counted_attempts).unwrap_or_default();
        let pause = pause(counted).or(row.after_outage.then_some(Duration::ZERO));
        pause.map(|pause| pause.as_secs_f64())
    });
    let pauses: Vec<Option<f64>> = pauses.collect();
    let taken = write(&mut transaction, sweep, &expired, &pauses).await?;
    transaction.commit().await?;
    Ok(taken)
}

/// Forgets claims whose lease is over and under which nothing is held any more: by the sessions' own rows, whatever the
/// claim counts.
async fn forget_claims(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement = sqlx::query!(
        "/* geft-sweeper ledger.forget_claims */
         DELETE FROM geft_sweeper.claims k
          WHERE lease_until < now()
            AND 0 = (SELECT count(*) FROM geft_sweeper.cancellations c
                      WHERE c.session_id = ANY (k.session_ids) AND c.claim = k.token AND c.state = 'in_flight')"
    );
    statement.execute(transaction).await.map(drop)
}

async fn write(
    transaction: &mut PgConnection,
    sweep: Option<Uuid>,
    expired: &[Expired],
    pauses: &[Option<f64>],
) -> Result<u64, sqlx::Error> {
    let ids: Vec<Uuid> = expired.iter().map(|row| row.session_id).collect();
    let after_outage: Vec<bool> = expired.iter().map(|row| row.after_outage).collect();
    let rows = sqlx::query_scalar!(
        r#"/* geft-sweeper ledger.take_over */
           WITH held AS MATERIALIZED (
               SELECT c.session_id, c.reference_id, c.attempts, c.reason, c.sweep_id, c.claim, k.instance, k.claimed_at,
                      now() AS ended, now() + e.pause * interval '1 second' AS again, e.after_outage
                 FROM UNNEST($1::uuid[], $2::float8[], $5::bool[]) AS e(session_id, pause, after_outage)
                 JOIN geft_sweeper.cancellations c USING (session_id) JOIN geft_sweeper.claims k ON k.token = c.claim),
           given_back AS (
               UPDATE geft_sweeper.cancellations c
                  SET state = 'pending', source_key = coalesce(c.source_key, c.session_id::text), next_attempt_at = coalesce(held.again, held.ended), last_outcome = 'interrupted',
                      counted_attempts = counted_attempts + (NOT held.after_outage)::int,
                      uncounted_running = CASE WHEN held.after_outage THEN uncounted_running + 1 ELSE 0 END,
                      may_have_had_effect = true,
                      claim = NULL, claimed_by = NULL, claimed_at = NULL, lease_until = NULL
                 FROM held WHERE c.session_id = held.session_id),
           let_go AS (
               UPDATE geft_sweeper.claims k SET open = open - gone.sessions
                 FROM (SELECT claim, count(*) AS sessions FROM held GROUP BY claim) gone WHERE k.token = gone.claim),
           audited AS (
               INSERT INTO geft_sweeper.cancel_attempts
                   (session_id, reference_id, attempt, reason, sweep_id, instance, started_at, finished_at, outcome, error, next_attempt_at)
               SELECT session_id, reference_id, attempts, reason, sweep_id, instance, claimed_at, ended, 'interrupted', $3, again
                 FROM held
               RETURNING next_attempt_at),
           tallied AS (
               UPDATE geft_sweeper.sweeps
                  SET retried = retried + (SELECT count(*) FROM audited WHERE next_attempt_at IS NOT NULL) WHERE id = $4)
           SELECT count(*) AS "count!" FROM audited"#,
        &ids,
        pauses as &[Option<f64>],
        EXPLANATION,
        sweep,
        &after_outage,
    )
    .fetch_one(transaction)
    .await?;
    Ok(u64::try_from(rows).unwrap_or_default())
}
