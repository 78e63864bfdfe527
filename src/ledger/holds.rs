//! What holds sending back, as all processes know it: written by whoever finds it out, by the database's clock.
//!
//! It does not know what the reasons mean. A row whose time is over holds nobody back. One whose time is long over is
//! nobody's work any more, and one noted in the future comes from before the clock was set back: neither is believed.

use std::time::Duration;

use super::{Error, Ledger};

/// A hold that is known to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub why: String,
    /// For how long nothing is to be sent; zero where that time is over.
    pub left: Duration,
    /// How often in a row it was found to be so.
    pub times_found: u32,
    /// This process was the last to find it out.
    pub ours: bool,
}

impl Ledger {
    /// Notes a hold for all processes. It never shortens one that another process noted; this process's own it replaces.
    pub async fn note_hold(&self, why: &str, left: Duration, times_found: u32) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.note_hold */
             INSERT INTO geft_sweeper.holds AS known (why, until, times_found, instance)
             VALUES ($1, clock_timestamp() + $2::float8 * interval '1 second', $3, $4)
             ON CONFLICT (why) DO UPDATE SET
                 until = excluded.until, times_found = excluded.times_found, instance = excluded.instance,
                 noted_at = excluded.noted_at
               WHERE known.instance = excluded.instance OR known.until < excluded.until
                  OR known.noted_at > clock_timestamp() + interval '10 seconds'",
            why,
            left.as_secs_f64(),
            i32::try_from(times_found).unwrap_or(i32::MAX),
            self.instance.name(),
        )
        .execute(self.database.pool());
        self.run("noting what holds sending back", statement).await?;
        Ok(())
    }

    /// Notes that a hold is over, for all processes.
    pub async fn end_hold(&self, why: &str) -> Result<(), Error> {
        let statement =
            sqlx::query!("/* geft-sweeper ledger.end_hold */ DELETE FROM geft_sweeper.holds WHERE why = $1", why)
                .execute(self.database.pool());
        self.run("noting that sending is held back no more", statement).await?;
        Ok(())
    }

    /// Every hold that is known to all and believed.
    pub async fn holds(&self) -> Result<Vec<Hold>, Error> {
        // However far off the end is, it is looked at again and again: an hour is as good as for ever.
        let statement = sqlx::query!(
            r#"/* geft-sweeper ledger.holds */
               SELECT why, times_found, instance = $1 AS "ours!",
                      extract(epoch FROM least(until, clock_timestamp() + interval '1 hour') - clock_timestamp())::float8 AS "left!"
                 FROM geft_sweeper.holds
                WHERE until > clock_timestamp() - interval '5 minutes'
                  AND noted_at <= clock_timestamp() + interval '10 seconds'
                ORDER BY why"#,
            self.instance.name(),
        )
        .fetch_all(self.database.pool());
        let rows = self.run("reading what holds sending back", statement).await?;
        let hold = rows.into_iter().map(|row| Hold {
            why: row.why,
            left: Duration::try_from_secs_f64(row.left.max(0.0)).unwrap_or_default(),
            times_found: u32::try_from(row.times_found).unwrap_or_default(),
            ours: row.ours,
        });
        Ok(hold.collect())
    }

    /// Wins the right to find out whether a hold whose time is over still stands, for `lease`. Of all processes one wins.
    pub async fn win_hold(&self, why: &str, lease: Duration) -> Result<bool, Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.win_hold */
             UPDATE geft_sweeper.holds
                SET until = clock_timestamp() + $3::float8 * interval '1 second', instance = $2, noted_at = clock_timestamp()
              WHERE why = $1 AND (until <= clock_timestamp() OR instance = $2
                                  OR noted_at > clock_timestamp() + interval '10 seconds')",
            why,
            self.instance.name(),
            lease.as_secs_f64(),
        )
        .execute(self.database.pool());
        Ok(self.run("asking for the right to find out", statement).await?.rows_affected() > 0)
    }
}
