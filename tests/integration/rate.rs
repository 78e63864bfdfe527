//! The rate limit of all processes together, as the provider sees it: over any second never more than the limit and one.

use geft_sweeper::sandbox::{Endpoint, Moment};

use crate::support::{Shop, most_in_a_second, rate};

/// Lets so many processes, each with more to send than it may, work off a backlog together, and gives the arrivals.
async fn arrivals(processes: u64, limit: u32, sessions: usize) -> Vec<u64> {
    let shop = Shop::new().await;
    shop.abandon(sessions).await;
    // So few in flight that three of four cannot claim the whole backlog.
    let program = shop.program().with("api.max_requests_per_second", f64::from(limit)).with("api.max_in_flight", 16);
    // Each asks for its token first; none goes on before all of them are there.
    let hold = shop.provider.hold(Endpoint::Authorize, Moment::AfterEffect);
    let mut running = Vec::new();
    for number in 1..=processes {
        running.push(program.start(["sweep", "--wait", "10s"]));
        shop.held(Endpoint::Authorize, number).await;
    }
    hold.release();
    for process in running {
        process.finished().await.expect_code(0);
    }
    assert_eq!(shop.number("canceled").await, i64::try_from(sessions).unwrap());
    let instances = "SELECT count(DISTINCT instance) FROM geft_sweeper.cancel_attempts";
    assert_eq!(shop.value::<i64>(instances).await, i64::try_from(processes).unwrap(), "each sent its share");
    shop.provider.requests().iter().map(|request| request.arrived_ms).collect()
}

async fn assert_within(processes: u64, limit: u32, sessions: usize) {
    let arrivals = arrivals(processes, limit, sessions).await;
    assert!(arrivals.len() > sessions, "authorize counts too");
    let most = most_in_a_second(&arrivals);
    assert!(most <= usize::try_from(limit).unwrap() + 1, "{most} in a second, of {processes} processes at {limit}");
    // Far below what they reach on a machine that is not busy: there they must not stand in each other's way either.
    let steady = rate(&arrivals, arrivals.iter().min().copied().unwrap_or_default(), 2);
    assert!(steady >= f64::from(limit) / 2.0, "{steady} a second, of {processes} processes at {limit}");
}

// The provider runs here too, and it is its clock that takes the times: it needs threads that are free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_never_sends_more_than_the_limit_and_one() {
    assert_within(1, 40, 160).await;
    assert_within(1, 200, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_never_send_more_than_the_limit_and_one_together() {
    assert_within(2, 40, 160).await;
    assert_within(2, 200, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_processes_never_send_more_than_the_limit_and_one_together() {
    assert_within(4, 40, 160).await;
    assert_within(4, 200, 500).await;
}
