//! The rate limit that all processes share: moments at which a request may leave, handed out in the database.
//!
//! A process takes its share for less than half a second at a time, so that no request costs a round trip.

use std::time::Duration;

use super::{Error, Ledger};

/// How far the next free moment may lie beyond what the limit explains, before it is taken for the word of another clock:
/// one that was set back since, or that of a server that is gone.
const CREDIBLE: Duration = Duration::from_secs(10);

/// What was answered. Times are by the database's clock, since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slots {
    /// When it answered.
    pub clock: Duration,
    /// The beginning of what was reserved; where nothing was, the next free moment.
    pub first: Duration,
    /// Whether it was reserved.
    pub reserved: bool,
}

impl Ledger {
    /// Reserves the next free time for this process alone, so long a `span`, unless it begins more than `ahead` off.
    ///
    /// Where the next free moment is not to be believed, it is taken to be so far ahead: what was reserved before is all
    /// but over by then.
    pub async fn reserve_slots(&self, span: Duration, ahead: Duration) -> Result<Slots, Error> {
        let far = ahead + span + CREDIBLE;
        // The clock is read in the row's own update, which may have waited for another process's.
        let statement = sqlx::query!(
            r#"/* geft-sweeper ledger.reserve_slots */
               WITH reserved AS (
                   UPDATE geft_sweeper.request_slots
                      SET next_slot = CASE WHEN next_slot > clock_timestamp() + $3::float8 * interval '1 second'
                                           THEN clock_timestamp() + $2::float8 * interval '1 second'
                                           ELSE greatest(next_slot, clock_timestamp()) END
                                      + $1::float8 * interval '1 second'
                    WHERE next_slot <= clock_timestamp() + $2::float8 * interval '1 second'
                       OR next_slot > clock_timestamp() + $3::float8 * interval '1 second'
                   RETURNING next_slot - $1::float8 * interval '1 second' AS first)
               SELECT extract(epoch FROM coalesce((SELECT first FROM reserved), next_slot))::float8 AS "first!",
                      extract(epoch FROM clock_timestamp())::float8 AS "clock!",
                      EXISTS (SELECT FROM reserved) AS "reserved!"
                 FROM geft_sweeper.request_slots"#,
            span.as_secs_f64(),
            ahead.as_secs_f64(),
            far.as_secs_f64(),
        )
        .fetch_one(self.database.pool());
        let row = self.run("reserving a share of the rate limit", statement).await?;
        Ok(Slots { clock: since_1970(row.clock), first: since_1970(row.first), reserved: row.reserved })
    }
}

fn since_1970(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
