//! Recording: the audit row of each attempt and the new state of its session, in one statement for a whole batch.
//!
//! A result is written only under the claim that it belongs to. One bad row never holds up the others.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Error, Ledger};
use crate::outcome::{Attempt, Disposition, Said};
use crate::session::{Claim, State};

/// One finished attempt with the claim that it was made under and what follows from it.
#[derive(Clone, Debug)]
pub struct Result {
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
    /// Writes a batch in one transaction. To ask again after a failure is safe: what was written is recognised.
    pub async fn record(&self, sweep: Option<Uuid>, results: &[Result]) -> std::result::Result<Recorded, Error> {
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

    async fn write(&self, sweep: Option<Uuid>, columns: &Columns) -> std::result::Result<Vec<Uuid>, Error> {
        sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.record */
               WITH result AS (
                   SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::text[], $7::text[],
                                        $8::text[], $9::text[], $10::bool[], $11::bool[], $12::timestamptz[],
                                        $13::timestamptz[], $14::timestamptz[])
                     AS r(session_id, claim, outcome, http_status, session_status, status_details, amount, error, state,
                          counted, may_have_had_effect, started_at, finished_at, next_attempt_at)),
               moved AS (
                   UPDATE geft_sweeper.cancellations c
                      SET state = r.state, last_outcome = r.outcome, next_attempt_at = r.next_attempt_at,
                          finished_at = CASE WHEN r.next_attempt_at IS NULL THEN r.finished_at END,
                          counted_attempts = c.counted_attempts + r.counted::int,
                          uncounted_running = CASE WHEN r.counted THEN 0 ELSE c.uncounted_running + 1 END,
                          may_have_had_effect = c.may_have_had_effect OR r.may_have_had_effect,
                          session_status = coalesce(r.session_status, c.session_status),
                          status_details = CASE WHEN r.session_status IS NULL THEN c.status_details ELSE r.status_details END,
                          amount = coalesce(r.amount::numeric, c.amount),
                          claim = NULL, claimed_by = NULL, claimed_at = NULL, lease_until = NULL
                     FROM result r
                    WHERE c.session_id = r.session_id AND c.claim = r.claim AND c.state = 'in_flight'
                   RETURNING c.session_id, c.reference_id, c.attempts, c.reason, c.sweep_id),
               audited AS (
                   INSERT INTO geft_sweeper.cancel_attempts
                       (session_id, reference_id, attempt, reason, sweep_id, instance, started_at, finished_at, outcome,
                        http_status, session_status, status_details, error, next_attempt_at, claim)
                   SELECT m.session_id, m.reference_id, m.attempts, m.reason, m.sweep_id, $15, r.started_at, r.finished_at, r.outcome,
                          r.http_status, r.session_status, r.status_details, r.error, r.next_attempt_at, r.claim
                     FROM moved m JOIN result r USING (session_id)
                    ORDER BY r.finished_at
                   RETURNING session_id),
               tallied AS (
                   UPDATE geft_sweeper.sweeps s
                      SET canceled = s.canceled + t.canceled, already_terminal = s.already_terminal + t.already_terminal,
                          retried = s.retried + t.retried, failed = s.failed + t.failed,
                          paid_after_abandonment = s.paid_after_abandonment + t.paid
                     FROM (SELECT count(*) FILTER (WHERE r.state = 'canceled') AS canceled,
                                  count(*) FILTER (WHERE r.state = 'already_terminal') AS already_terminal,
                                  count(*) FILTER (WHERE r.state = 'pending') AS retried,
                                  count(*) FILTER (WHERE r.state = 'failed') AS failed,
                                  count(*) FILTER (WHERE r.state = 'already_terminal'
                                                     AND lower(r.session_status) = 'completed') AS paid
                             FROM moved m JOIN result r USING (session_id)) t
                    WHERE s.id = $16)
               SELECT session_id FROM audited"#,
            &columns.session_ids,
            &columns.claims,
            &columns.outcomes,
            &columns.http_statuses as &[Option<i32>],
            &columns.session_statuses as &[Option<String>],
            &columns.status_details as &[Option<String>],
            &columns.amounts as &[Option<String>],
            &columns.errors as &[Option<String>],
            &columns.states,
            &columns.counted,
            &columns.may_have_had_effect,
            &columns.started,
            &columns.finished,
            &columns.next as &[Option<DateTime<Utc>>],
            self.instance.name(),
            sweep,
        )
        .fetch_all(self.database.pool())
        .await
        .map_err(self.failed("recording attempts"))
    }

    /// Which of these results an earlier call wrote although its answer was lost: their rows bear the claim.
    async fn written_before(&self, columns: &Columns) -> std::result::Result<HashSet<Uuid>, Error> {
        let rows = sqlx::query!(
            "/* geft-sweeper ledger.written_before */
             SELECT a.session_id FROM UNNEST($1::uuid[], $2::uuid[]) AS ours(session_id, claim)
               JOIN geft_sweeper.cancel_attempts a ON a.session_id = ours.session_id AND a.claim = ours.claim",
            &columns.session_ids,
            &columns.claims,
        )
        .fetch_all(self.database.pool())
        .await
        .map_err(self.failed("looking for attempts recorded before"))?;
        Ok(rows.into_iter().map(|row| row.session_id).collect())
    }
}

impl Result {
    /// The same result without the texts that came from outside, for a database that refuses them.
    ///
    /// A status that is one of the documented words is kept: what it says of money must not be lost.
    #[must_use]
    pub fn without_outside_texts(mut self) -> Self {
        const KNOWN: [&str; 5] = ["Completed", "Failed", "Canceled", "Cancelled", "Expired"];
        let status = self.attempt.said.session_status.take().filter(|status| KNOWN.contains(&status.as_str()));
        self.attempt.said = Said { session_status: status, ..Said::default() };
        self.attempt.error = Some("the provider's texts were dropped: the database refused to store them".to_owned());
        self
    }
}

/// A batch of results as the arrays that one statement takes.
#[derive(Default)]
struct Columns {
    session_ids: Vec<Uuid>,
    claims: Vec<Uuid>,
    outcomes: Vec<String>,
    http_statuses: Vec<Option<i32>>,
    session_statuses: Vec<Option<String>>,
    status_details: Vec<Option<String>>,
    amounts: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    states: Vec<String>,
    counted: Vec<bool>,
    may_have_had_effect: Vec<bool>,
    started: Vec<DateTime<Utc>>,
    finished: Vec<DateTime<Utc>>,
    next: Vec<Option<DateTime<Utc>>>,
}

impl Columns {
    /// Distinct by session: a batch never holds two results of one.
    fn of(results: &[Result]) -> Self {
        let mut columns = Self::default();
        let distinct: HashMap<Uuid, &Result> =
            results.iter().map(|result| (result.claim.session_id.uuid(), result)).collect();
        let mut ordered: Vec<_> = distinct.into_iter().collect();
        ordered.sort_unstable_by_key(|(session, _)| *session);
        for (session, result) in ordered {
            columns.push(session, result);
        }
        columns
    }

    fn push(&mut self, session: Uuid, Result { claim, attempt, disposition }: &Result) {
        let finished = moment(claim, attempt.finished);
        let (state, pause, counted) = match *disposition {
            Disposition::Done(state) => (state, None, true),
            Disposition::Retry { after, counted } => (State::Pending, Some(after), counted),
            Disposition::Failed => (State::Failed, None, true),
        };
        self.session_ids.push(session);
        self.claims.push(claim.token);
        self.outcomes.push(attempt.outcome.as_str().to_owned());
        self.http_statuses.push(attempt.http_status.map(i32::from));
        self.session_statuses.push(attempt.said.session_status.clone());
        self.status_details.push(attempt.said.status_details.clone());
        self.amounts.push(attempt.said.amount.clone());
        self.errors.push(attempt.error.clone());
        self.states.push(state.as_str().to_owned());
        self.counted.push(counted && attempt.outcome.counts());
        self.may_have_had_effect.push(attempt.outcome.may_have_had_effect());
        self.started.push(moment(claim, attempt.started));
        self.finished.push(finished);
        self.next.push(pause.map(|pause| finished + delta(pause)));
    }
}

/// A moment of this process as a time of the database: the claim's, plus what has passed since.
fn moment(claim: &Claim, instant: Instant) -> DateTime<Utc> {
    claim.claimed_at + delta(instant.saturating_duration_since(claim.taken))
}

/// Far pauses are bounded by the settings (`max_interval`, `max_retry_after`), so a century stands for "too far".
fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::days(36_500)).min(TimeDelta::days(36_500))
}
