//! `max_requests_per_second`, measured where requests arrive: never exceeded, and used, by one process or by several.

use std::time::Duration;

use super::Lab;
use crate::records::Tally;
use crate::stage::{LIMIT, Stage};

/// Requests a second.
const PER_SECOND: usize = 100;

/// How long is measured, in milliseconds, in the full form.
const SPAN_MS: u64 = 10_000;

/// One, two and four processes with more than enough to do.
pub(super) async fn steady(lab: Lab) -> Tally {
    let span = lab.either(SPAN_MS, 2_000);
    let mut total = Tally::default();
    for processes in lab.either(&[1, 2, 4][..], &[2][..]) {
        let (mut stage, daemons) = saturated(*processes, span).await;
        wait_for(&stage, span + 500).await;
        let arrivals = arrivals(&stage);
        let used = share(&arrivals, arrivals[0] + 500, span);
        for daemon in daemons {
            stage.stop(daemon).await;
        }
        // How much of it is used is asserted where nothing else runs.
        assert!(!lab.full || used >= 0.95, "{processes} processes used {used:.3} of the limit");
        total.add(leave_the_rest(stage).await, &format!("{processes} processes {:.1} %", 100.0 * used));
    }
    total
}

/// Two processes, of which one is killed in the middle.
pub(super) async fn with_a_kill() -> Tally {
    let (mut stage, mut daemons) = saturated(2, 2 * SPAN_MS).await;
    wait_for(&stage, SPAN_MS / 2).await;
    let killed_at = arrivals(&stage).last().copied().unwrap();
    stage.kill(daemons.remove(0)).await;
    wait_for(&stage, SPAN_MS + SPAN_MS / 2).await;
    let arrivals = arrivals(&stage);
    let used = (0..=10).map(|tenth| share(&arrivals, killed_at - SPAN_MS / 10 * tenth / 2, SPAN_MS));
    let used = used.fold(f64::INFINITY, f64::min);
    for daemon in daemons {
        stage.stop(daemon).await;
    }
    assert!(used >= 0.85, "{used:.3} of the limit was used when one of two was killed");
    let mut total = Tally::default();
    total.add(leave_the_rest(stage).await, &format!("{:.1} %", 100.0 * used));
    total
}

/// Processes that have more to do in this time than the limit allows.
async fn saturated(processes: usize, span_ms: u64) -> (Stage, Vec<crate::stage::Daemon>) {
    let mut stage = Stage::new().await;
    let seconds = usize::try_from(span_ms / 1_000).unwrap();
    let ids = stage.shop.abandon((seconds + 5) * PER_SECOND).await;
    stage.expect(&ids, &["canceled", "already_terminal", "pending", "in_flight"]);
    let limit = i64::try_from(PER_SECOND).unwrap();
    let program = stage.program().with("api.max_requests_per_second", limit).with("api.max_in_flight", 32);
    let daemons = stage.start_all(&program, processes).await;
    stage.arrived(1).await;
    (stage, daemons)
}

/// Waits until this much time has gone by since the first arrival.
async fn wait_for(stage: &Stage, span_ms: u64) {
    crate::harness::support::eventually(LIMIT, async || {
        let arrivals = arrivals(stage);
        arrivals.last().is_some_and(|last| last - arrivals[0] >= span_ms)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// When each request arrived, whatever it was for, in milliseconds.
fn arrivals(stage: &Stage) -> Vec<u64> {
    let mut arrivals: Vec<u64> = stage.shop.provider.requests().iter().map(|request| request.arrived_ms).collect();
    arrivals.sort_unstable();
    arrivals
}

/// How much of the limit was used in this time.
fn share(arrivals: &[u64], from_ms: u64, span_ms: u64) -> f64 {
    let within = arrivals.iter().filter(|at| (from_ms..from_ms + span_ms).contains(at)).count();
    let allowed = PER_SECOND as u64 * span_ms / 1_000;
    f64::from(u32::try_from(within).unwrap()) / f64::from(u32::try_from(allowed).unwrap())
}

/// The most requests that arrived within any second.
fn most_in_a_second(arrivals: &[u64]) -> usize {
    let within = |at: usize| arrivals[at..].iter().take_while(|other| **other < arrivals[at] + 1_000).count();
    (0..arrivals.len()).map(within).max().unwrap_or_default()
}

/// Reconciles what was done; what was left is still to be done.
async fn leave_the_rest(stage: Stage) -> Tally {
    let most = most_in_a_second(&arrivals(&stage));
    assert!(most <= PER_SECOND + 1, "{most} requests within a second");
    stage.reconcile().await
}
