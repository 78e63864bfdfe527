//! `sweep`: its report, a dry run that leaves no trace, and waiting for what falls due.

use std::time::Duration;

use geft_sweeper::sandbox::{EndpointFaults, Fault, Faults};
use serde_json::Value;

use super::{MINUTE, SECRET, Shop};

/// Where each word of it has been seen: promised columns of `sweeps`.
const COLUMNS: [&str; 14] = [
    "id",
    "trigger",
    "instance",
    "status",
    "error",
    "started_at",
    "finished_at",
    "discovered",
    "canceled",
    "already_terminal",
    "retried",
    "failed",
    "withdrawn",
    "skipped",
];

fn first_cancels_meet(fault: &str) -> Faults {
    let fault: Fault = fault.parse().unwrap();
    Faults { cancel: EndpointFaults::first([fault]), ..Faults::default() }
}

#[tokio::test]
async fn the_report_in_json_is_one_object_with_the_columns_of_sweeps_as_stored() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    shop.add("created", 45 * MINUTE).await;
    shop.add("created", 15 * MINUTE).await;
    shop.add("settled", 45 * MINUTE).await;
    shop.add("pending", 2 * MINUTE).await;
    shop.sandbox.set_status(shop.add("abandoned", MINUTE).await, "Expired", None).unwrap();
    let said = shop.program().run(["sweep", "--json"]).await.expect_code(0);
    let report = said.json();
    assert_eq!(said.stdout.lines().count(), 1);
    for column in COLUMNS {
        assert!(report.get(column).is_some(), "{column} is missing: {report}");
    }
    let stored: Value = serde_json::from_str(
        &shop
            .value::<String>("SELECT (to_jsonb(s) - 'started_at' - 'finished_at')::text FROM geft_sweeper.sweeps s")
            .await,
    )
    .unwrap();
    for (column, value) in stored.as_object().unwrap() {
        assert_eq!(&report[column], value, "{column}");
    }
    assert_eq!(report["trigger"], "command");
    assert_eq!(report["status"], "finished");
    let counts = ["discovered", "canceled", "already_terminal", "retried", "failed"].map(|name| report[name].as_i64());
    assert_eq!(counts, [3, 2, 1, 0, 0].map(Some));
    shop.database.close().await;
}

#[tokio::test]
async fn the_report_for_people_names_each_session_paid_after_abandonment() {
    let shop = Shop::new().await;
    let id = shop.add("abandoned", MINUTE).await;
    shop.sandbox.set_status(id, "Completed", Some("EFT0302")).unwrap();
    let said = shop.program().run(["sweep"]).await.expect_code(0);
    let line = said.stdout.lines().find(|line| line.contains(&id.to_string())).expect("a line of its own");
    assert!(line.contains(&format!("order-{id}")) && line.contains("awaiting_signature"), "{line}");
    assert!(said.stderr.contains("session.paid_after_abandonment") && said.stderr.contains("WARN"));
    shop.database.close().await;
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_canceled_and_why_and_leaves_no_trace() {
    let shop = Shop::new().await;
    let abandoned = shop.add("Abandoned", MINUTE).await;
    let aged = shop.add("created", 45 * MINUTE).await;
    let young = shop.add("created", MINUTE).await;
    let settled = shop.add("settled", 45 * MINUTE).await;
    let before = shop.contents().await;

    let text = shop.program().run(["sweep", "--dry-run"]).await.expect_code(0);
    for (id, reason) in [(abandoned, "abandoned"), (aged, "aged")] {
        let line = text.stdout.lines().find(|line| line.contains(&id.to_string())).expect("a line for it");
        assert!(line.split_whitespace().any(|word| word == reason), "{line}");
    }
    assert!(!text.stdout.contains(&young.to_string()) && !text.stdout.contains(&settled.to_string()));
    assert!(text.stdout.contains("2 sessions would be canceled"), "{}", text.stdout);

    let json = shop.program().run(["sweep", "--dry-run", "--json"]).await.expect_code(0).json();
    let mut reasons: Vec<_> = json["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["session_id"].clone(), one["reason"].clone()))
        .collect();
    reasons.sort_by_key(|(_, reason)| reason.to_string());
    let expected =
        [(abandoned, "abandoned"), (aged, "aged")].map(|(id, why)| (Value::from(id.to_string()), Value::from(why)));
    assert_eq!(reasons, expected);
    assert_eq!((json["would_cancel"].clone(), json["skipped"].clone()), (2.into(), 0.into()));

    assert_eq!(shop.contents().await, before);
    shop.expect_no_request();
    shop.database.close().await;
}

#[tokio::test]
async fn a_dry_run_tells_nothing_that_has_been_dealt_with() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    shop.program().run(["sweep"]).await.expect_code(0);
    let json = shop.program().run(["sweep", "--dry-run", "--json"]).await.expect_code(0).json();
    assert_eq!(json["would_cancel"], 0);
    shop.database.close().await;
}

#[tokio::test]
async fn a_dry_run_before_the_schema_is_there_says_so_and_makes_none() {
    let shop = Shop::without_schema().await;
    let id = shop.add("abandoned", MINUTE).await;
    let before = shop.contents().await;
    for auto_migrate in [true, false] {
        let program = shop.program().with("database.auto_migrate", auto_migrate);
        let said = program.run(["sweep", "--dry-run"]).await.expect_code(0);
        assert!(said.stdout.contains(&id.to_string()), "{}", said.stdout);
        assert!(said.stderr.contains("the schema geft_sweeper is missing"), "{}", said.stderr);
    }
    assert_eq!(shop.contents().await, before);
    assert!(shop.value::<bool>("SELECT to_regnamespace('geft_sweeper') IS NULL").await);
    shop.expect_no_request();
    shop.database.close().await;
}

#[tokio::test]
async fn a_sweep_makes_the_schema_where_it_may() {
    let shop = Shop::without_schema().await;
    shop.add("abandoned", MINUTE).await;
    assert_eq!(shop.program().run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 1);
    shop.database.close().await;
}

#[tokio::test]
async fn without_wait_a_retry_is_left_for_later() {
    let shop = Shop::new().await;
    let id = shop.add("abandoned", MINUTE).await;
    shop.sandbox.set_faults(first_cancels_meet("500")).unwrap();
    let report = shop.program().run(["sweep", "--json"]).await.expect_code(0).json();
    assert_eq!((report["retried"].clone(), report["canceled"].clone()), (1.into(), 0.into()));
    assert_eq!(shop.sandbox.cancels(id), 1);
    assert!(shop.value::<bool>("SELECT next_attempt_at > started_at FROM geft_sweeper.cancel_attempts").await);
    shop.database.close().await;
}

#[tokio::test]
async fn with_wait_a_retry_that_falls_due_in_time_is_made_and_the_rest_of_it_is_not_sat_out() {
    let shop = Shop::new().await;
    let id = shop.add("abandoned", MINUTE).await;
    shop.sandbox.set_faults(first_cancels_meet("500")).unwrap();
    let program = shop.program().with("retry.initial_interval", "50ms");
    // A wait that was sat out would outlast the harness's patience.
    let report = program.run(["sweep", "--wait", "1h", "--json"]).await.expect_code(0).json();
    assert_eq!((report["retried"].clone(), report["canceled"].clone()), (1.into(), 1.into()));
    assert_eq!(shop.sandbox.cancels(id), 2);
    shop.database.close().await;
}

#[tokio::test]
async fn with_wait_a_retry_that_falls_due_too_late_is_not_waited_for() {
    let shop = Shop::new().await;
    let id = shop.add("abandoned", MINUTE).await;
    shop.sandbox.set_faults(first_cancels_meet("500")).unwrap();
    let program = shop.program().with("retry.initial_interval", "25m").with("retry.randomization_factor", 0.0);
    let started = std::time::Instant::now();
    let report = program.run(["sweep", "--wait", "5m", "--json"]).await.expect_code(0).json();
    assert!(started.elapsed() < Duration::from_mins(1));
    assert_eq!((report["retried"].clone(), report["canceled"].clone()), (1.into(), 0.into()));
    assert_eq!(shop.sandbox.cancels(id), 1);
    shop.database.close().await;
}

#[tokio::test]
async fn in_a_pipe_there_is_no_escape_code_with_or_without_no_color() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    for no_color in ["", "1"] {
        let program = shop.program().with_variable("NO_COLOR", no_color).with("log.format", "pretty");
        let program = program.with_variable("TERM", "xterm-256color");
        for said in [
            program.run(["sweep"]).await,
            program.run(["sweep", "--dry-run"]).await,
            program.run(["status"]).await,
            program.run(["check"]).await,
            program.run(["sweep", "--help"]).await,
            program.run(["sweeep"]).await,
        ] {
            assert!(!said.stdout.contains('\u{1b}') && !said.stderr.contains('\u{1b}'), "{said:#?}");
            assert!(!said.stdout.contains(SECRET) && !said.stderr.contains(SECRET), "{said:#?}");
        }
    }
    shop.database.close().await;
}

#[tokio::test]
async fn logs_in_a_pipe_are_json_and_each_names_its_event() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    let said = shop.program().run(["sweep"]).await.expect_code(0);
    assert!(said.stderr.lines().count() > 1);
    for line in said.stderr.lines() {
        let logged: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(logged["event"].is_string(), "{line}");
    }
    shop.database.close().await;
}

#[tokio::test]
async fn a_text_of_the_merchants_cannot_steer_the_terminal() {
    let shop = Shop::new().await;
    let id = shop.add("abandoned", MINUTE).await;
    shop.sandbox.set_status(id, "Completed", None).unwrap();
    shop.execute("UPDATE payment_sessions SET reference_id = E'\\x1b[2Jwiped\\nforged'").await;
    shop.execute("INSERT INTO payment_sessions VALUES (gen_random_uuid(), '', E'odd\\x1b[2J\\nforged', now())").await;
    for arguments in [["check"].as_slice(), &["sweep", "--dry-run"], &["sweep"], &["status"]] {
        let said = match *arguments {
            [one] => shop.program().run([one]).await,
            _ => shop.program().run(["sweep", "--dry-run"]).await,
        };
        let shown = said.expect_code(0).stdout;
        assert!(shown.contains("\u{fffd}[2J"), "{arguments:?}: {shown}");
        assert!(!shown.contains('\u{1b}') && !shown.lines().any(|line| line.starts_with("forged")), "{shown}");
    }
    shop.database.close().await;
}
