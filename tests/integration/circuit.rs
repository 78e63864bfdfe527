//! The circuit breaker, and what all processes share of what holds sending back: the real binary against a provider
//! that is away.

mod outages;
mod own_path;
mod processes;
mod sweeps;

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults, Moment, NewSession, RetryAfter, RetryAfterForm};
use geft_sweeper::sandbox::{Fault, SessionFaults};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Endpoints, Program, Shop, eventually};

const LIMIT: Duration = Duration::from_mins(1);
const EVERY_SECOND: &str = "* * * * * *";

/// Cancel and status, every one of them, meet this fault; no answer says when to come back.
fn away(fault: &str) -> Faults {
    let always = EndpointFaults::always(fault.parse::<Fault>().unwrap());
    Faults { cancel: always.clone(), status: always, ..quiet() }
}

/// A provider without fault that never sends a Retry-After.
fn quiet() -> Faults {
    Faults { retry_after: RetryAfter { form: RetryAfterForm::None, ..RetryAfter::default() }, ..Faults::default() }
}

/// A daemon that is quick to try again.
fn quick(shop: &Shop) -> Program {
    shop.program()
        .with("schedule.sweep", EVERY_SECOND)
        .with("server.listen", "127.0.0.1:0")
        .with("retry.initial_interval", "50ms")
        .with("retry.max_interval", "200ms")
}

/// A session whose every cancel fails, and whose status is not told either.
fn poisoned() -> NewSession {
    let always = || Some(EndpointFaults::always("500".parse::<Fault>().unwrap()));
    NewSession { faults: Some(SessionFaults { cancel: always(), status: always() }), ..NewSession::default() }
}

fn cancels(shop: &Shop) -> u64 {
    shop.provider.counts().arrived(Endpoint::Cancel)
}

async fn circuit(endpoints: &Endpoints) -> String {
    endpoints.json("/readyz").await.1["circuit"].as_str().unwrap().to_owned()
}

/// The states of the circuit whose metric says 1.
async fn shown(endpoints: &Endpoints) -> Vec<&'static str> {
    let mut states = Vec::new();
    for state in ["closed", "open", "half_open"] {
        let metric = format!("geft_sweeper_circuit_state{{state=\"{state}\"}}");
        if endpoints.metric(&metric).await.unwrap() > 0.0 {
            states.push(state);
        }
    }
    states
}

#[tokio::test]
async fn it_opens_half_opens_and_closes_once_and_everybody_can_see_it() {
    let shop = Shop::new().await;
    shop.abandon(60).await;
    shop.provider.set_faults(away("500")).unwrap();
    let program = quick(&shop).with("api.max_in_flight", 4);
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    daemon.logged("\"circuit.opened\"").await;
    // Stopped where it finds out, so that each state can be looked at.
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    shop.held(Endpoint::Cancel, 1).await;
    assert_eq!(circuit(&endpoints).await, "half_open");
    eventually(LIMIT, async || shown(&endpoints).await == ["half_open"]).await;
    eventually(LIMIT, async || processes(&program).await[0]["circuit"] == "half_open").await;
    assert!(cancels(&shop) <= 10 + 4 + 3, "{} were sent", cancels(&shop));
    let untouched = "SELECT count(*) FROM geft_sweeper.cancellations WHERE state = 'pending' AND attempts = 0";
    assert!(shop.value::<i64>(untouched).await >= 40, "what was claimed and not sent is given back");
    assert_eq!(shop.number("in_flight").await, 1);

    // It still meets the fault that it was drawn, so that the circuit is open once more.
    hold.release();
    eventually(LIMIT, async || circuit(&endpoints).await == "open").await;
    eventually(LIMIT, async || shown(&endpoints).await == ["open"]).await;
    eventually(LIMIT, async || {
        let process = &processes(&program).await[0];
        process["circuit"] == "open" && process["held_back_by"] == "api_down"
    })
    .await;
    let text = program.run(["status"]).await.expect_code(0).stdout;
    assert!(text.contains("circuit open") && text.contains("held back by api_down"), "{text}");
    assert_eq!(endpoints.json("/readyz").await.1["held_back_by"][0]["reason"], json!("api_down"));

    shop.provider.set_faults(quiet()).unwrap();
    eventually(LIMIT, async || shop.number("canceled").await == 60).await;
    assert_eq!(circuit(&endpoints).await, "closed");
    eventually(LIMIT, async || shown(&endpoints).await == ["closed"]).await;
    for event in ["circuit.opened", "circuit.half_open", "circuit.closed"] {
        assert_eq!(daemon.events(event).len(), 1, "{event}: {}", daemon.stderr());
    }
    for event in ["sending.held_back", "sending.resumed"] {
        assert_eq!(daemon.events(event).len(), 0, "the same fact in another line: {}", daemon.stderr());
    }
    shop.assert_no_gap().await;
}

async fn processes(program: &Program) -> Vec<serde_json::Value> {
    let status = program.run(["status", "--json"]).await.expect_code(0).json();
    let processes = status["processes"].as_array().unwrap().clone();
    // Not on the list within its first seconds.
    if processes.is_empty() { vec![json!({})] } else { processes }
}

#[tokio::test]
async fn a_poisoned_session_alone_and_among_good_ones_never_opens_it() {
    let shop = Shop::new().await;
    shop.provider.set_faults(quiet()).unwrap();
    let poisoned = shop.abandon_as(poisoned()).await;
    let daemon = quick(&shop).with("retry.max_attempts", 1_000).with("retry.max_interval", "50ms").start(["run"]);
    let failures = async || shop.provider.cancels(poisoned);
    eventually(LIMIT, async || failures().await >= 25).await;
    let good = shop.abandon(100).await;
    eventually(LIMIT, async || shop.number("canceled").await == 100).await;
    let before = failures().await;
    eventually(LIMIT, async || failures().await >= before + 15).await;
    assert_eq!(daemon.events("circuit.opened").len(), 0, "{}", daemon.stderr());
    assert_eq!(shop.requests_and_rows(&good).await, vec![(1, 1); 100]);
}

#[tokio::test]
async fn a_hold_of_a_process_that_is_gone_runs_out_by_itself() {
    for why in ["api_down", "no_token", "retry_after", "a reason of a later version"] {
        let shop = Shop::new().await;
        shop.abandon(5).await;
        hold_for(&shop, why, 2).await;
        let report = shop.program().run(["sweep", "--json", "--wait", "30s"]).await.expect_code(0).json();
        assert_eq!(report["canceled"], 5, "{why}: {report}");
        let left = "SELECT count(*) FROM geft_sweeper.holds WHERE why IN ('api_down', 'no_token')";
        assert_eq!(shop.value::<i64>(left).await, 0, "{why}");
    }
}

#[tokio::test]
async fn with_nothing_to_find_out_with_an_outage_that_is_long_over_does_not_stay() {
    let shop = Shop::new().await;
    hold_for(&shop, "api_down", 600).await;
    let daemon = quick(&shop).start(["run"]);
    daemon.logged("\"circuit.opened\"").await;
    let over = "UPDATE geft_sweeper.holds SET until = now() - interval '10 minutes'";
    sqlx::query(over).execute(shop.pool()).await.unwrap();
    daemon.logged("\"circuit.closed\"").await;
    assert_eq!(circuit(&daemon.endpoints().await).await, "closed");
}

/// What another process, which is gone, has noted.
async fn hold_for(shop: &Shop, why: &str, seconds: i32) {
    let note = "INSERT INTO geft_sweeper.holds (why, until, times_found, instance)
        VALUES ($1, now() + make_interval(secs => $2), 1, 'gone/' || $3)";
    let note = sqlx::query(note).bind(why).bind(seconds).bind(Uuid::new_v4().to_string());
    note.execute(shop.pool()).await.unwrap();
}
