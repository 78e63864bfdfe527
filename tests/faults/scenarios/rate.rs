//! `max_requests_per_second`, measured where requests arrive: never exceeded, and used, by one process or by several.
//!
//! Nothing else runs beside it, and no proxy stands before the provider: the times must be those of the program.

use std::time::Duration;

use crate::harness::support::{eventually, most_in_a_second, rate};
use crate::records::Tally;
use crate::stage::{Daemon, LIMIT, Stage};

/// The limit, in requests a second.
const PER_SECOND: u16 = 100;

/// Seconds over which the use of the limit is measured.
const SPAN: u64 = 10;

/// One, two and four processes with more than enough to do.
pub(super) async fn steady() -> Tally {
    let mut total = Tally::default();
    for processes in [1, 2, 4] {
        let (stage, daemons) = saturated(processes, SPAN + 4).await;
        // A second in which they settle, and a little more at the end.
        let first = arrivals(&stage)[0];
        let arrivals = arrivals_until(&stage, first + 1_000 * (SPAN + 1) + 100).await;
        let used = used(&arrivals, first + 1_000);
        assert!(used >= 0.95, "{processes} processes used {used:.3} of the limit");
        total.add(within_the_limit(stage, daemons).await, &format!("{processes} processes: {:.1} %", 100.0 * used));
    }
    total
}

/// Two processes, of which one is killed.
pub(super) async fn with_a_kill() -> Tally {
    let (mut stage, mut daemons) = saturated(2, 2 * SPAN + 5).await;
    let first = arrivals(&stage)[0];
    arrivals_until(&stage, first + 1_000 * (SPAN + 1)).await;
    let killed = arrivals(&stage).last().copied().unwrap();
    stage.kill(daemons.swap_remove(0)).await;
    let arrivals = arrivals_until(&stage, killed + 1_000 * SPAN + 100).await;
    // Every ten seconds with the kill in them, by the second.
    let spans = (0..=SPAN).map(|before| used(&arrivals, killed - 1_000 * before));
    let used = spans.fold(f64::INFINITY, f64::min);
    assert!(used >= 0.85, "{used:.3} of the limit was used when one of two was killed");
    let mut total = Tally::default();
    total.add(within_the_limit(stage, daemons).await, &format!("at the least {:.1} %", 100.0 * used));
    total
}

/// Processes that have as much to do as the limit allows in so many seconds.
async fn saturated(processes: usize, seconds: u64) -> (Stage, Vec<Daemon>) {
    let mut stage = Stage::new().await;
    stage.abandon(usize::from(PER_SECOND) * usize::try_from(seconds).unwrap()).await;
    let program = stage.program().with("api.base_url", stage.shop.provider.base_url());
    let program = program.with("api.max_requests_per_second", f64::from(PER_SECOND)).with("api.max_in_flight", 32);
    let daemons = stage.start_all(&program, processes).await;
    stage.arrived(1).await;
    (stage, daemons)
}

/// When each request arrived, whatever it was for, in milliseconds and in order.
fn arrivals(stage: &Stage) -> Vec<u64> {
    let mut arrivals: Vec<u64> = stage.shop.provider.requests().iter().map(|request| request.arrived_ms).collect();
    arrivals.sort_unstable();
    arrivals
}

/// The same when one has arrived at this time or after it.
async fn arrivals_until(stage: &Stage, end_ms: u64) -> Vec<u64> {
    // Who looks all the time takes from the processor what is measured.
    let last = arrivals(stage).last().copied().unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(end_ms.saturating_sub(last))).await;
    eventually(LIMIT, async || arrivals(stage).last().is_some_and(|last| *last >= end_ms)).await;
    arrivals(stage)
}

/// The share of the limit that was used in the seconds from this time on.
fn used(arrivals: &[u64], from_ms: u64) -> f64 {
    rate(arrivals, from_ms, SPAN) / f64::from(PER_SECOND)
}

/// Works the rest off, and reconciles what was done where the limit was never exceeded.
async fn within_the_limit(stage: Stage, daemons: Vec<Daemon>) -> Tally {
    stage.all_ended().await;
    let most = most_in_a_second(&arrivals(&stage));
    assert!(most <= usize::from(PER_SECOND) + 1, "{most} requests within a second");
    stage.finish(daemons).await
}
