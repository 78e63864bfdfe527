//! The backlog for people: how many sessions stand in which state, since when, and what was paid after abandonment.
//!
//! It only reads.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Error, Ledger};
use crate::session::State;

/// Where the sessions taken on stand.
#[derive(Clone, Debug, Serialize)]
pub struct Backlog {
    /// State to number of sessions; every state is there.
    pub states: BTreeMap<String, i64>,
    /// When the session that waits longest was due; none where none is pending.
    pub oldest_due: Option<DateTime<Utc>>,
}

/// A session selected for cancellation that turned out to be paid.
#[derive(Clone, Debug, Serialize)]
pub struct PaidAfterAbandonment {
    /// The session.
    pub session_id: Uuid,
    /// The merchant's reference.
    pub reference_id: Option<String>,
    /// Why it was to be canceled.
    pub reason: String,
    /// The provider's code, word for word.
    pub status_details: Option<String>,
    /// The amount, as a decimal number in text.
    pub amount: Option<String>,
    /// When it was found out.
    pub found_at: DateTime<Utc>,
    /// `scheduled`, `awaiting_signature` or `unknown`.
    pub kind: String,
}

impl Ledger {
    /// How many sessions are due or held by a process just now.
    pub async fn count_due(&self) -> Result<u64, Error> {
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.count_due */
               SELECT (SELECT count(*) FROM geft_sweeper.cancellations WHERE due_at <= now())
                      + (SELECT coalesce(sum(open), 0) FROM geft_sweeper.claims WHERE open > 0) AS "number!""#
        )
        .fetch_one(self.database.pool());
        let number = self.run("counting what is due", statement).await?;
        Ok(u64::try_from(number).unwrap_or_default())
    }

    /// Counts the sessions by state.
    pub async fn backlog(&self) -> Result<Backlog, Error> {
        let statement = sqlx::query!(
            r#"/* geft-sweeper ledger.backlog */
               SELECT state, count(*) AS "number!", min(next_attempt_at) FILTER (WHERE state = 'pending') AS oldest_due
                 FROM geft_sweeper.cancellations GROUP BY state"#
        )
        .fetch_all(self.database.pool());
        let rows = self.run("counting the backlog", statement).await?;
        let mut states: BTreeMap<String, i64> = State::ALL.iter().map(|state| (state.as_str().to_owned(), 0)).collect();
        let mut oldest_due = None;
        for row in rows {
            oldest_due = oldest_due.or(row.oldest_due);
            states.insert(row.state, row.number);
        }
        Ok(Backlog { states, oldest_due })
    }

    /// How many sessions were paid after abandonment, ever.
    pub async fn count_paid_after_abandonment(&self) -> Result<i64, Error> {
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.count_paid */ SELECT count(*) AS "number!" FROM geft_sweeper.paid_after_abandonment"#
        )
        .fetch_one(self.database.pool());
        self.run("counting what was paid after abandonment", statement).await
    }

    /// The latest sessions paid after abandonment, newest first.
    pub async fn paid_after_abandonment(&self, number: u32) -> Result<Vec<PaidAfterAbandonment>, Error> {
        let statement = sqlx::query_as!(
            PaidAfterAbandonment,
            r#"/* geft-sweeper ledger.paid */
               SELECT session_id AS "session_id!", reference_id, reason AS "reason!", status_details, amount::text,
                      found_at AS "found_at!", kind AS "kind!"
                 FROM geft_sweeper.paid_after_abandonment ORDER BY found_at DESC LIMIT $1"#,
            i64::from(number),
        )
        .fetch_all(self.database.pool());
        self.run("reading what was paid after abandonment", statement).await
    }
}
