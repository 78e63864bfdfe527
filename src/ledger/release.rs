//! Giving claims back, and ending sessions for which no request was sent.
//!
//! Only the holder of the claim does either. No attempt was begun, so there is no audit row and no gap in the numbers.

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use uuid::Uuid;

use super::{Error, Ledger};
use crate::outcome::Said;
use crate::session::{Claim, Names, State};

/// A session that ends, or waits, without a cancel request.
#[derive(Clone, Debug)]
pub struct Settled {
    /// The claim under which it is held.
    pub claim: Claim,
    /// `Withdrawn`, `AlreadyTerminal` or `Failed`.
    pub state: State,
    /// What the provider said when it was asked.
    pub said: Said,
}

impl Settled {
    /// What the session is found by. The number is that of its last attempt: the one it was claimed for was none.
    #[must_use]
    pub fn names(&self) -> Names {
        let last = self.claim.attempt - 1;
        Names { attempt: (last > 0).then_some(last), ..self.claim.names() }
    }
}

impl Ledger {
    /// Gives claimed sessions back, each due when it was due before, or `pause` from now where one is given.
    /// Returns how many were still ours.
    pub async fn release(&self, claims: &[Claim], pause: Option<Duration>) -> Result<u64, Error> {
        let (ids, tokens) = keys(claims);
        let statement = sqlx::query_scalar!(
            "/* geft-sweeper ledger.release */
             WITH released AS (
                 UPDATE geft_sweeper.cancellations c
                    SET state = 'pending', attempts = attempts - 1, source_key = coalesce(c.source_key, c.session_id::text),
                        next_attempt_at = coalesce(clock_timestamp() + $3::float8 * interval '1 second', next_attempt_at),
                        claim = NULL
                   FROM UNNEST($1::uuid[], $2::uuid[]) AS ours(session_id, claim)
                  WHERE c.session_id = ours.session_id AND c.claim = ours.claim AND c.state = 'in_flight'
                 RETURNING ours.claim),
             let_go AS (
                 UPDATE geft_sweeper.claims k SET open = open - gone.sessions
                   FROM (SELECT claim, count(*) AS sessions FROM released GROUP BY claim) gone
                  WHERE k.token = gone.claim)
             SELECT count(*) AS \"count!\" FROM released",
            &ids,
            &tokens,
            pause.map(|pause| pause.as_secs_f64()),
        )
        .fetch_one(self.database.pool());
        let released = self.run("giving sessions back", statement).await?;
        Ok(u64::try_from(released).unwrap_or_default())
    }

    /// Ends claimed sessions for which no cancel request was sent. Returns those that were still ours; to ask again
    /// after a failure is safe, for what was written is recognised.
    pub async fn settle(&self, sweep: Option<Uuid>, settled: &[Settled]) -> Result<HashSet<Uuid>, Error> {
        let mut ended: HashSet<Uuid> = self.end(sweep, settled).await?.into_iter().collect();
        if ended.len() < settled.len() {
            ended.extend(self.ended_before(settled).await?);
        }
        Ok(ended)
    }

    /// Which of these sessions an earlier call ended although its answer was lost: a claim lost to another process
    /// would have counted an attempt.
    async fn ended_before(&self, settled: &[Settled]) -> Result<Vec<Uuid>, Error> {
        let ids: Vec<Uuid> = settled.iter().map(|one| one.claim.session_id.uuid()).collect();
        let states: Vec<String> = settled.iter().map(|one| one.state.as_str().to_owned()).collect();
        let attempts: Vec<i32> = settled.iter().map(|one| one.claim.attempt - 1).collect();
        let claimed: Vec<DateTime<Utc>> = settled.iter().map(|one| one.claim.claimed_at).collect();
        let statement = sqlx::query_scalar!(
            "/* geft-sweeper ledger.ended_before */
             SELECT c.session_id FROM UNNEST($1::uuid[], $2::text[], $3::int[], $4::timestamptz[])
                                      AS ours(session_id, state, attempts, claimed_at)
               JOIN geft_sweeper.cancellations c USING (session_id)
              WHERE c.state = ours.state AND c.attempts = ours.attempts AND c.finished_at >= ours.claimed_at",
            &ids,
            &states,
            &attempts,
            &claimed,
        )
        .fetch_all(self.database.pool());
        self.run("looking for sessions ended before", statement).await
    }

    async fn end(&self, sweep: Option<Uuid>, settled: &[Settled]) -> Result<Vec<Uuid>, Error> {
        let claims: Vec<Claim> = settled.iter().map(|one| one.claim.clone()).collect();
        let (ids, tokens) = keys(&claims);
        let states: Vec<String> = settled.iter().map(|one| one.state.as_str().to_owned()).collect();
        let texts = |text: fn(&Said) -> &Option<String>| -> Vec<Option<String>> {
            settled.iter().map(|one| text(&one.said).clone()).collect()
        };
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.settle */
               WITH ended AS (
                   UPDATE geft_sweeper.cancellations c
                      SET state = ours.state, source_key = coalesce(c.source_key, c.session_id::text), attempts = attempts - 1, next_attempt_at = NULL, finished_at = clock_timestamp(),
                          session_status = coalesce(ours.session_status, c.session_status),
                          status_details = CASE WHEN ours.session_status IS NULL THEN c.status_details ELSE ours.status_details END,
                          amount = coalesce(ours.amount::numeric, c.amount),
                          claim = NULL
                     FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[])
                          AS ours(session_id, claim, state, session_status, status_details, amount)
                    WHERE c.session_id = ours.session_id AND c.claim = ours.claim AND c.state = 'in_flight'
                   RETURNING c.session_id, c.state, c.session_status, ours.claim),
               let_go AS (
                   UPDATE geft_sweeper.claims k SET open = open - gone.sessions
                     FROM (SELECT claim, count(*) AS sessions FROM ended GROUP BY claim) gone WHERE k.token = gone.claim),
               tallied AS (
                   UPDATE geft_sweeper.sweeps
                      SET withdrawn = withdrawn + (SELECT count(*) FROM ended WHERE state = 'withdrawn'),
                          already_terminal = already_terminal + (SELECT count(*) FROM ended WHERE state = 'already_terminal'),
                          failed = failed + (SELECT count(*) FROM ended WHERE state = 'failed'),
                          paid_after_abandonment = paid_after_abandonment + (SELECT count(*) FROM ended
                              WHERE state = 'already_terminal' AND lower(session_status) = 'completed')
                    WHERE id = $7)
               SELECT session_id FROM ended"#,
            &ids,
            &tokens,
            &states,
            &texts(|said| &said.session_status) as &[Option<String>],
            &texts(|said| &said.status_details) as &[Option<String>],
            &texts(|said| &said.amount) as &[Option<String>],
            sweep,
        )
        .fetch_all(self.database.pool());
        self.run("ending sessions without a request", statement).await
    }
}

fn keys(claims: &[Claim]) -> (Vec<Uuid>, Vec<Uuid>) {
    claims.iter().map(|claim| (claim.session_id.uuid(), claim.token)).unzip()
}
