//! How many sessions were taken on when, and how many somebody released past the limit: what the blast-radius brake
//! goes by. The database holds both, so that all processes together keep to one limit.
//!
//! It never decides what the limit is, but no intake beyond it is recorded, whoever counted what before.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Brake, Error, Ledger};

/// What was taken on of some candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Those that were new.
    Taken {
        /// How many.
        sessions: u64,
        /// How many of them past the limit, because somebody released them.
        released: u64,
    },
    /// None: they would have gone past the limit and past what is released.
    Refused,
}

/// Where discovery stands before it takes anything on.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Sessions taken on in the last ten minutes, those that were released past the limit left out.
    pub recent: u64,
    /// Sessions that are still released past the limit.
    pub released: u64,
    /// The sentence of [`Brake::BlastRadius`] where it acts.
    pub braked: Option<String>,
}

/// Waits until no other process is taking sessions on; until the end of the transaction none can.
///
/// Discovery is locked as a whole, but by another connection, which can be lost while a page is on its way.
pub(super) async fn lock(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement = sqlx::query!(
        "/* geft-sweeper ledger.lock_intakes */ SELECT FROM pg_advisory_xact_lock(hashtext('geft_sweeper.take_on'))"
    );
    statement.execute(transaction).await.map(drop)
}

/// Records sessions that this transaction took on: against the limit first, and what exceeds it against what was
/// released, which is used in the order in which it expires. Where that is too little the transaction must be rolled
/// back.
pub(super) async fn record(
    transaction: &mut PgConnection,
    sweep: Uuid,
    sessions: u64,
    most: u64,
) -> Result<Intake, sqlx::Error> {
    let recorded = sqlx::query!(
        r#"/* geft-sweeper ledger.record_intake */
           WITH excess AS (
               SELECT least($2::bigint, greatest(0, coalesce(sum(sessions), 0)::bigint + $2 - $3::bigint)) AS sessions
                 FROM geft_sweeper.intakes WHERE allowance IS NULL AND taken_at > now() - interval '10 minutes'),
           open AS (
               SELECT id, sessions - used AS unused, sum(sessions - used) OVER (ORDER BY expires_at, id)::bigint AS up_to
                 FROM geft_sweeper.allowances WHERE expires_at > now() AND used < sessions),
           drawn AS (
               SELECT id, least(unused, excess.sessions - (up_to - unused)) AS sessions
                 FROM open, excess WHERE up_to - unused < excess.sessions),
           used AS (
               UPDATE geft_sweeper.allowances a SET used = a.used + drawn.sessions FROM drawn WHERE a.id = drawn.id),
           recorded AS (
               INSERT INTO geft_sweeper.intakes (sweep_id, sessions, allowance)
               SELECT $1, sessions, allowance
                 FROM (SELECT $2 - sessions, NULL FROM excess UNION ALL SELECT sessions, id FROM drawn)
                      AS portion (sessions, allowance)
                WHERE sessions > 0
               RETURNING sessions, allowance)
           SELECT coalesce(sum(sessions), 0)::bigint AS "sessions!",
                  coalesce(sum(sessions) FILTER (WHERE allowance IS NOT NULL), 0)::bigint AS "released!"
             FROM recorded"#,
        sweep,
        signed(sessions),
        signed(most),
    )
    .fetch_one(transaction)
    .await?;
    let released = unsigned(recorded.released);
    Ok(if unsigned(recorded.sessions) == sessions { Intake::Taken { sessions, released } } else { Intake::Refused })
}

impl Ledger {
    /// Where discovery stands, in the transaction that reads the source: one snapshot, so that what another process took
    /// on is either in these numbers or still to be counted, never both.
    pub async fn discovery_standing(&self, transaction: &mut PgConnection) -> Result<Standing, Error> {
        let statement = sqlx::query!(
            r#"/* geft-sweeper ledger.discovery_standing */
               SELECT coalesce(sum(sessions), 0)::bigint AS "recent!",
                      (SELECT coalesce(sum(sessions - used), 0)::bigint FROM geft_sweeper.allowances
                        WHERE expires_at > now()) AS "released!",
                      (SELECT sentence FROM geft_sweeper.brakes WHERE name = $1 AND instance = '') AS braked
                 FROM geft_sweeper.intakes WHERE allowance IS NULL AND taken_at > now() - interval '10 minutes'"#,
            Brake::BlastRadius.as_str(),
        )
        .fetch_one(transaction);
        let row = self.run("reading what was taken on", statement).await?;
        Ok(Standing { recent: unsigned(row.recent), released: unsigned(row.released), braked: row.braked })
    }

    /// The most sessions that were taken on within ten minutes, in the 7 days before the last ten; where nothing was, in
    /// the last ten; none where nothing was in all that time.
    ///
    /// What somebody released past the limit was an exception, and no measure of what is usual.
    pub async fn busiest_ten_minutes(&self, transaction: &mut PgConnection) -> Result<Option<u64>, Error> {
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.busiest_ten_minutes */
               WITH known AS (
                   SELECT taken_at, sessions, taken_at <= now() - interval '10 minutes' AS past
                     FROM geft_sweeper.intakes
                    WHERE allowance IS NULL AND taken_at > now() - interval '7 days 10 minutes'),
               windows AS (
                   SELECT sum(sessions) OVER (ORDER BY taken_at RANGE BETWEEN '10 minutes' PRECEDING AND CURRENT ROW) AS sessions
                     FROM known WHERE past)
               SELECT coalesce((SELECT max(sessions) FROM windows), (SELECT sum(sessions) FROM known))::bigint"#
        )
        .fetch_one(transaction);
        let busiest = self.run("looking for the busiest ten minutes", statement).await?;
        Ok(busiest.map(unsigned))
    }

    /// Releases sessions past the limit for so many seconds, and tells until when.
    pub async fn allow(&self, sessions: u32, seconds: f64, actor: &str) -> Result<DateTime<Utc>, Error> {
        let statement = sqlx::query_scalar!(
            "/* geft-sweeper ledger.allow */
             INSERT INTO geft_sweeper.allowances (sessions, actor, expires_at)
             VALUES ($1, $2, clock_timestamp() + $3::float8 * interval '1 second') RETURNING expires_at",
            i64::from(sessions),
            actor,
            seconds,
        )
        .fetch_one(self.database.pool());
        self.run("releasing sessions", statement).await
    }

    /// Forgets what was taken on longer ago than anybody asks for.
    pub async fn forget_intakes(&self) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.forget_intakes */
             DELETE FROM geft_sweeper.intakes WHERE taken_at < now() - interval '8 days'"
        )
        .execute(self.database.pool());
        self.run("forgetting old intakes", statement).await.map(drop)
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
