//! The command `sweep` and the circuit: how long it waits, and what it says where not everything was sent.

use std::time::{Duration, Instant};

use geft_sweeper::sandbox::{EndpointFaults, Fault, Faults};

use super::{away, cancels, hold_for, quiet};
use crate::support::Shop;

#[tokio::test]
async fn a_sweep_in_an_outage_is_cut_short_and_says_so_in_its_row_and_on_standard_error() {
    let shop = Shop::new().await;
    shop.abandon(60).await;
    shop.provider.set_faults(away("body_html")).unwrap();
    let program = shop.program().with("api.max_in_flight", 4);
    let swept = program.run(["sweep", "--json"]).await.expect_code(1);
    let sentence = swept.stderr.lines().last().unwrap();
    assert!(sentence.starts_with("geft-sweeper: ") && sentence.contains("does not answer properly"), "{sentence}");
    assert_eq!(swept.json()["status"], "stopped");
    let row = "SELECT error FROM geft_sweeper.sweeps WHERE status = 'stopped'";
    assert!(shop.value::<String>(row).await.contains("api.base_url"));
    assert_eq!(shop.number("pending").await, 60);
    assert!(cancels(&shop) <= 10 + 4 + 5, "{} were sent", cancels(&shop));
}

#[tokio::test]
async fn a_sweep_whose_every_session_was_sent_for_ran_to_its_end_though_the_circuit_is_open() {
    let shop = Shop::new().await;
    shop.abandon(10).await;
    shop.provider.set_faults(away("500")).unwrap();
    let swept = shop.program().with("retry.initial_interval", "10m").run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!(swept.json()["retried"], 10);
    assert!(swept.stderr.contains("circuit.opened"), "{}", swept.stderr);
}

#[tokio::test]
async fn with_wait_a_sweep_waits_for_the_circuit_no_longer_than_it_was_told() {
    let shop = Shop::new().await;
    shop.abandon(3).await;
    hold_for(&shop, "api_down", 600).await;
    let began = Instant::now();
    shop.program().run(["sweep", "--wait", "4s"]).await.expect_code(1);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(4) && waited < Duration::from_secs(20), "{waited:?}");
    assert_eq!(shop.provider.requests().len(), 0);
}

#[tokio::test]
async fn where_the_first_attempt_of_every_session_fails_a_sweep_with_wait_gets_through_all_the_same() {
    let shop = Shop::new().await;
    shop.abandon(80).await;
    let first = EndpointFaults::first(["500".parse::<Fault>().unwrap()]);
    shop.provider.set_faults(Faults { cancel: first, ..quiet() }).unwrap();
    let program = shop.program().with("retry.initial_interval", "200ms");
    let began = Instant::now();
    let swept = program.run(["sweep", "--json", "--wait", "60s"]).await.expect_code(0);
    assert_eq!(swept.json()["canceled"], 80);
    assert!(swept.stderr.contains("circuit.opened"), "{}", swept.stderr);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    shop.assert_no_gap().await;
}
