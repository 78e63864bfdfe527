//! Claiming: a batch of due sessions becomes ours until the lease ends.
//!
//! The commit of a claim is the proof that its requests were meant; nothing is sent before it. No transaction stays open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Error, Ledger};
use crate::session::{Candidate, Claim, Reason, SessionId};

/// What is kept of a lease for writing the result down.
const MARGIN: Duration = Duration::from_secs(5);

/// Which aged sessions may be claimed; all others always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aged {
    /// All of them.
    All,
    /// Those that have been waited for this long: the others are asked for their status first.
    WaitedFor(Duration),
    /// None: it is not known how old they are.
    None,
}

/// A claim whose commit may or may not have been answered: its token, and when it was sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubtful(Arc<Mutex<Option<(Uuid, Instant)>>>);

impl Doubtful {
    pub(super) fn set_locked(&self, claim: Option<(Uuid, Instant)>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = claim;
    }

    /// Whether no claim is in doubt.
    pub(super) fn is_free_locked(&self) -> bool {
        self.get_locked().is_none()
    }

    fn get_locked(&self) -> Option<(Uuid, Instant)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all claims of one batch share.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    pub(super) sweep_id: Uuid,
    pub(super) token: Uuid,
    pub(super) asked_at: Instant,
    pub(super) answered_at: Instant,
    pub(super) claimed_at: DateTime<Utc>,
    pub(super) lease: Duration,
}

impl Taken {
    /// The claim of a session that was taken on with it.
    pub(super) fn claim(&self, candidate: &Candidate) -> Claim {
        Claim {
            token: self.token,
            session_id: candidate.session_id,
            source_key: candidate.source_key.clone(),
            reason: candidate.reason.clone(),
            sweep_id: self.sweep_id,
            attempt: 1,
            counted: 0,
            uncounted_running: 0,
            may_have_had_effect: false,
            after_outage: false,
            after_interruption: false,
            claimed_at: self.claimed_at,
            answered_at: self.answered_at,
            deadline: self.deadline(),
            trace: None,
        }
    }

    /// From before the claim was sent: never later than the lease in the database.
    fn deadline(&self) -> Instant {
        self.asked_at + self.lease.saturating_sub(MARGIN)
    }
}

/// A claimed row, as every statement that claims gives it.
pub(super) struct Row {
    pub(super) session_id: Uuid,
    pub(super) source_key: String,
    pub(super) reason: String,
    pub(super) sweep_id: Uuid,
    pub(super) attempts: i32,
    pub(super) counted_attempts: i32,
    pub(super) uncounted_running: i32,
    pub(super) may_have_had_effect: bool,
    pub(super) after_outage: bool,
    pub(super) after_interruption: bool,
    pub(super) claimed_at: DateTime<Utc>,
    pub(super) due: DateTime<Utc>,
}

impl Row {
    fn into_claim(self, token: Uuid, asked_at: Instant, answered_at: Instant, lease: Duration) -> Claim {
        Claim {
            token,
            session_id: self.session_id.into(),
            source_key: self.source_key,
            reason: Reason::new(self.reason),
            sweep_id: self.sweep_id,
            attempt: self.attempts,
            counted: u32::try_from(self.counted_attempts).unwrap_or_default(),
            uncounted_running: u32::try_from(self.uncounted_running).unwrap_or_default(),
            may_have_had_effect: self.may_have_had_effect,
            after_outage: self.after_outage,
            after_interruption: self.after_interruption,
            claimed_at: self.claimed_at,
            answered_at,
            // From before the claim was sent: never later than the lease in the database.
            deadline: asked_at + lease.saturating_sub(MARGIN),
            trace: None,
        }
    }
}

impl Ledger {
    /// Claims at most `limit` due sessions, oldest due first. Rows that another process holds are passed over.
    pub async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<Claim>, Error> {
        self.claim_preferring(&[], limit, lease, Aged::All).await
    }

    /// The same, and of the due sessions those in `preferred` come first.
    ///
    /// After a failure it is not known whether the claim was committed: the next call reads it back by its token first.
    pub async fn claim_preferring(
        &self,
        preferred: &[SessionId],
        limit: u32,
        lease: Duration,
        aged: Aged,
    ) -> Result<Vec<Claim>, Error> {
        let preferred: Vec<Uuid> = preferred.iter().map(|session| session.uuid()).collect();
        let waited = if let Aged::WaitedFor(grace) = aged { Some(grace.as_secs_f64()) } else { None };
        let statement = async |token: Uuid| {
            sqlx::query_file_as!(
                Row,
                "src/ledger/claim.sql",
                i64::from(limit),
                token,
                self.instance.name(),
                lease.as_secs_f64(),
                aged == Aged::All,
                waited,
                &preferred,
            )
            .fetch_all(self.database.pool())
            .await
        };
        self.claimed_by(lease, statement).await
    }

    /// Claims by a statement that is given the token, unless an earlier claim turns up whose answer was lost.
    pub(super) async fn claimed_by(
        &self,
        lease: Duration,
        statement: impl AsyncFnOnce(Uuid) -> Result<Vec<Row>, sqlx::Error>,
    ) -> Result<Vec<Claim>, Error> {
        let doubtful = self.claimed_in_doubt(lease).await?;
        if !doubtful.is_empty() {
            return Ok(doubtful);
        }
        let token = Uuid::new_v4();
        let asked_at = Instant::now();
        self.doubtful.set_locked(Some((token, asked_at)));
        let mut rows = self.run("claiming sessions", statement(token)).await?;
        // An UPDATE gives its rows in no order.
        rows.sort_unstable_by_key(|row| (row.due, row.session_id));
        self.doubtful.set_locked(None);
        let answered_at = Instant::now();
        Ok(rows.into_iter().map(|row| row.into_claim(token, asked_at, answered_at, lease)).collect())
    }

    /// What an earlier call claimed although its answer was lost. It is told once.
    pub async fn claimed_in_doubt(&self, lease: Duration) -> Result<Vec<Claim>, Error> {
        let Some((token, asked_at)) = self.doubtful.get_locked() else { return Ok(Vec::new()) };
        let claims = self.read_back(token, asked_at, lease).await?;
        self.doubtful.set_locked(None);
        Ok(claims)
    }

    async fn read_back(&self, token: Uuid, asked_at: Instant, lease: Duration) -> Result<Vec<Claim>, Error> {
        let statement = sqlx::query_as!(
            Row,
            r#"/* geft-sweeper ledger.read_back */
               SELECT session_id AS "session_id!", coalesce(source_key, session_id::text) AS "source_key!", reason, sweep_id,
                      attempts, counted_attempts, uncounted_running, may_have_had_effect, clock_timestamp() AS "claimed_at!",
                      next_attempt_at AS "due!",
                      coalesce(uncounted_running > 0 AND last_outcome NOT IN ('unauthorized', 'rate_limited'), false) AS "after_outage!",
                      coalesce(last_outcome = 'interrupted', false) AS "after_interruption!"
                 FROM geft_sweeper.claims JOIN geft_sweeper.cancellations c ON session_id = ANY (session_ids)
                WHERE token = $1 AND state = 'in_flight' AND claim = $1"#,
            token,
        )
        .fetch_all(self.database.pool());
        let rows = self.run("reading a claim back", statement).await?;
        let answered_at = Instant::now();
        Ok(rows.into_iter().map(|row| row.into_claim(token, asked_at, answered_at, lease)).collect())
    }

    /// How long until the next session is due or the next lease ends; none where nothing is open. Zero: now.
    pub async fn next_due(&self, aged: Aged) -> Result<Option<Duration>, Error> {
        let statement = sqlx::query_scalar!(
            "/* geft-sweeper ledger.next_due */
             SELECT extract(epoch FROM least(
                 (SELECT min(due_at) FROM geft_sweeper.cancellations WHERE $1 OR reason <> 'aged'),
                 (SELECT min(lease_until) FROM geft_sweeper.claims WHERE open > 0)
             ) - clock_timestamp())::float8",
            aged != Aged::None,
        )
        .fetch_one(self.database.pool());
        let seconds = self.run("asking when the next session is due", statement).await?;
        Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
    }

    /// Whether a session is due that is to be canceled for its age.
    pub async fn is_aged_due(&self) -> Result<bool, Error> {
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.is_aged_due */
               SELECT EXISTS (SELECT FROM geft_sweeper.cancellations
                               WHERE reason = 'aged' AND due_at <= now()) AS "due!""#
        )
        .fetch_one(self.database.pool());
        self.run("asking for sessions that are due for their age", statement).await
    }
}
