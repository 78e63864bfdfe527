//! How it ends: the first signal in good order, the second at once, and what it says where the database is away.

use std::time::Duration;

use geft_sweeper::postgres::{Options, PrivatePostgres};
use geft_sweeper::sandbox::{Endpoint, Moment};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{EVERY_SECOND, LIMIT, YEARLY};
use crate::support::{Shop, events, eventually};

/// Stops a sweep with requests under way, and looks at everything that it leaves behind.
async fn stops_in_good_order(signal: Signal) {
    let shop = Shop::new().await;
    shop.abandon(10).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let program = shop.program().with("schedule.sweep", EVERY_SECOND).with("api.max_in_flight", 2);
    let daemon = program.start(["run"]);
    shop.held(Endpoint::Cancel, 2).await;
    daemon.signal(signal);
    // What was claimed beyond the requests under way is given back while they still are.
    eventually(LIMIT, async || shop.number("in_flight").await == 2 && daemon.stderr().contains("process.signal")).await;
    hold.release();
    let ended = daemon.finished().await.expect_code(0);

    assert_eq!(json!(shop.states().await), json!({ "canceled": 2, "pending": 8 }), "{}", ended.stderr);
    assert_eq!(shop.provider.counts().arrived(Endpoint::Cancel), 2);
    shop.assert_no_gap().await;
    let sweep: (String, i64, bool) =
        sqlx::query_as("SELECT status, canceled, finished_at IS NOT NULL FROM geft_sweeper.sweeps")
            .fetch_one(shop.pool())
            .await
            .unwrap();
    assert_eq!(sweep, ("stopped".to_owned(), 2, true));
    let status = program.run(["status", "--json"]).await.expect_code(0).json();
    assert_eq!(status["processes"], json!([]));
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_and_gives_back_the_rest() {
    stops_in_good_order(Signal::SIGTERM).await;
}

#[tokio::test]
async fn sigint_finishes_what_is_in_flight_and_gives_back_the_rest() {
    stops_in_good_order(Signal::SIGINT).await;
}

#[tokio::test]
async fn a_stopped_sweep_command_was_cut_short() {
    let shop = Shop::new().await;
    shop.abandon(3).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let sweep = shop.program().with("api.max_in_flight", 1).start(["sweep", "--json"]);
    shop.held(Endpoint::Cancel, 1).await;
    sweep.signal(Signal::SIGINT);
    // Logs of this command begin with its configuration, so the signal is on record.
    sweep.logged("process.signal").await;
    hold.release();
    let ended = sweep.finished().await.expect_code(1);
    assert_eq!((ended.json()["status"].as_str(), ended.json()["canceled"].as_i64()), (Some("stopped"), Some(1)));
    assert_eq!(json!(shop.states().await), json!({ "canceled": 1, "pending": 2 }));
    shop.assert_no_gap().await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let shop = Shop::new().await;
    shop.abandon(1).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let daemon = shop.program().with("schedule.sweep", EVERY_SECOND).start(["run"]);
    shop.held(Endpoint::Cancel, 1).await;
    daemon.signal(Signal::SIGTERM);
    daemon.logged("\"SIGTERM\"").await;
    daemon.signal(Signal::SIGINT);
    daemon.finished().await.expect_code(1);
    assert_eq!(shop.number("in_flight").await, 1, "its lease takes care of the session");
    hold.release();
}

#[tokio::test]
async fn stopped_without_its_database_it_says_every_result_in_full() {
    let mut server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    let shop = Shop::on(&server.url("postgres")).await;
    let session = shop.abandon(1).await[0];
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let program = shop.program().with("schedule.sweep", EVERY_SECOND);
    let daemon = program.start(["run"]);
    shop.held(Endpoint::Cancel, 1).await;
    server.stop_immediately().await.unwrap();
    daemon.signal(Signal::SIGTERM);
    daemon.logged("process.signal").await;
    hold.release();
    let ended = daemon.finished().await.expect_code(1);
    let unwritten = &events(&ended.stderr, "attempt.unwritten")[0];
    assert_eq!(unwritten["session.id"], session.to_string());
    assert_eq!((&unwritten["attempt.outcome"], &unwritten["session.status"]), (&json!("canceled"), &json!("Canceled")));

    server.restart().await.unwrap();
    assert_eq!(shop.end_leases().await, 1);
    program.with("retry.initial_interval", "100ms").run(["sweep", "--wait", "30s"]).await.expect_code(0);
    assert_eq!(shop.outcomes(session).await, ["interrupted", "already_terminal"]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn connections_that_broke_while_nobody_used_them_do_not_spoil_its_end() {
    let shop = Shop::new().await;
    let program = shop.program().with("schedule.sweep", YEARLY);
    let daemon = program.start(["run"]);
    let alive = "SELECT count(*) FROM geft_sweeper.processes";
    eventually(LIMIT, async || shop.value::<i64>(alive).await == 1).await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'geft-sweeper %'";
    assert!(shop.value::<i64>(cut).await > 0);
    daemon.signal(Signal::SIGTERM);
    daemon.finished().await.expect_code(0);
    assert_eq!(shop.value::<i64>(alive).await, 0);
}

#[tokio::test]
async fn waiting_for_its_database_it_can_be_stopped() {
    let mut server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    let shop = Shop::on(&server.url("postgres")).await;
    server.stop_immediately().await.unwrap();
    let daemon = shop.program().with("schedule.sweep", YEARLY).start(["run"]);
    daemon.logged("\"part.ill\"").await;
    daemon.signal(Signal::SIGTERM);
    let ended = tokio::time::timeout(Duration::from_secs(20), daemon.finished()).await.unwrap().expect_code(1);
    assert!(ended.stderr.contains("geft-sweeper: "), "{}", ended.stderr);
    server.stop().await.unwrap();
}
