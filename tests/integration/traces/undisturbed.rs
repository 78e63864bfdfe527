//! A collector that is away, slow or broken changes nothing of the job.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Moment};
use nix::sys::signal::Signal;

use super::collector::{Collector, NEVER};
use crate::support::{Program, Shop, events, eventually};

const LIMIT: Duration = Duration::from_secs(30);
/// An address of this machine at which nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";

/// A `sweep` to its end: everything is canceled and on record. Gives its log.
async fn all_is_done(shop: &Shop, program: Program) -> String {
    shop.abandon(20).await;
    let said = program.run(["sweep"]).await.expect_code(0);
    assert_eq!(shop.number("canceled").await, 20);
    let traced = "SELECT count(*) FROM geft_sweeper.cancel_attempts WHERE trace_id IS NOT NULL";
    assert_eq!(shop.value::<i64>(traced).await, 20);
    said.stderr
}

#[tokio::test]
async fn a_collector_that_is_away_is_said_once() {
    let shop = Shop::new().await;
    let stderr = all_is_done(&shop, shop.program().with("telemetry.otlp_endpoint", NOBODY)).await;
    let said = events(&stderr, "traces.not_sent");
    assert_eq!(said.len(), 1, "{stderr}");
    assert!(said[0]["error.message"].as_str().unwrap().contains("refused"), "{stderr}");
}

#[tokio::test]
async fn a_collector_that_does_not_answer_delays_the_end_by_a_few_seconds_at_most() {
    let (shop, collector) = (Shop::new().await, Collector::start(NEVER).await);
    let stderr = all_is_done(&shop, shop.program().with("telemetry.otlp_endpoint", collector.address())).await;
    // It waited for the answer, and went without it.
    assert_eq!((collector.requests(), events(&stderr, "traces.cut_off").len()), (1, 1), "{stderr}");
}

#[tokio::test]
async fn a_collector_that_refuses_is_said_once_and_that_it_takes_spans_again() {
    let (shop, collector) = (Shop::new().await, Collector::start(500).await);
    let running = shop
        .program()
        .with("telemetry.otlp_endpoint", collector.address())
        .with("schedule.sweep", "* * * * * *")
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start(["run"]);
    eventually(LIMIT, async || collector.requests() >= 3).await;
    shop.abandon(3).await;
    eventually(LIMIT, async || shop.number("canceled").await == 3).await;
    assert_eq!(running.events("traces.not_sent").len(), 1, "{}", running.stderr());
    collector.answer(200);
    running.logged("traces.sent_again").await;
    running.signal(Signal::SIGTERM);
    let stderr = running.finished().await.expect_code(0).stderr;
    assert_eq!(events(&stderr, "traces.not_sent").len(), 1, "{stderr}");
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once_whatever_the_collector_does() {
    let (shop, collector) = (Shop::new().await, Collector::start(NEVER).await);
    let running = shop
        .program()
        .with("telemetry.otlp_endpoint", collector.address())
        .with("schedule.sweep", "* * * * * *")
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start(["run"]);
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    eventually(LIMIT, async || collector.requests() >= 1).await;
    shop.abandon(1).await;
    shop.held(Endpoint::Cancel, 1).await;
    running.signal(Signal::SIGTERM);
    running.logged("process.signal").await;
    running.signal(Signal::SIGTERM);
    let stderr = running.finished().await.expect_code(1).stderr;
    // Had it waited, the request to the collector would have timed out first.
    assert!(!stderr.contains("traces."), "{stderr}");
    drop(hold);
}

#[tokio::test]
async fn more_spans_than_there_is_room_for_are_dropped_and_nothing_waits() {
    let (shop, collector) = (Shop::new().await, Collector::start(200).await);
    let program = shop
        .program()
        .with("telemetry.otlp_endpoint", collector.address())
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .with_variable("OTEL_BSP_MAX_QUEUE_SIZE", "5")
        .with_variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5");
    collector.answer(NEVER);
    all_is_done(&shop, program).await;
    assert!(collector.spans().len() <= 10, "{:?}", collector.spans());
}
