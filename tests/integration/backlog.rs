//! A backlog that takes its time: it holds up neither the merchant nor what falls due meanwhile, and no more is sent than a
//! slow database can be told of.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Fault, Faults, NewSession, SessionFaults};
use sqlx::Connection as _;
use uuid::Uuid;

use crate::support::{Scene, eventually};

const LIMIT: Duration = Duration::from_mins(1);
const MINUTE: Duration = Duration::from_mins(1);

/// Six pages of the source.
const SESSIONS: usize = 6_000;

/// A shop whose sessions are canceled in so many milliseconds each, 32 at a time.
async fn scene(latency_ms: u64) -> Scene {
    let cancel = EndpointFaults { latency_ms, ..EndpointFaults::default() };
    let scene = Scene::new(Faults { cancel, ..Faults::default() }).await;
    let scene = scene.with("api.token_use", "shared").with("api.max_in_flight", 32);
    scene.program.run(["migrate"]).await.expect_code(0);
    scene
}

#[tokio::test]
async fn while_a_backlog_is_sent_the_merchant_can_change_the_table_and_a_retry_goes_out_when_it_is_due() {
    let scene = scene(50).await.with("retry.initial_interval", "1s").with("retry.randomization_factor", 0.0);
    // In the first page, and there the first by its id.
    let failing = Uuid::from_u128(1);
    let cancel = Some(EndpointFaults { latency_ms: 50, ..EndpointFaults::first(["500".parse::<Fault>().unwrap()]) });
    let faults = Some(SessionFaults { cancel, status: None });
    let mut sessions = vec![NewSession::default(); SESSIONS];
    sessions[0] = NewSession { session_id: Some(failing), faults, ..NewSession::default() };
    let ids = scene.sandbox.seed(sessions).unwrap();
    scene.merchant.add_all(&ids, "abandoned", MINUTE).await;
    let sweep = scene.program.start(["sweep"]);
    let arrived = || scene.sandbox.counts().arrived(Endpoint::Cancel);
    eventually(LIMIT, async || arrived() > 0).await;

    let mut merchant = scene.database.pool().acquire().await.unwrap();
    let change = "SET lock_timeout = '10s'; ALTER TABLE payment_sessions ADD COLUMN note text";
    sqlx::raw_sql(change).execute(&mut *merchant).await.unwrap();
    let by_then = arrived();
    eventually(LIMIT, async || scene.sandbox.cancels(failing) == 2).await;
    let (retried_by, all) = (arrived(), u64::try_from(SESSIONS).unwrap());
    assert!(by_then < all * 2 / 3 && retried_by < all * 2 / 3, "{by_then} and {retried_by}: {}", sweep.stderr());
    sweep.finished().await.expect_code(0);
    assert_eq!(arrived(), all + 1);
}

#[tokio::test]
async fn while_the_database_does_not_take_results_only_few_more_are_sent_for() {
    let scene = scene(200).await;
    let ids = scene.sandbox.seed(vec![NewSession::default(); 2_000]).unwrap();
    scene.merchant.add_all(&ids, "abandoned", MINUTE).await;
    let mut other = scene.database.pool().acquire().await.unwrap();
    let mut locked = other.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE geft_sweeper.cancel_attempts IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *locked)
        .await
        .unwrap();
    let sweep = scene.program.start(["sweep"]);
    let waits =
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND query LIKE '%ledger.record%' AND query_start < now() - interval '6 seconds'";
    eventually(LIMIT, async || sqlx::query_scalar(waits).fetch_one(scene.database.pool()).await.unwrap()).await;
    // At 160 a second there was time for 1,000.
    let sent = scene.sandbox.counts().arrived(Endpoint::Cancel);
    assert!((1..500).contains(&sent), "{sent}: {}", sweep.stderr());
    locked.rollback().await.unwrap();
    sweep.finished().await.expect_code(0);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_does_not_hold_up_the_pages_before_it() {
    for (row, before) in [(1_500, 1_000), (2_400, 2_000)] {
        let scene = scene(0).await;
        let ids = scene.sandbox.seed(vec![NewSession::default(); 2_500]).unwrap();
        scene.merchant.add_all(&ids, "abandoned", MINUTE).await;
        let number = "CREATE TABLE numbered AS SELECT *, row_number() OVER () AS number FROM payment_sessions";
        sqlx::raw_sql(number).execute(scene.database.pool()).await.unwrap();
        let query =
            format!("SELECT session_id, (1 / ({row} - number))::text AS reference_id, '' AS reason FROM numbered");
        let program = scene.program.without("source.table").without("source.open_statuses").without("source.max_age");
        let swept = program.with("source.query", query).run(["sweep", "--json"]).await.expect_code(2);
        assert!(swept.stderr.contains("division by zero"), "{}", swept.stderr);
        assert_eq!(scene.sandbox.counts().arrived(Endpoint::Cancel), before);
    }
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_counted_where_there_are_no_others() {
    let scene = scene(0).await;
    let program = scene.program.without("source.table").without("source.open_statuses").without("source.max_age");
    let query = "SELECT 'none' AS session_id, NULL AS reference_id, '' AS reason";
    let swept = program.with("source.query", query).run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!((&swept.json()["skipped"], &swept.json()["discovered"]), (&1.into(), &0.into()));
}
