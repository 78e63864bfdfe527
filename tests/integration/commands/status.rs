//! `status`: where things stand, from the database alone.

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Fault, Faults, Moment};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{MINUTE, Shop};

/// A session in each state, the pending one due since a known moment.
const ONE_IN_EACH_STATE: &str = "INSERT INTO geft_sweeper.cancellations
    (session_id, source_key, reason, sweep_id, state, next_attempt_at, finished_at, claim,
     session_status, status_details, reference_id, amount)
    SELECT gen_random_uuid(), '', 'aged', gen_random_uuid(), state,
           CASE WHEN open THEN timestamptz '2026-01-02 03:04:05Z' END, CASE WHEN NOT open THEN now() END,
           CASE WHEN held THEN gen_random_uuid() END, CASE WHEN paid THEN 'Completed' END, CASE WHEN paid THEN 'EFT0301' END,
           CASE WHEN paid THEN 'order-17' END, CASE WHEN paid THEN 12.50 END
      FROM unnest(ARRAY['pending', 'in_flight', 'canceled', 'already_terminal', 'failed', 'withdrawn']) AS state,
           LATERAL (SELECT state IN ('pending', 'in_flight') AS open, state = 'in_flight' AS held,
                           state = 'already_terminal' AS paid) AS what";

#[tokio::test]
async fn the_backlog_has_every_state_and_the_oldest_due_session() {
    let shop = Shop::new().await;
    let empty = shop.program().run(["status", "--json"]).await.expect_code(0).json();
    assert!(empty["backlog"].as_object().unwrap().values().all(|number| *number == 0) && empty["oldest_due"].is_null());

    shop.execute(ONE_IN_EACH_STATE).await;
    let status = shop.program().run(["status", "--json"]).await.expect_code(0).json();
    let backlog = status["backlog"].as_object().unwrap();
    assert_eq!(backlog.len(), 6);
    for state in ["pending", "in_flight", "canceled", "already_terminal", "failed", "withdrawn"] {
        assert_eq!(backlog[state], 1, "{state}");
    }
    assert_eq!(status["oldest_due"], "2026-01-02T03:04:05Z");
    assert_eq!(status["paid_after_abandonment"], 1);
    shop.database.close().await;
}

#[tokio::test]
async fn what_people_read_has_the_same_and_a_line_for_each_session_paid_after_abandonment() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    shop.program().run(["sweep"]).await.expect_code(0);
    shop.execute(ONE_IN_EACH_STATE).await;
    let said = shop.program().run(["status"]).await.expect_code(0);
    for part in ["pending", "in_flight", "already_terminal", "withdrawn", "oldest due: 2026-01-02T03:04:05Z", "command"]
    {
        assert!(said.stdout.contains(part), "{part}: {}", said.stdout);
    }
    let paid = said.stdout.lines().find(|line| line.contains("order-17")).expect("a line of its own");
    assert!(paid.contains("scheduled") && paid.contains("12.50"), "{paid}");
    assert_eq!(said.stderr, "");
    shop.database.close().await;
}

#[tokio::test]
async fn the_last_sweeps_come_newest_first_with_their_errors() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    shop.program().with("api.client_secret", "wrong").run(["sweep"]).await.expect_code(1);
    shop.program().run(["sweep"]).await.expect_code(0);
    let status = shop.program().run(["status", "--json"]).await.expect_code(0).json();
    let statuses: Vec<&Value> = status["sweeps"].as_array().unwrap().iter().map(|sweep| &sweep["status"]).collect();
    assert_eq!(statuses, ["finished", "stopped"]);
    assert!(status["sweeps"][1]["error"].as_str().unwrap().contains("refuses the credentials"));
    shop.database.close().await;
}

#[tokio::test]
async fn a_process_is_listed_while_it_lives() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    let hold = shop.sandbox.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let program = shop.program();
    let sweep = program.start(["sweep", "--json"]);
    shop.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == 1).await;
    let status = shop.program().run(["status", "--json"]).await.expect_code(0).json();
    let processes = status["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 1);
    assert_eq!(processes[0]["command"], "sweep");
    assert_eq!(status["backlog"]["in_flight"], 1);
    assert_eq!(status["sweeps"][0]["status"], "running");
    drop(hold);
    let report = sweep.finished().await.expect_code(0).json();
    assert_eq!(report["instance"], processes[0]["instance"]);

    let status = shop.program().run(["status", "--json"]).await.expect_code(0).json();
    assert_eq!(status["processes"], Value::Array(Vec::new()));
    shop.database.close().await;
}

#[tokio::test]
async fn what_holds_sending_back_is_told_while_it_does() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    let refuse: Fault = "401".parse().unwrap();
    shop.sandbox.set_faults(Faults { authorize: EndpointFaults::always(refuse), ..Faults::default() }).unwrap();
    let program = shop.program().with("schedule.sweep", "* * * * * *");
    let daemon = program.start(["run"]);
    daemon.logged("sending.held_back").await;
    let held = async || {
        let status = shop.program().run(["status", "--json"]).await.expect_code(0).json();
        status["held_back_by"].as_array().unwrap().first().cloned()
    };
    crate::support::eventually(MINUTE, async || held().await.is_some()).await;
    let held = held().await.unwrap();
    assert_eq!(held["reason"], "credentials_refused");
    let text = shop.program().run(["status"]).await.expect_code(0).stdout;
    assert!(text.contains("sending is held back by credentials_refused"), "{text}");
    daemon.signal(Signal::SIGTERM);
    daemon.finished().await.expect_code(0);
    shop.database.close().await;
}

#[tokio::test]
async fn status_changes_nothing() {
    let shop = Shop::new().await;
    shop.execute(ONE_IN_EACH_STATE).await;
    let before = shop.contents().await;
    shop.program().run(["status"]).await.expect_code(0);
    shop.program().run(["status", "--json"]).await.expect_code(0);
    assert_eq!(shop.contents().await, before);
    shop.expect_no_request();
    shop.database.close().await;
}

#[tokio::test]
async fn status_never_migrates_and_says_what_is_missing() {
    let shop = Shop::without_schema().await;
    let said = shop.program().run(["status"]).await.expect_code(1);
    assert_eq!(said.stdout, "");
    assert!(said.stderr.starts_with("geft-sweeper: the schema geft_sweeper is missing: run `geft-sweeper migrate`"));
    assert!(shop.value::<bool>("SELECT to_regnamespace('geft_sweeper') IS NULL").await);
    shop.database.close().await;
}
