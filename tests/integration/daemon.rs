//! The daemon as its users see it: the real binary with real signals, when it sweeps and what it does in between.

mod absent;
mod endings;
mod health;
mod metrics;
mod port;

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults, Kind, Moment};

use crate::support::{Shop, eventually};

const LIMIT: Duration = Duration::from_secs(30);

/// Ticks once a year: whatever happens is not the schedule's doing.
const YEARLY: &str = "0 0 0 1 1 *";
const EVERY_SECOND: &str = "* * * * * *";

/// Sweeps that have ended well.
const FINISHED: &str = "SELECT count(*) FROM geft_sweeper.sweeps WHERE status = 'finished'";

/// Every cancel request meets this code.
fn always(code: u16) -> Faults {
    Faults { cancel: EndpointFaults::always(Kind::Code(code)), ..Faults::default() }
}

#[tokio::test]
async fn it_sweeps_on_schedule() {
    let shop = Shop::new().await;
    shop.abandon(3).await;
    let daemon = shop.program().with("schedule.sweep", EVERY_SECOND).start(["run"]);
    eventually(LIMIT, async || shop.number("canceled").await == 3).await;
    let late = shop.abandon(1).await[0];
    eventually(LIMIT, async || shop.number("canceled").await == 4).await;
    assert_eq!(shop.outcomes(late).await, ["canceled"], "{}", daemon.stderr());
    let others = "SELECT count(*) FROM geft_sweeper.sweeps WHERE trigger <> 'schedule'";
    assert_eq!(shop.value::<i64>(others).await, 0);
}

#[tokio::test]
async fn a_pattern_of_five_fields_is_taken_at_second_zero() {
    let shop = Shop::new().await;
    let daemon = shop.program().with("schedule.sweep", "*/5 * * * *").start(["run"]);
    daemon.logged("\"process.started\"").await;
    assert_eq!(daemon.events("process.started")[0]["schedule.sweep"], "0 */5 * * * *");
}

#[tokio::test]
async fn sweeps_never_overlap_and_missed_ticks_are_not_piled_up() {
    let shop = Shop::new().await;
    shop.abandon(1).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let daemon = shop.program().with("schedule.sweep", EVERY_SECOND).start(["run"]);
    shop.held(Endpoint::Cancel, 1).await;
    // Five ticks go by, which is what this is about: there is nothing else to wait for.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.sweeps").await, 1, "{}", daemon.stderr());
    hold.release();
    eventually(LIMIT, async || shop.value::<i64>(FINISHED).await >= 4).await;

    let overlapping = "SELECT count(*) FROM (
        SELECT started_at < lag(finished_at) OVER (ORDER BY started_at) AS early FROM geft_sweeper.sweeps) s WHERE early";
    assert_eq!(shop.value::<i64>(overlapping).await, 0);
    // One tick that waited, and at most one more that came by itself within this time.
    let soon = "SELECT count(*) FROM geft_sweeper.sweeps WHERE started_at BETWEEN
        (SELECT min(finished_at) FROM geft_sweeper.sweeps) AND (SELECT min(finished_at) + interval '0.9 seconds' FROM geft_sweeper.sweeps)";
    let soon: i64 = shop.value(soon).await;
    assert!((1..=2).contains(&soon), "{soon} sweeps began at once");
}

#[tokio::test]
async fn a_retry_that_falls_due_does_not_wait_for_the_next_tick() {
    let shop = Shop::new().await;
    let session = shop.abandon(1).await[0];
    let first = EndpointFaults::first([Kind::Code(500); 4]);
    shop.provider.set_faults(Faults { cancel: first, ..Faults::default() }).unwrap();
    let daemon = shop
        .program()
        .with("schedule.sweep", "*/20 * * * * *")
        .with("retry.initial_interval", "200ms")
        .with("retry.multiplier", 1.0)
        .start(["run"]);
    eventually(LIMIT, async || shop.number("canceled").await == 1).await;
    let outcomes = shop.outcomes(session).await;
    assert_eq!(outcomes, ["server_error", "server_error", "server_error", "server_error", "canceled"]);
    let took: f64 = shop
        .value("SELECT extract(epoch FROM max(started_at) - min(started_at))::float8 FROM geft_sweeper.cancel_attempts")
        .await;
    assert!((0.4..10.0).contains(&took), "four retries took {took} s: {}", daemon.stderr());
}

#[tokio::test]
async fn a_request_that_takes_its_time_holds_up_nothing_that_falls_due_meanwhile() {
    let shop = Shop::new().await;
    shop.abandon(1).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let program = shop.program().with("schedule.sweep", EVERY_SECOND).with("api.timeout", "15s");
    let daemon = program.start(["run"]);
    shop.held(Endpoint::Cancel, 1).await;
    // Taken on by hand: the sweep that discovers is the one that waits for the answer.
    let late = shop.abandon(1).await[0];
    let take_on = "INSERT INTO geft_sweeper.cancellations (session_id, source_key, reason, sweep_id, next_attempt_at)
        VALUES ($1, $1::text, 'aged', (SELECT id FROM geft_sweeper.sweeps LIMIT 1), now())";
    sqlx::query(take_on).bind(late).execute(shop.pool()).await.unwrap();
    shop.held(Endpoint::Cancel, 2).await;
    assert_eq!(shop.provider.counts().finished(Endpoint::Cancel), 0, "{}", daemon.stderr());
    hold.release();
}

#[tokio::test]
async fn retries_that_fall_due_all_the_time_do_not_keep_it_from_its_sweeps() {
    let shop = Shop::new().await;
    shop.abandon(8).await;
    let never = EndpointFaults::always(Kind::Timeout);
    shop.provider.set_faults(Faults { cancel: never, ..Faults::default() }).unwrap();
    let program = shop
        .program()
        .with("schedule.sweep", EVERY_SECOND)
        .with("retry.max_attempts", 1_000_000)
        .with("retry.initial_interval", "10ms")
        .with("retry.max_interval", "20ms")
        .with("api.connect_timeout", "300ms")
        .with("api.timeout", "300ms");
    let daemon = program.start(["run"]);
    eventually(LIMIT, async || daemon.events("sweep.started").len() >= 3).await;
}

#[tokio::test]
async fn sessions_requeued_by_command_are_taken_up_between_ticks() {
    let shop = Shop::new().await;
    let session = shop.abandon(1).await[0];
    let program = shop.program().with("schedule.sweep", YEARLY).with("retry.max_attempts", 1);
    shop.provider.set_faults(always(500)).unwrap();
    program.run(["sweep"]).await.expect_code(0);
    assert_eq!(shop.number("failed").await, 1);
    shop.provider.set_faults(Faults::default()).unwrap();

    let daemon = program.start(["run"]);
    daemon.logged("\"source\"").await;
    program.run(["requeue", "--session", &session.to_string()]).await.expect_code(0);
    eventually(LIMIT, async || shop.number("canceled").await == 1).await;
    assert_eq!(shop.outcomes(session).await, ["server_error", "canceled"]);
    let scheduled = "SELECT count(*) FROM geft_sweeper.sweeps WHERE trigger = 'schedule'";
    assert_eq!(shop.value::<i64>(scheduled).await, 0);
}
