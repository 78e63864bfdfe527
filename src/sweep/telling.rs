//! What a sweep says: log events and counters, each said where the thing happened and once.
//!
//! It decides nothing. Every text in it was cleaned and freed of secrets in `geft`.

use std::time::Duration;

use uuid::Uuid;

use super::measures;
use crate::ledger::{AttemptResult, Error, Settled, Sweep};
use crate::outcome::{Attempt, Disposition, Outcome, Said};
use crate::session::{Claim, Names, State, TraceContext};
use crate::source::Skipped;
use crate::throttle::{Verdict, Why};

/// An event of one session, with what it is found by in the ledger.
macro_rules! tell {
    ($level:ident, $names:expr, event = $event:literal, $($rest:tt)+) => {{
        let names: Names = $names;
        tracing::$level!(
            event = $event,
            session.id = %names.session_id,
            sweep.id = %names.sweep_id,
            attempt.number = names.attempt,
            claim.id = names.claim.map(tracing::field::display),
            trace.id = names.trace.map(TraceContext::trace_id),
            $($rest)+
        );
    }};
}

/// One attempt, as it ended.
pub(super) fn attempt(claim: &Claim, attempt: &Attempt, disposition: Disposition) {
    let (state, retry_in) = match disposition {
        Disposition::Done(state) => (state, None),
        Disposition::Retry { after, .. } => (State::Pending, Some(after)),
        Disposition::Failed => (State::Failed, None),
    };
    tell!(
        debug,
        claim.names(),
        event = "attempt.finished",
        request.id = %attempt.request_id,
        attempt.outcome = attempt.outcome.as_str(),
        attempt.duration_ms = duration_ms(attempt),
        attempt.retry_in_ms = retry_in.map(milliseconds),
        http.status = attempt.http_status,
        session.state = state.as_str(),
        error.message = attempt.error,
        "an attempt has ended"
    );
}

/// A claimed session that waited for too long to be sent for.
pub(super) fn too_late(names: Names) {
    tell!(debug, names, event = "attempt.too_late", "it waited for too long; the session is claimed again");
}

/// A result that stands in the ledger.
pub(super) fn recorded(AttemptResult { claim, attempt, disposition }: &AttemptResult) {
    metrics::counter!("geft_sweeper_attempts_total", "outcome" => attempt.outcome.as_str()).increment(1);
    match disposition {
        Disposition::Failed => {
            measures::session_ended(State::Failed);
            tell!(
                warn,
                claim.names(),
                event = "session.failed",
                request.id = %attempt.request_id,
                attempt.outcome = attempt.outcome.as_str(),
                error.message = attempt.error,
                "a session could not be canceled and is given up; `geft-sweeper requeue` takes it up again"
            );
        }
        Disposition::Done(state) => {
            measures::session_ended(*state);
            if *state == State::AlreadyTerminal {
                paid(claim.names(), &attempt.said);
            }
        }
        Disposition::Retry { .. } => {}
    }
}

/// A session that ended without a request.
pub(super) fn settled(settled: &Settled) {
    measures::session_ended(settled.state);
    let names = settled.names();
    match settled.state {
        State::AlreadyTerminal => paid(names, &settled.said),
        State::Failed => tell!(
            warn,
            names,
            event = "session.failed",
            "a session could not be canceled and is given up; `geft-sweeper requeue` takes it up again"
        ),
        _ => tell!(debug, names, event = "session.withdrawn", "the source no longer names a session"),
    }
}

/// A session that had ended before, where it turns out to be paid.
pub(super) fn paid(names: Names, said: &Said) {
    if !said.session_status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("completed")) {
        return;
    }
    metrics::counter!("geft_sweeper_paid_after_abandonment_total").increment(1);
    tell!(
        warn,
        names,
        event = "session.paid_after_abandonment",
        session.status_details = said.status_details,
        session.amount = said.amount,
        "a session selected for cancellation is completed: money may move that the merchant's books do not expect"
    );
}

/// An aged session that is left for a later sweep.
pub(super) fn waiting(names: Names) {
    tell!(debug, names, event = "session.waiting", "the customer is at an aged session; it is left for a later sweep");
}

/// A question for a session's status that was not answered.
pub(super) fn status_unanswered(names: Names, error: &str) {
    tell!(warn, names, event = "status.unanswered", error.message = error, "a session's status is asked again later");
}

/// A result whose session another process had taken over: in full, because no row holds it.
pub(super) fn late(AttemptResult { claim, attempt, .. }: &AttemptResult) {
    metrics::counter!("geft_sweeper_late_results_total").increment(1);
    tell!(
        warn,
        claim.names(),
        event = "attempt.late",
        request.id = %attempt.request_id,
        attempt.outcome = attempt.outcome.as_str(),
        attempt.duration_ms = duration_ms(attempt),
        http.status = attempt.http_status,
        session.status = attempt.said.session_status,
        session.status_details = attempt.said.status_details,
        session.amount = attempt.said.amount,
        error.message = attempt.error,
        "a result came after another process had taken the session over; it changed nothing"
    );
}

/// A result that could not be written before the end: in full, because no row holds it.
pub(super) fn unwritten(AttemptResult { claim, attempt, .. }: &AttemptResult) {
    tell!(
        error,
        claim.names(),
        event = "attempt.unwritten",
        request.id = %attempt.request_id,
        attempt.outcome = attempt.outcome.as_str(),
        attempt.duration_ms = duration_ms(attempt),
        http.status = attempt.http_status,
        session.status = attempt.said.session_status,
        session.status_details = attempt.said.status_details,
        session.amount = attempt.said.amount,
        error.message = attempt.error,
        "a result could not be written; the session is taken over when its lease ends"
    );
}

/// A result whose texts the database refused.
pub(super) fn refused(AttemptResult { claim, attempt, .. }: &AttemptResult, refusal: &Error) {
    tell!(
        error,
        claim.names(),
        event = "attempt.texts_dropped",
        request.id = %attempt.request_id,
        attempt.error = attempt.error,
        session.status = attempt.said.session_status,
        session.status_details = attempt.said.status_details,
        session.amount = attempt.said.amount,
        error.message = %refusal,
        "the database refused to store what the provider said; the attempt is written without it"
    );
}

/// Source rows that cannot be used, in one line whatever their number.
pub(super) fn skipped(sweep: Uuid, rows: usize, examples: &[Skipped]) {
    if rows == 0 {
        return;
    }
    metrics::counter!("geft_sweeper_source_rows_skipped_total").increment(u64::try_from(rows).unwrap_or(u64::MAX));
    let keys: Vec<&str> = examples.iter().map(|row| row.key.as_deref().unwrap_or("NULL")).collect();
    let why = examples.first().map(|row| row.why);
    tracing::warn!(
        event = "source.rows_skipped",
        sweep.id = %sweep,
        source.rows = rows,
        source.keys = ?keys,
        source.why = why,
        "source rows cannot be used and are passed over"
    );
}

/// Sessions taken on past the limit, because somebody released them.
pub(super) fn released(sweep: Uuid, sessions: u64) {
    if sessions > 0 {
        tracing::warn!(
            event = "brake.allowed",
            sweep.id = %sweep,
            brake.sessions = sessions,
            "sessions that were released past the limit are taken on"
        );
    }
}

/// Sessions of a process that is gone: each has its `interrupted` row.
pub(super) fn taken_over(sessions: u64) {
    metrics::counter!("geft_sweeper_lease_takeovers_total").increment(sessions);
    metrics::counter!("geft_sweeper_attempts_total", "outcome" => Outcome::Interrupted.as_str()).increment(sessions);
    tracing::warn!(
        event = "lease.taken_over",
        lease.sessions = sessions,
        "sessions of a process that is gone were taken over"
    );
}

/// A session whose lease ran out and whose `interrupted` row the database refuses.
pub(super) fn not_taken_over(error: &Error) {
    tracing::error!(event = "lease.not_taken_over", error.message = %error, "a session of a process that is gone cannot be taken over");
}

/// A session that ended without a request, and what its status said was refused by the database.
pub(super) fn refused_end(names: Names, state: State, said: &Said, refusal: &Error) {
    tell!(
        error,
        names,
        event = "session.texts_dropped",
        session.state = state.as_str(),
        session.status = said.session_status,
        session.status_details = said.status_details,
        session.amount = said.amount,
        error.message = %refusal,
        "the database refused to store what the provider said; the session ends without it"
    );
}

/// The end of a session that could not be written before the process's: in full, because no row holds it.
pub(super) fn unsettled(names: Names, state: State, said: &Said) {
    tell!(
        error,
        names,
        event = "session.unwritten",
        session.state = state.as_str(),
        session.status = said.session_status,
        session.status_details = said.status_details,
        session.amount = said.amount,
        "the end of a session could not be written; it is taken up again later"
    );
}

/// A session that cannot be ended even so.
pub(super) fn not_settled(names: Names, error: &Error) {
    tell!(
        error,
        names,
        event = "session.not_settled",
        error.message = %error,
        "a session could not be ended; it is taken up again later"
    );
}

/// What changed at the gate. `error`: what was answered, where that was no attempt of its own.
pub(super) fn verdict(Verdict { closed, opened }: Verdict, error: Option<&str>) {
    let is_outage = |why: Option<Why>| why.is_some_and(Why::is_outage);
    if is_outage(opened) && !is_outage(closed) {
        tracing::info!(event = "circuit.closed", "the API is back: sending starts again with one request");
    }
    match (closed, opened) {
        (Some(why), _) if why.is_outage() && is_outage(opened) => {}
        (Some(why), _) => closed_for(why, error),
        (None, Some(why)) if !why.is_outage() => {
            tracing::info!(event = "sending.resumed", hold.reason = why.as_str(), "sending goes on");
        }
        (None, _) => {}
    }
}

/// In an outage, the first attempt that finds out whether it is over.
pub(super) fn half_open(why: Why) {
    tracing::info!(
        event = "circuit.half_open",
        hold.reason = why.as_str(),
        "one attempt at a time finds out whether the API is back"
    );
}

fn closed_for(why: Why, error: Option<&str>) {
    let reason = why.as_str();
    if why.is_outage() {
        tracing::warn!(
            event = "circuit.opened",
            hold.reason = reason,
            error.message = error,
            "nothing is sent: {}",
            why.sentence()
        );
    } else if why.is_trouble() {
        tracing::error!(
            event = "sending.held_back",
            hold.reason = reason,
            error.message = error,
            "nothing is sent: {}",
            why.sentence()
        );
    } else {
        tracing::warn!(
            event = "sending.held_back",
            hold.reason = reason,
            error.message = error,
            "nothing is sent: {}",
            why.sentence()
        );
    }
}

/// A sweep's row after its end.
pub(super) fn sweep_ended(sweep: &Sweep) {
    tracing::info!(
        event = "sweep.ended",
        sweep.id = %sweep.id,
        sweep.status = sweep.status,
        error.message = sweep.error,
        sweep.discovered = sweep.discovered,
        sweep.canceled = sweep.canceled,
        sweep.already_terminal = sweep.already_terminal,
        sweep.retried = sweep.retried,
        sweep.failed = sweep.failed,
        sweep.withdrawn = sweep.withdrawn,
        sweep.skipped = sweep.skipped,
        sweep.waiting = sweep.waiting,
        sweep.paid_after_abandonment = sweep.paid_after_abandonment,
        "a sweep has ended"
    );
}

fn duration_ms(attempt: &Attempt) -> u64 {
    milliseconds(attempt.finished.saturating_duration_since(attempt.started))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
