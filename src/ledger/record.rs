//! Recording: the audit row of each attempt and the new state of its session, in one statement for a whole batch.
//!
//! A result is written only under the claim that it belongs to. One bad row never holds up the others.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Error, Ledger};
use crate::outcome::{Attempt, Disposition};
use crate::session::{Claim, State, TraceContext};

/// One finished attempt with the claim that it was made under and what follows from it.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// The claim.
    pub claim: Claim,
    /// What came of the request.
    pub attempt: Attempt,
    /// What becomes of the session.
    pub disposition: Disposition,
}

/// What became of a batch of results.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Sessions whose result stands in the ledger.
    pub written: HashSet<Uuid>,
    /// Sessions that another process had taken over meanwhile: their results changed nothing.
    pub late: HashSet<Uuid>,
}

impl Ledger {
    /// Writes a batch, at most one result of each session, in one transaction. To ask again after a failure is safe: what was written is recognised.
    pub async fn record(&self, sweep: Option<Uuid>, results: &[AttemptResult]) -> Result<Recorded, Error> {
        let columns = Columns::of(results);
        let written: HashSet<Uuid> = self.write(sweep, &columns).await?.into_iter().collect();
        let mut recorded = Recorded { written, late: HashSet::new() };
        if recorded.written.len() < results.len() {
            let earlier = self.written_before(&columns).await?;
            for session in &columns.session_ids {
                if earlier.contains(session) {
                    recorded.written.insert(*session);
                } else if !recorded.written.contains(session) {
                    recorded.late.insert(*session);
                }
            }
        }
        Ok(recorded)
    }

    async fn write(&self, sweep: Option<Uuid>, columns: &Columns<'_>) -> Result<Vec<Uuid>, Error> {
        let statement = sqlx::query_file_scalar!(
            "src/ledger/record.sql",
            &columns.session_ids,
            &columns.claims,
            &columns.outcomes as &[&str],
            &columns.http_statuses as &[Option<i32>],
            &columns.session_statuses as &[Option<&str>],
            &columns.status_details as &[Option<&str>],
            &columns.amounts as &[Option<&str>],
            &columns.errors as &[Option<&str>],
            &columns.states as &[&str],
            &columns.counted,
            &columns.may_have_had_effect,
            &columns.started,
            &columns.finished,
            &columns.next as &[Option<DateTime<Utc>>],
            self.instance.name(),
            sweep,
            &columns.request_ids,
            &columns.trace_ids as &[Option<String>],
        )
        .fetch_all(self.database.pool());
        self.run("recording attempts", statement).await
    }

    /// Which of these results an earlier call wrote although its answer was lost: their rows bear the claim.
    async fn written_before(&self, columns: &Columns<'_>) -> Result<HashSet<Uuid>, Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.written_before */
             SELECT a.session_id FROM UNNEST($1::uuid[], $2::uuid[]) AS ours(session_id, claim)
               JOIN geft_sweeper.cancel_attempts a ON a.session_id = ours.session_id AND a.claim = ours.claim",
            &columns.session_ids,
            &columns.claims,
        )
        .fetch_all(self.database.pool());
        let rows = self.run("looking for attempts recorded before", statement).await?;
        Ok(rows.into_iter().map(|row| row.session_id).collect())
    }
}

impl AttemptResult {
    /// The same result without the texts that came from outside, for a database that refuses them.
    #[must_use]
    pub fn without_outside_texts(mut self) -> Self {
        self.attempt.said = self.attempt.said.without_outside_texts();
        self.attempt.error = Some("the provider's texts were dropped: the database refused to store them".to_owned());
        self
    }
}

/// A batch of results as the arrays that one statement takes.
#[derive(Default)]
struct Columns<'batch> {
    session_ids: Vec<Uuid>,
    claims: Vec<Uuid>,
    outcomes: Vec<&'batch str>,
    http_statuses: Vec<Option<i32>>,
    session_statuses: Vec<Option<&'batch str>>,
    status_details: Vec<Option<&'batch str>>,
    amounts: Vec<Option<&'batch str>>,
    errors: Vec<Option<&'batch str>>,
    states: Vec<&'batch str>,
    counted: Vec<bool>,
    may_have_had_effect: Vec<bool>,
    started: Vec<DateTime<Utc>>,
    finished: Vec<DateTime<Utc>>,
    next: Vec<Option<DateTime<Utc>>>,
    request_ids: Vec<Uuid>,
    trace_ids: Vec<Option<String>>,
}

impl<'batch> Columns<'batch> {
    /// Ordered by session, so that two processes cannot wait for each other.
    fn of(results: &'batch [AttemptResult]) -> Self {
        let mut ordered: Vec<&AttemptResult> = results.iter().collect();
        ordered.sort_unstable_by_key(|result| result.claim.session_id);
        let mut columns = Self::default();
        for result in ordered {
            columns.push(result);
        }
        columns
    }

    fn push(&mut self, AttemptResult { claim, attempt, disposition }: &'batch AttemptResult) {
        let finished = moment(claim, attempt.finished);
        let (state, pause, counted) = match *disposition {
            Disposition::Done(state) => (state, None, true),
            Disposition::Retry { after, counted } => (State::Pending, Some(after), counted),
            Disposition::Failed => (State::Failed, None, true),
        };
        self.session_ids.push(claim.session_id.uuid());
        self.claims.push(claim.token);
        self.outcomes.push(attempt.outcome.as_str());
        self.http_statuses.push(attempt.http_status.map(i32::from));
        self.session_statuses.push(attempt.said.session_status.as_deref());
        self.status_details.push(attempt.said.status_details.as_deref());
        self.amounts.push(attempt.said.amount.as_deref());
        self.errors.push(attempt.error.as_deref());
        self.states.push(state.as_str());
        self.counted.push(counted && attempt.outcome.counts());
        self.may_have_had_effect.push(attempt.outcome.may_have_had_effect());
        self.started.push(moment(claim, attempt.started));
        self.finished.push(finished);
        self.request_ids.push(attempt.request_id);
        self.trace_ids.push(claim.trace.map(TraceContext::trace_id));
        self.next.push(pause.map(|pause| finished + delta(pause)));
    }
}

/// A moment of this process as a time of the database: the claim's, plus what has passed since.
fn moment(claim: &Claim, instant: Instant) -> DateTime<Utc> {
    claim.claimed_at + delta(instant.saturating_duration_since(claim.answered_at))
}

/// Far pauses are bounded by the settings (`max_interval`, `max_retry_after`), so a century stands for "too far".
fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(36_500)).min(TimeDelta::days(36_500))
}
