//! Sweeps: one row for each, opened before its work and closed after it.
//!
//! The counts are kept by the statements that do the work, so that a sweep cut short has the right ones too.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Error, Ledger};

/// What set a sweep off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The cron schedule.
    Schedule,
    /// The command `sweep`.
    Command,
    /// A notification from the merchant's table.
    Notify,
}

impl Trigger {
    /// The trigger as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Command => "command",
            Self::Notify => "notify",
        }
    }
}

/// How a sweep ended, in the words of its row. A row is `running` until then; `interrupted` is written by the next sweep where this one could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// To its end.
    Finished,
    /// Before its end: asked to stop, or held back.
    Stopped,
}

impl Status {
    /// The status as stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
        }
    }
}

/// The row of a sweep: the report of the command `sweep`, and a line of `status`.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// The sweep.
    pub id: Uuid,
    /// What set it off.
    pub trigger: String,
    /// The process that ran it.
    pub instance: String,
    /// `running`, `finished`, `stopped` or `interrupted`.
    pub status: String,
    /// What went wrong, as one sentence.
    pub error: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Sessions taken on.
    pub discovered: i64,
    /// Sessions canceled.
    pub canceled: i64,
    /// Sessions that had ended before.
    pub already_terminal: i64,
    /// Attempts that will be repeated.
    pub retried: i64,
    /// Sessions given up.
    pub failed: i64,
    /// Sessions that the source no longer names.
    pub withdrawn: i64,
    /// Source rows that could not be used.
    pub skipped: i64,
    /// Aged sessions left for the next sweep, because the customer is still at them.
    pub waiting: i64,
    /// Of those that had ended before: how many were paid for.
    pub paid_after_abandonment: i64,
    /// Source rows within the lookback whose status is in neither list; none where this sweep did not count them.
    pub left_alone: Option<i64>,
    /// Source rows dated in the future, which are never aged; none where this sweep did not count them.
    pub dated_ahead: Option<i64>,
}

impl Ledger {
    /// Opens a sweep, and closes those of processes that are gone. One of our own that is still open could not be
    /// closed: the sweeps of one process never overlap.
    pub async fn open_sweep(&self, trigger: Trigger) -> Result<Uuid, Error> {
        let doing = "opening a sweep";
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.close_sweeps_of_the_dead */
             UPDATE geft_sweeper.sweeps s
                SET status = 'interrupted', finished_at = clock_timestamp(),
                    error = CASE WHEN instance = $1 THEN 'the database failed before the sweep could be closed'
                                 ELSE 'the process ended before the sweep did' END
              WHERE status = 'running'
                AND (instance = $1
                     OR NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = 'geft-sweeper ' || s.instance))",
            self.instance.name(),
        )
        .execute(self.database.pool());
        self.run(doing, statement).await?;
        let id = Uuid::now_v7();
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.open_sweep */ INSERT INTO geft_sweeper.sweeps (id, trigger, instance) VALUES ($1, $2, $3)",
            id,
            trigger.as_str(),
            self.instance.name(),
        )
        .execute(self.database.pool());
        self.run(doing, statement).await?;
        Ok(id)
    }

    /// Closes a sweep. The error may hold words of the database's, so it is cut to 1,000 characters. A row that somebody closed as interrupted meanwhile tells the truth again.
    pub async fn close_sweep(&self, id: Uuid, status: Status, error: Option<&str>) -> Result<Sweep, Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.close_sweep */
             UPDATE geft_sweeper.sweeps SET status = $2, error = left($3, 1000), finished_at = clock_timestamp() WHERE id = $1",
            id,
            status.as_str(),
            error,
        )
        .execute(self.database.pool());
        self.run("closing a sweep", statement).await?;
        self.sweep(id).await
    }

    /// The row of one sweep, as it is now.
    pub async fn sweep(&self, id: Uuid) -> Result<Sweep, Error> {
        let statement = sqlx::query_as!(
            Sweep,
            "/* geft-sweeper ledger.sweep */
             SELECT id, trigger, instance, status, error, started_at, finished_at, discovered, canceled, already_terminal,
                    retried, failed, withdrawn, skipped, waiting, paid_after_abandonment, left_alone, dated_ahead
               FROM geft_sweeper.sweeps WHERE id = $1",
            id,
        )
        .fetch_one(self.database.pool());
        self.run("reading a sweep", statement).await
    }

    /// The latest sweeps, newest first.
    pub async fn latest_sweeps(&self, number: u32) -> Result<Vec<Sweep>, Error> {
        let statement = sqlx::query_as!(
            Sweep,
            "/* geft-sweeper ledger.latest_sweeps */
             SELECT id, trigger, instance, status, error, started_at, finished_at, discovered, canceled, already_terminal,
                    retried, failed, withdrawn, skipped, waiting, paid_after_abandonment, left_alone, dated_ahead
               FROM geft_sweeper.sweeps ORDER BY started_at DESC LIMIT $1",
            i64::from(number),
        )
        .fetch_all(self.database.pool());
        self.run("reading the latest sweeps", statement).await
    }
}
