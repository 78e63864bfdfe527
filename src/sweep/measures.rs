//! What a sweep counts and measures, and what each number means.
//!
//! Counters that go with a log event are raised in `telling`, where it is said; here they are registered.

use std::time::{Duration, Instant};

use crate::ledger::{Brake, SweepStatus};
use crate::outcome::Outcome;
use crate::session::State;
use crate::throttle::{Circuit, HeldBack, Why};

/// Registers the metrics of this room, so that they are there with zero before anything happens.
pub(super) fn register() {
    register_counters();
    register_gauges();
    register_histograms();
}

fn register_counters() {
    metrics::describe_counter!("geft_sweeper_attempts_total", "Attempts on record, by outcome.");
    for outcome in Outcome::ALL {
        metrics::counter!("geft_sweeper_attempts_total", "outcome" => outcome.as_str()).absolute(0);
    }
    metrics::describe_counter!("geft_sweeper_sessions_ended_total", "Sessions that have ended, by final state.");
    for state in State::ALL.into_iter().filter(|state| state.is_final()) {
        metrics::counter!("geft_sweeper_sessions_ended_total", "state" => state.as_str()).absolute(0);
    }
    metrics::describe_counter!(
        "geft_sweeper_late_results_total",
        "Results that came after another process had taken the session over; they changed nothing."
    );
    metrics::counter!("geft_sweeper_late_results_total").absolute(0);
    metrics::describe_counter!(
        "geft_sweeper_lease_takeovers_total",
        "Sessions taken over from a process that is gone."
    );
    metrics::counter!("geft_sweeper_lease_takeovers_total").absolute(0);
    metrics::describe_counter!(
        "geft_sweeper_paid_after_abandonment_total",
        "Sessions found paid although selected for cancellation."
    );
    metrics::counter!("geft_sweeper_paid_after_abandonment_total").absolute(0);
    metrics::describe_counter!("geft_sweeper_source_rows_skipped_total", "Source rows that could not be used.");
    metrics::counter!("geft_sweeper_source_rows_skipped_total").absolute(0);
}

fn register_gauges() {
    metrics::describe_gauge!(
        "geft_sweeper_circuit_state",
        "1 for the state of the circuit as this process sees it, else 0."
    );
    circuit(Circuit::Closed);
    metrics::describe_gauge!(
        "geft_sweeper_held_back",
        "1 for the reason that holds this process's sending back, else 0."
    );
    held_back(None);
    metrics::describe_gauge!(
        "geft_sweeper_brake_acting",
        "1 where the brake acts as far as this process knows, else 0."
    );
    for acting in Brake::ALL {
        brake(acting, false);
    }
}

fn register_histograms() {
    metrics::describe_histogram!(
        "geft_sweeper_sweep_duration_seconds",
        "How long sweeps took, by how they ended: finished, or stopped before their end."
    );
    for status in [SweepStatus::Finished, SweepStatus::Stopped] {
        let _ = metrics::histogram!("geft_sweeper_sweep_duration_seconds", "status" => status.as_str());
    }
    metrics::describe_histogram!(
        "geft_sweeper_claim_batch_sessions",
        "Sessions in a claim, where there was something to claim."
    );
    metrics::describe_histogram!("geft_sweeper_claim_duration_seconds", "How long these claims took.");
    metrics::describe_histogram!("geft_sweeper_record_batch_attempts", "Attempts recorded in one transaction.");
    metrics::describe_histogram!("geft_sweeper_record_duration_seconds", "How long these transactions took.");
    let _ = metrics::histogram!("geft_sweeper_claim_batch_sessions");
    let _ = metrics::histogram!("geft_sweeper_claim_duration_seconds");
    let _ = metrics::histogram!("geft_sweeper_record_batch_attempts");
    let _ = metrics::histogram!("geft_sweeper_record_duration_seconds");
}

/// A session has ended in this state, and the ledger has it.
pub(super) fn session_ended(state: State) {
    metrics::counter!("geft_sweeper_sessions_ended_total", "state" => state.as_str()).increment(1);
}

/// A sweep is over.
pub(super) fn sweep_ended(status: SweepStatus, took: Duration) {
    metrics::histogram!("geft_sweeper_sweep_duration_seconds", "status" => status.as_str()).record(took);
}

/// So many sessions were claimed at once. Claims that find nothing would hide the others.
pub(super) fn claimed(sessions: usize, took: Duration) {
    if sessions > 0 {
        metrics::histogram!("geft_sweeper_claim_batch_sessions").record(number(sessions));
        metrics::histogram!("geft_sweeper_claim_duration_seconds").record(took);
    }
}

/// So many attempts were recorded at once.
pub(super) fn recorded(attempts: usize, took: Duration) {
    metrics::histogram!("geft_sweeper_record_batch_attempts").record(number(attempts));
    metrics::histogram!("geft_sweeper_record_duration_seconds").record(took);
}

/// How the API as a whole is seen.
pub(super) fn circuit(circuit: Circuit) {
    for state in Circuit::ALL {
        metrics::gauge!("geft_sweeper_circuit_state", "state" => state.as_str()).set(one_if(state == circuit));
    }
}

/// What holds sending back. A wish of the provider's ends with its time; trouble and outages last until they are found
/// to be over.
pub(super) fn held_back(held: Option<HeldBack>) {
    let acting = held.filter(|held| held.why != Why::RetryAfter || Instant::now() < held.until);
    for why in Why::ALL {
        let holds = acting.is_some_and(|held| held.why == why);
        metrics::gauge!("geft_sweeper_held_back", "reason" => why.as_str()).set(one_if(holds));
    }
}

/// Whether a brake acts.
pub(super) fn brake(brake: Brake, acts: bool) {
    metrics::gauge!("geft_sweeper_brake_acting", "brake" => brake.as_str()).set(one_if(acts));
}

fn one_if(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
