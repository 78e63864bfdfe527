//! Several processes: what one of them finds out holds all of them, and one at a time finds out whether it is over.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults, Moment, NewSession, RetryAfter, SessionFaults};
use geft_sweeper::sandbox::{Fault, Request};
use uuid::Uuid;

use super::{LIMIT, away, cancels, circuit, hold_for, quick, quiet};
use crate::support::{Running, Shop, eventually};

/// Long enough that a process which does not know would have sent by then.
const MEANWHILE: Duration = Duration::from_secs(2);

async fn nothing_under_way(shop: &Shop) {
    shop.provider.wait_for_requests(|counts| counts.in_flight == 0).await;
}

#[tokio::test]
async fn a_retry_after_that_one_process_meets_stops_the_other_too() {
    let shop = Shop::new().await;
    let slow = EndpointFaults { latency_ms: 100, ..EndpointFaults::default() };
    let retry_after = RetryAfter { seconds: 600, ..RetryAfter::default() };
    shop.provider.set_faults(Faults { cancel: slow.clone(), retry_after, ..Faults::default() }).unwrap();
    // The first that is due: claims go by the due time, then by the id.
    let limited = EndpointFaults { shares: EndpointFaults::always("429".parse::<Fault>().unwrap()).shares, ..slow };
    let first = NewSession {
        session_id: Some(Uuid::from_u128(1)),
        faults: Some(SessionFaults { cancel: Some(limited), status: None }),
        ..NewSession::default()
    };
    shop.abandon_as(first).await;
    shop.abandon(300).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let program = quick(&shop).with("api.max_in_flight", 2);
    let daemons = [program.start(["run"]), program.start(["run"])];
    shop.held(Endpoint::Cancel, 4).await;
    hold.release();
    for daemon in &daemons {
        daemon.logged("\"sending.held_back\"").await;
    }
    nothing_under_way(&shop).await;
    let sent = cancels(&shop);
    assert!(sent < 100, "{sent} were sent before both knew");
    let instances = "SELECT count(DISTINCT instance) FROM geft_sweeper.cancel_attempts";
    assert_eq!(shop.value::<i64>(instances).await, 2, "both had sent");

    // One that starts now sends nothing either, not even for a token.
    let before = shop.provider.counts();
    let swept = shop.program().run(["sweep"]).await.expect_code(0);
    assert!(swept.stderr.contains("not everything was sent"), "{}", swept.stderr);
    tokio::time::sleep(MEANWHILE).await;
    assert_eq!(shop.provider.counts().arrived, before.arrived);
}

/// Requests that arrived after this number of cancels, in the order of their arrival.
fn later(shop: &Shop, sent: u64) -> Vec<Request> {
    let mut requests = shop.provider.requests();
    requests.retain(|request| request.endpoint == Endpoint::Cancel);
    requests.sort_by_key(|request| request.arrived_ms);
    requests.split_off(usize::try_from(sent).unwrap())
}

#[tokio::test]
async fn in_an_outage_one_process_at_a_time_finds_out_and_both_go_on_when_it_is_over() {
    let shop = Shop::new().await;
    shop.abandon(200).await;
    let mut faults = away("500");
    // Long enough that a second attempt beside the first would be seen.
    faults.cancel.latency_ms = 400;
    shop.provider.set_faults(faults).unwrap();
    let program = quick(&shop).with("api.max_in_flight", 8);
    let daemons = [program.start(["run"]), program.start(["run"])];
    for daemon in &daemons {
        daemon.logged("\"circuit.opened\"").await;
    }
    nothing_under_way(&shop).await;
    let opened = cancels(&shop);
    // Each of them needs ten, and has eight more under way by then.
    assert!(opened <= 2 * (10 + 8), "{opened} were sent before both knew");
    // Attempts to find out after about 1, 2, 4 and 8 seconds, and no more of them for two processes than for one.
    eventually(LIMIT, async || cancels(&shop) >= opened + 4).await;
    nothing_under_way(&shop).await;
    let tries = later(&shop, opened);
    assert!(tries.iter().all(|request| request.in_flight == 1), "two at a time: {tries:#?}");
    let lasted = tries[3].arrived_ms - tries[0].arrived_ms;
    assert!(lasted >= 4_000, "four within {lasted} ms: {tries:#?}");
    shop.provider.set_faults(quiet()).unwrap();
    eventually(LIMIT, async || shop.number("canceled").await == 200).await;
    for daemon in &daemons {
        let events = |name| daemon.events(name).len();
        eventually(LIMIT, async || events("circuit.closed") == 1).await;
        assert_eq!(events("circuit.opened"), 1, "{}", daemon.stderr());
        assert!(events("circuit.half_open") <= 1, "{}", daemon.stderr());
    }
    let failed = "SELECT count(*) FROM geft_sweeper.cancellations WHERE state = 'failed'";
    assert_eq!(shop.value::<i64>(failed).await, 0);
    assert_eq!(shop.provider.counts().overlapping_cancels, 0);
    shop.assert_no_gap().await;
}

async fn end(daemon: Running, signal: nix::sys::signal::Signal) {
    daemon.signal(signal);
    daemon.finished().await;
}

#[tokio::test]
async fn a_process_that_starts_again_and_again_in_an_outage_sends_nothing() {
    for why in ["api_down", "no_token"] {
        let shop = Shop::new().await;
        shop.abandon(50).await;
        shop.provider.set_faults(away("500")).unwrap();
        hold_for(&shop, why, 600).await;
        let program = quick(&shop);
        for signal in [nix::sys::signal::Signal::SIGKILL, nix::sys::signal::Signal::SIGTERM].repeat(2) {
            let daemon = program.start(["run"]);
            let endpoints = daemon.endpoints().await;
            daemon.logged("\"circuit.opened\"").await;
            assert_eq!(circuit(&endpoints).await, "open");
            end(daemon, signal).await;
        }
        assert_eq!(shop.provider.requests().len(), 0, "{why}");
        let touched = "SELECT count(*) FROM geft_sweeper.cancellations WHERE attempts > 0 OR state <> 'pending'";
        assert_eq!(shop.value::<i64>(touched).await, 0, "{why}");
    }
}

#[tokio::test]
async fn whoever_finds_out_and_is_stopped_leaves_it_to_another_at_once() {
    let shop = Shop::new().await;
    shop.abandon(5).await;
    hold_for(&shop, "api_down", 0).await;
    let asked = shop.provider.hold(Endpoint::Authorize, Moment::BeforeEffect);
    let daemon = quick(&shop).start(["run"]);
    shop.held(Endpoint::Authorize, 1).await;
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.finished().await.expect_code(0);
    asked.release();
    let waits: f64 =
        shop.value("SELECT extract(epoch FROM max(until) - clock_timestamp())::float8 FROM geft_sweeper.holds").await;
    assert!(waits < 1.0, "the others would wait {waits} s for a process that is gone");
    let report = shop.program().run(["sweep", "--json", "--wait", "20s"]).await.expect_code(0).json();
    assert_eq!(report["canceled"], 5, "{report}");
}
