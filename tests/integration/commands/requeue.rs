//! `requeue`: failed sessions become pending with a fresh budget, and no others.

use uuid::Uuid;

use super::{MINUTE, Shop};

/// A failed session with this last outcome, that failed so many hours ago.
async fn failed(shop: &Shop, outcome: &str, hours: i32) -> Uuid {
    let id = shop.add("settled", MINUTE).await;
    shop.execute(&format!(
        "INSERT INTO geft_sweeper.cancellations
             (session_id, source_key, reason, sweep_id, state, attempts, counted_attempts, last_outcome, finished_at)
         VALUES ('{id}', '{id}', 'abandoned', gen_random_uuid(), 'failed', 20, 20, '{outcome}', now() - interval '{hours} h')"
    ))
    .await;
    id
}

async fn pending(shop: &Shop) -> Vec<Uuid> {
    let sql = "SELECT coalesce(array_agg(session_id ORDER BY session_id), '{}') FROM geft_sweeper.cancellations
                WHERE state = 'pending' AND counted_attempts = 0 AND next_attempt_at <= now() AND finished_at IS NULL";
    shop.value(sql).await
}

fn sorted<const N: usize>(mut ids: [Uuid; N]) -> [Uuid; N] {
    ids.sort();
    ids
}

#[tokio::test]
async fn one_session_and_many_are_requeued_by_their_ids() {
    let shop = Shop::new().await;
    let (one, two, three) =
        (failed(&shop, "rejected", 1).await, failed(&shop, "timeout", 1).await, failed(&shop, "timeout", 1).await);
    let other = failed(&shop, "rejected", 1).await;
    let said = shop.program().run(["requeue", "--session", &one.to_string()]).await.expect_code(0);
    assert!(said.stdout.contains(&one.to_string()) && said.stdout.contains("1 session requeued"), "{}", said.stdout);
    assert_eq!((pending(&shop).await.as_slice(), said.stderr.as_str()), ([one].as_slice(), ""));

    let arguments = ["requeue", "--session", &two.to_string(), &three.to_string().to_uppercase()];
    let said = shop.program().run(arguments).await.expect_code(0);
    assert!(said.stdout.contains("2 sessions requeued") && !said.stdout.contains(&other.to_string()));
    assert_eq!(pending(&shop).await, sorted([one, two, three]));
    shop.database.close().await;
}

#[tokio::test]
async fn by_outcome_only_those_that_failed_so_and_since_then_are_requeued() {
    let shop = Shop::new().await;
    let recent = failed(&shop, "rejected", 1).await;
    failed(&shop, "rejected", 30).await;
    failed(&shop, "not_found", 1).await;
    let yesterday: String = shop
        .value("SELECT to_char(now() AT TIME ZONE 'UTC' - interval '20 h', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
        .await;
    let before = shop.contents().await;
    for since in ["2h", yesterday.as_str(), "1h 30m"] {
        let arguments = ["requeue", "--outcome", "rejected", "--since", since, "--dry-run"];
        let said = shop.program().run(arguments).await.expect_code(0);
        assert!(said.stdout.contains("1 session would be requeued"), "{since}: {}", said.stdout);
        assert!(said.stdout.contains(&recent.to_string()), "{since}: {}", said.stdout);
    }
    let long_ago: String = shop.value("SELECT (current_date - 3)::text").await;
    let arguments = ["requeue", "--outcome", "rejected", "--since", &long_ago, "--dry-run"];
    let said = shop.program().run(arguments).await.expect_code(0);
    assert!(said.stdout.contains("2 sessions would be requeued"), "{}", said.stdout);
    assert_eq!(shop.contents().await.len(), before.len());
    assert!(pending(&shop).await.is_empty());

    shop.program().run(["requeue", "--outcome", "rejected", "--since", "2h"]).await.expect_code(0);
    assert_eq!(pending(&shop).await, [recent]);
    shop.database.close().await;
}

#[tokio::test]
async fn a_dry_run_of_requeue_writes_nothing() {
    let shop = Shop::new().await;
    let id = failed(&shop, "rejected", 1).await;
    let before = shop.contents().await;
    shop.program().run(["requeue", "--session", &id.to_string(), "--dry-run"]).await.expect_code(0);
    assert_eq!(shop.contents().await, before);
    shop.database.close().await;
}

#[tokio::test]
async fn sessions_that_are_not_failed_are_named_and_left_as_they_are() {
    let shop = Shop::new().await;
    let canceled = shop.add("abandoned", MINUTE).await;
    shop.program().run(["sweep"]).await.expect_code(0);
    let unknown = Uuid::new_v4();
    let before = shop.contents().await;
    let said = shop.program().run(["requeue", "--session", &canceled.to_string(), &unknown.to_string()]).await;
    let said = said.expect_code(0);
    assert_eq!(said.stdout, "0 sessions requeued\n");
    for id in [canceled, unknown] {
        let line = said.stderr.lines().find(|line| line.contains(&id.to_string())).expect("a sentence for it");
        assert!(line.starts_with("geft-sweeper: ") && line.contains("not failed"), "{line}");
    }
    assert_eq!(shop.contents().await, before);
    shop.database.close().await;
}

#[tokio::test]
async fn a_requeued_session_is_canceled_by_the_next_sweep_and_its_attempts_go_on() {
    let shop = Shop::new().await;
    let id = shop.add("abandoned", MINUTE).await;
    let fault = "500".parse::<geft_sweeper::sandbox::Fault>().unwrap();
    let first = geft_sweeper::sandbox::EndpointFaults::first([fault]);
    shop.sandbox.set_faults(geft_sweeper::sandbox::Faults { cancel: first, ..Default::default() }).unwrap();
    let program = shop.program().with("retry.max_attempts", 1);
    assert_eq!(program.run(["sweep", "--json"]).await.expect_code(0).json()["failed"], 1);
    program.run(["requeue", "--outcome", "server_error", "--since", "1h"]).await.expect_code(0);
    assert_eq!(program.run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 1);
    let attempts: String = shop
        .value("SELECT string_agg(attempt || ' ' || outcome, ', ' ORDER BY id) FROM geft_sweeper.cancel_attempts")
        .await;
    assert_eq!((attempts.as_str(), shop.sandbox.cancels(id)), ("1 server_error, 2 canceled", 2));
    shop.database.close().await;
}
