//! What it shows: metrics from zero, what holds sending back, and who is alive.

use geft_sweeper::outcome::Outcome;
use geft_sweeper::sandbox::Endpoint;
use nix::sys::signal::Signal;
use serde_json::json;

use super::{EVERY_SECOND, LIMIT, YEARLY};
use crate::support::{Shop, eventually};

#[tokio::test]
async fn attempts_are_counted_by_outcome_and_each_is_there_from_zero() {
    let shop = Shop::new().await;
    let program = shop.program().with("server.listen", "127.0.0.1:0").with("schedule.sweep", EVERY_SECOND);
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    for outcome in Outcome::ALL {
        let name = format!("geft_sweeper_attempts_total{{outcome=\"{}\"}}", outcome.as_str());
        assert_eq!(endpoints.metric(&name).await, Some(0.0), "{name}");
    }
    assert_eq!(endpoints.metric("geft_sweeper_late_results_total").await, Some(0.0));
    let ids = shop.abandon(3).await;
    shop.provider.set_status(ids[0], "Completed", None).unwrap();
    eventually(LIMIT, async || shop.number("canceled").await == 2).await;
    let metric =
        async |outcome| endpoints.metric(&format!("geft_sweeper_attempts_total{{outcome=\"{outcome}\"}}")).await;
    eventually(LIMIT, async || metric("canceled").await == Some(2.0)).await;
    eventually(LIMIT, async || metric("already_terminal").await == Some(1.0)).await;
    assert_eq!(endpoints.metric("geft_sweeper_paid_after_abandonment_total").await, Some(1.0));
}

#[tokio::test]
async fn refused_credentials_are_shown_everywhere_and_do_not_make_it_unready() {
    let shop = Shop::new().await;
    shop.abandon(5).await;
    shop.provider.set_client_secret("changed".into());
    let program = shop.program().with("server.listen", "127.0.0.1:0").with("schedule.sweep", EVERY_SECOND);
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    daemon.logged("\"sending.held_back\"").await;
    let (status, body) = endpoints.json("/readyz").await;
    assert_eq!((status, &body["held_back_by"][0]["reason"]), (200, &json!("credentials_refused")), "{body}");
    assert_eq!(endpoints.get("/healthz").await.0, 200);
    let shown = "geft_sweeper_held_back{reason=\"credentials_refused\"}";
    eventually(LIMIT, async || endpoints.metric(shown).await == Some(1.0)).await;

    let instance = daemon.events("process.started")[0]["process.instance"].clone();
    eventually(LIMIT, async || {
        let status = program.run(["status", "--json"]).await.expect_code(0).json();
        status["held_back_by"][0]["reason"] == "credentials_refused"
            && status["held_back_by"][0]["instance"] == instance
    })
    .await;
    assert_eq!((shop.number("pending").await, shop.provider.counts().arrived(Endpoint::Cancel)), (5, 0));

    shop.provider.set_client_secret("secret".into());
    eventually(LIMIT, async || shop.number("canceled").await == 5).await;
    eventually(LIMIT, async || endpoints.json("/readyz").await.1["held_back_by"] == json!([])).await;
    eventually(LIMIT, async || endpoints.metric(shown).await == Some(0.0)).await;
    assert_eq!(daemon.events("sending.held_back").len(), 1, "{}", daemon.stderr());
}

#[tokio::test]
async fn a_killed_process_is_gone_from_the_status() {
    let shop = Shop::new().await;
    let program = shop.program().with("schedule.sweep", YEARLY);
    let (one, other) = (program.start(["run"]), program.start(["run"]));
    let alive = async || {
        let status = program.run(["status", "--json"]).await.expect_code(0).json();
        let processes = status["processes"].as_array().unwrap().clone();
        processes.into_iter().map(|process| process["instance"].clone()).collect::<Vec<_>>()
    };
    eventually(LIMIT, async || alive().await.len() == 2).await;
    other.signal(Signal::SIGKILL);
    assert_eq!(other.finished().await.code(), None);
    let left = one.events("process.started")[0]["process.instance"].clone();
    eventually(LIMIT, async || alive().await == [left.clone()]).await;
}
