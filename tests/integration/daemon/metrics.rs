//! The metrics of `run`: each there from the start with its meaning, and each right after work was done.

use std::collections::BTreeSet;

use geft_sweeper::ledger::Brake;
use geft_sweeper::outcome::Outcome;
use geft_sweeper::sandbox::{Endpoint, Moment};
use geft_sweeper::session::State;
use geft_sweeper::throttle::{Circuit, Why};
use geft_sweeper::{COMMIT, VERSION};

use super::{EVERY_SECOND, LIMIT, YEARLY, always};
use crate::support::{Metrics, Shop, eventually};

#[tokio::test]
async fn every_metric_and_every_label_is_there_from_the_start() {
    let shop = Shop::new().await;
    let program = shop.program().with("server.listen", "127.0.0.1:0").with("schedule.sweep", YEARLY);
    let daemon = program.start(["run"]);
    let metrics = daemon.endpoints().await.metrics().await;
    let described = described();
    assert_eq!(metrics.explained.keys().cloned().collect::<BTreeSet<_>>(), described);
    for name in &described {
        let sample = if metrics.explained[name] == "histogram" { format!("{name}_count") } else { name.clone() };
        assert!(metrics.with(&sample, &[]).next().is_some(), "{name} has no sample");
    }
    let zero = |name: &str, label: &str, value: &str| {
        assert!(metrics.value(name, &[(label, value)]).abs() < f64::EPSILON, "{name} {label}={value}");
    };
    for outcome in Outcome::ALL {
        zero("geft_sweeper_attempts_total", "outcome", outcome.as_str());
    }
    for state in State::ALL.iter().filter(|state| state.is_final()) {
        zero("geft_sweeper_sessions_ended_total", "state", state.as_str());
    }
    for why in Why::ALL {
        zero("geft_sweeper_held_back", "reason", why.as_str());
    }
    for brake in Brake::ALL {
        zero("geft_sweeper_brake_acting", "brake", brake.as_str());
    }
    for endpoint in ["authorize", "cancel", "status"] {
        zero("geft_sweeper_request_duration_seconds_count", "endpoint", endpoint);
    }
    let circuit = |circuit: Circuit| metrics.value("geft_sweeper_circuit_state", &[("state", circuit.as_str())]);
    assert_eq!(Circuit::ALL.map(|state| circuit(state) > 0.0), Circuit::ALL.map(|state| state == Circuit::Closed));
    let build = metrics.value("geft_sweeper_build_info", &[("version", VERSION), ("commit", COMMIT)]);
    assert!((build - 1.0).abs() < f64::EPSILON);
}

/// The metrics in the README's table.
fn described() -> BTreeSet<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let names = readme.lines().filter_map(|line| line.strip_prefix("| `geft_sweeper_")?.split('`').next());
    names.map(|name| format!("geft_sweeper_{name}")).collect()
}

#[tokio::test]
async fn work_shows_in_every_figure_of_it() {
    let shop = Shop::new().await;
    let ids = shop.abandon(40).await;
    shop.provider.set_status(ids[0], "Failed", None).unwrap();
    let program = shop
        .program()
        .with("server.listen", "127.0.0.1:0")
        .with("schedule.sweep", EVERY_SECOND)
        .with("api.max_requests_per_second", 100.0);
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    eventually(LIMIT, async || {
        let metrics = endpoints.metrics().await;
        metrics.value("geft_sweeper_sweep_duration_seconds_count", &[("status", "finished")]) >= 1.0
            && ended(&metrics, "canceled") + ended(&metrics, "already_terminal") >= 40.0
    })
    .await;
    let metrics = endpoints.metrics().await;
    let is = |expected: f64, name: &str, labels: &[(&str, &str)]| {
        let value = metrics.value(name, labels);
        assert!((value - expected).abs() < f64::EPSILON, "{name} {labels:?} is {value}, not {expected}");
    };
    is(39.0, "geft_sweeper_sessions_ended_total", &[("state", "canceled")]);
    is(1.0, "geft_sweeper_sessions_ended_total", &[("state", "already_terminal")]);
    is(40.0, "geft_sweeper_claim_batch_sessions_sum", &[]);
    is(40.0, "geft_sweeper_record_batch_attempts_sum", &[]);
    is(40.0, "geft_sweeper_request_duration_seconds_count", &[("endpoint", "cancel")]);
    is(39.0, "geft_sweeper_requests_total", &[("endpoint", "cancel"), ("code", "200")]);
    is(1.0, "geft_sweeper_token_renewals_total", &[]);
    // 42 requests, a hundredth of a second apart.
    let waited = metrics.value("geft_sweeper_rate_limit_wait_seconds_sum", &[]);
    assert!(waited > 1.0, "{waited} s");
    for batch in ["claim_batch_sessions", "record_batch_attempts"] {
        let timed = if batch.starts_with("claim") { "claim" } else { "record" };
        let batches = metrics.value(&format!("geft_sweeper_{batch}_count"), &[]);
        is(batches, &format!("geft_sweeper_{timed}_duration_seconds_count"), &[]);
        assert!((1.0..=40.0).contains(&batches), "{batches} {timed}s");
    }
}

fn ended(metrics: &Metrics, state: &str) -> f64 {
    metrics.value("geft_sweeper_sessions_ended_total", &[("state", state)])
}

#[tokio::test]
async fn who_can_still_pay_is_shown_until_nobody_can() {
    let shop = Shop::new().await;
    shop.abandon(3).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let program = shop
        .program()
        .with("server.listen", "127.0.0.1:0")
        .with("schedule.sweep", EVERY_SECOND)
        .with("api.timeout", "15s");
    // Taken on by another process, so that the first reading of this one finds them in flight.
    let other = program.start(["sweep"]);
    shop.held(Endpoint::Cancel, 3).await;
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    let payable = async || endpoints.metrics().await.value("geft_sweeper_payable_sessions", &[]);
    eventually(LIMIT, async || (payable().await - 3.0).abs() < f64::EPSILON).await;
    let metrics = endpoints.metrics().await;
    assert!((metrics.value("geft_sweeper_backlog_sessions", &[("state", "in_flight")]) - 3.0).abs() < f64::EPSILON);
    // As old as in the merchant's table, whenever they were taken on.
    let oldest = metrics.value("geft_sweeper_payable_oldest_age_seconds", &[]);
    assert!((3600.0..3700.0).contains(&oldest), "{oldest} s");
    hold.release();
    other.finished().await.expect_code(0);
    // It is read every 15 seconds.
    eventually(LIMIT, async || payable().await.abs() < f64::EPSILON).await;
    let metrics = endpoints.metrics().await;
    assert!(metrics.value("geft_sweeper_payable_oldest_age_seconds", &[]).abs() < f64::EPSILON);
    let last_sweep = metrics.value("geft_sweeper_last_sweep_age_seconds", &[]);
    assert!(last_sweep < 20.0, "{last_sweep} s");
}

#[tokio::test]
async fn an_api_that_is_down_is_shown_as_what_holds_sending_back() {
    let shop = Shop::new().await;
    shop.abandon(12).await;
    shop.provider.set_faults(always(500)).unwrap();
    let program = shop.program().with("server.listen", "127.0.0.1:0").with("schedule.sweep", EVERY_SECOND);
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    daemon.logged("\"circuit.opened\"").await;
    eventually(LIMIT, async || {
        let metrics = endpoints.metrics().await;
        metrics.value("geft_sweeper_held_back", &[("reason", "api_down")]) > 0.0
            && metrics.value("geft_sweeper_circuit_state", &[("state", "closed")]) < 1.0
    })
    .await;
}
