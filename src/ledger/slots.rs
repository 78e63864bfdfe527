//! The rate limit that all processes share: moments at which a request may leave, handed out in the database.
//!
//! A process takes its share for less than half a second at a time, so that no request costs a round trip.

use std::time::Duration;

use super::{Error, Ledger};

impl Ledger {
    /// Reserves `number` consecutive moments, `1 / per_second` apart, and tells how far off the first one is.
    pub async fn reserve_slots(&self, number: u32, per_second: f64) -> Result<Duration, Error> {
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.reserve_slots */
               WITH reserved AS (
                   UPDATE geft_sweeper.request_slots
                      SET next_slot = greatest(next_slot, clock_timestamp()) + $1::float8 / $2::float8 * interval '1 second'
                   RETURNING next_slot)
               SELECT extract(epoch FROM next_slot - $1::float8 / $2::float8 * interval '1 second' - clock_timestamp())::float8
                      AS "seconds!"
                 FROM reserved"#,
            f64::from(number),
            per_second,
        )
        .fetch_one(self.database.pool());
        let seconds = self.run("reserving a share of the rate limit", statement).await?;
        Ok(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
    }
}
