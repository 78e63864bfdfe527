//! The rate limit of all processes together, as the provider sees it: over any second never more than the limit and one.
//! And what it rests on: each moment is handed out once.

use std::time::Duration;

use geft_sweeper::config;
use geft_sweeper::database::Database;
use geft_sweeper::ledger::{Instance, Ledger};
use geft_sweeper::sandbox::{Endpoint, Moment, Request};

use crate::support::{Shop, TestDatabase, most_in_a_second, rate};

/// Lets so many processes, each with more to send than it may, work off a backlog together, and gives all requests.
async fn requests(processes: u64, limit: u32, sessions: usize) -> Vec<Request> {
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
    shop.provider.requests()
}

async fn assert_within(processes: u64, limit: u32, sessions: usize) {
    let requests = requests(processes, limit, sessions).await;
    let arrived: Vec<u64> = requests.iter().map(|request| request.arrived_ms).collect();
    assert!(arrived.len() > sessions, "authorize counts too");
    let most = most_in_a_second(&arrived);
    assert!(most <= usize::try_from(limit).unwrap() + 1, "{most} in a second, of {processes} processes at {limit}");
    // However busy this machine is: they do not stand in each other's way.
    let cancels = requests.iter().filter(|request| request.endpoint == Endpoint::Cancel);
    let first = cancels.map(|request| request.arrived_ms).min().unwrap_or_default();
    let steady = rate(&arrived, first, 2);
    assert!(steady >= 10.0, "{steady} a second, of {processes} processes at {limit}");
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

/// The ledger as another process would see it.
fn ledger(url: &str) -> Ledger {
    let settings = config::Database {
        url: url.into(),
        max_connections: 2,
        auto_migrate: true,
        statement_timeout: Duration::from_secs(30),
    };
    Ledger::new(Database::new(&settings, "test").unwrap(), Instance::new("test"))
}

#[tokio::test]
async fn the_shared_rate_hands_out_each_moment_once() {
    let database = TestDatabase::new().await;
    let (one, other) = (ledger(database.url()), ledger(database.url()));
    let (span, ahead) = (Duration::from_secs(1), Duration::from_millis(800));
    let first = one.reserve_slots(span, ahead).await.unwrap();
    assert!(first.reserved && first.first.abs_diff(first.clock) < Duration::from_millis(100), "{first:?}");
    let refused = other.reserve_slots(span, ahead).await.unwrap();
    assert!(!refused.reserved && refused.first.abs_diff(first.first + span) < Duration::from_millis(1), "{refused:?}");
    let second = other.reserve_slots(span, span).await.unwrap();
    assert!(second.reserved && second.first.abs_diff(first.first + span) < Duration::from_millis(1), "{second:?}");
    database.close().await;
}

#[tokio::test]
async fn a_moment_that_a_clock_set_back_left_far_ahead_stops_nobody() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let hours_ahead = "UPDATE geft_sweeper.request_slots SET next_slot = clock_timestamp() + interval '5 hours'";
    sqlx::query(hours_ahead).execute(database.pool()).await.unwrap();
    let (span, ahead) = (Duration::from_millis(100), Duration::from_millis(375));
    let slots = ledger.reserve_slots(span, ahead).await.unwrap();
    let off = slots.first.saturating_sub(slots.clock);
    assert!(slots.reserved && off <= ahead && off > Duration::from_millis(200), "{slots:?}");
    database.close().await;
}
