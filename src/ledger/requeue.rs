//! Requeueing: failed sessions become pending with a fresh budget, because a person said so.
//!
//! No other state is touched.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, Ledger};

/// Which failed sessions.
#[derive(Clone, Debug)]
pub enum Selection {
    /// These.
    Sessions(Vec<Uuid>),
    /// Those whose last attempt ended so, and that failed at or after this moment.
    Outcome {
        /// The outcome, as stored.
        outcome: String,
        /// The moment.
        since: DateTime<Utc>,
    },
}

/// A session that was requeued, or would be.
#[derive(Clone, Debug)]
pub struct Requeued {
    /// The session.
    pub session_id: Uuid,
    /// The outcome that it failed with; none where the last word was a status.
    pub last_outcome: Option<String>,
    /// Its attempts so far.
    pub attempts: i32,
}

impl Ledger {
    /// Makes failed sessions pending again; with `dry_run` only says which.
    pub async fn requeue(&self, selection: &Selection, dry_run: bool) -> Result<Vec<Requeued>, Error> {
        let (sessions, outcome, since) = match selection {
            Selection::Sessions(sessions) => (Some(sessions.as_slice()), None, None),
            Selection::Outcome { outcome, since } => (None, Some(outcome.as_str()), Some(*since)),
        };
        let doing = "requeueing failed sessions";
        if dry_run {
            let statement = sqlx::query_as!(
                Requeued,
                "/* geft-sweeper ledger.requeueable */
                 SELECT session_id, last_outcome, attempts FROM geft_sweeper.cancellations
                  WHERE state = 'failed' AND ($1::uuid[] IS NULL OR session_id = ANY($1))
                    AND ($2::text IS NULL OR last_outcome = $2) AND ($3::timestamptz IS NULL OR finished_at >= $3)",
                sessions as Option<&[Uuid]>,
                outcome,
                since,
            )
            .fetch_all(self.database.pool());
            self.run(doing, statement).await
        } else {
            let statement = sqlx::query_as!(
                Requeued,
                "/* geft-sweeper ledger.requeue */
                 UPDATE geft_sweeper.cancellations
                    SET state = 'pending', source_key = coalesce(source_key, session_id::text), counted_attempts = 0, uncounted_running = 0,
                        next_attempt_at = clock_timestamp(), finished_at = NULL
                  WHERE state = 'failed' AND ($1::uuid[] IS NULL OR session_id = ANY($1))
                    AND ($2::text IS NULL OR last_outcome = $2) AND ($3::timestamptz IS NULL OR finished_at >= $3)
                 RETURNING session_id, last_outcome, attempts",
                sessions as Option<&[Uuid]>,
                outcome,
                since,
            )
            .fetch_all(self.database.pool());
            self.run(doing, statement).await
        }
    }

    /// The database's time, this long ago.
    pub async fn moment_before(&self, seconds: f64) -> Result<DateTime<Utc>, Error> {
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.moment_before */ SELECT now() - $1::float8 * interval '1 second' AS "moment!""#,
            seconds
        )
        .fetch_one(self.database.pool());
        self.run("asking the database for the time", statement).await
    }
}
