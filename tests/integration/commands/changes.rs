//! Sweeps that read only what changed: whatever was committed late is found, by the next sweep or by the next full pass.

use std::time::Duration;

use sqlx::Connection as _;
use uuid::Uuid;

use super::{MINUTE, Shop};
use crate::support::Program;

/// A shop whose table says when a row was changed, after a first full pass; with one row changed long ago.
async fn shop() -> (Shop, Program) {
    let shop = Shop::new().await;
    shop.execute(
        "ALTER TABLE payment_sessions ADD updated_at timestamptz DEFAULT clock_timestamp();
         CREATE INDEX ON payment_sessions (status, updated_at)",
    )
    .await;
    let columns: toml::Table = [("updated_at".to_owned(), "updated_at".into())].into_iter().collect();
    let program = shop.program().with("source.columns", columns);
    shop.add("settled", MINUTE).await;
    let first = program.run(["sweep", "--json"]).await.expect_code(0).json();
    assert_eq!(first["left_alone"], 1, "a full pass counts the statuses");
    (shop, program)
}

/// How many sessions a sweep takes on that reads only what changed.
async fn found(program: &Program) -> i64 {
    let report = program.run(["sweep", "--json"]).await.expect_code(0).json();
    assert!(report["left_alone"].is_null(), "it was a full pass: {report}");
    report["discovered"].as_i64().unwrap()
}

/// An open session that is marked abandoned; the change is dated this long ago, as when its transaction took so long.
async fn abandoned_late(shop: &Shop, late: Duration) -> Uuid {
    let id = shop.add("abandoned", 3 * 60 * MINUTE).await;
    let mark = "UPDATE payment_sessions SET updated_at = now() - make_interval(secs => $2) WHERE session_id = $1";
    sqlx::query(mark).bind(id).bind(late.as_secs_f64()).execute(shop.database.pool()).await.unwrap();
    id
}

#[tokio::test]
async fn commits_in_another_order_than_their_changes_are_all_found() {
    let (shop, program) = shop().await;
    let (slow, quick) = (shop.add("created", MINUTE).await, shop.add("created", MINUTE).await);
    let mark = "UPDATE payment_sessions SET status = 'abandoned', updated_at = clock_timestamp() WHERE session_id = $1";
    let mut connection = sqlx::PgConnection::connect(shop.database.url()).await.unwrap();
    let mut open = connection.begin().await.unwrap();
    sqlx::query(mark).bind(slow).execute(&mut *open).await.unwrap();
    sqlx::query(mark).bind(quick).execute(shop.database.pool()).await.unwrap();
    assert_eq!(found(&program).await, 1);
    assert_eq!((shop.sandbox.cancels(slow), shop.sandbox.cancels(quick)), (0, 1));
    open.commit().await.unwrap();
    assert_eq!(found(&program).await, 1);
    assert_eq!(shop.sandbox.cancels(slow), 1);
    assert_eq!(found(&program).await, 0);
    shop.database.close().await;
}

#[tokio::test]
async fn a_change_that_was_committed_ten_minutes_late_is_found_by_the_next_sweep() {
    let (shop, program) = shop().await;
    let late = abandoned_late(&shop, 10 * MINUTE).await;
    assert_eq!(found(&program).await, 1);
    assert_eq!(shop.sandbox.cancels(late), 1);
    shop.database.close().await;
}

#[tokio::test]
async fn a_change_that_was_committed_two_hours_late_is_found_by_the_next_full_pass() {
    let (shop, program) = shop().await;
    let late = abandoned_late(&shop, 120 * MINUTE).await;
    assert_eq!(found(&program).await, 0);
    // An hour goes by.
    shop.execute("UPDATE geft_sweeper.discovery SET full_pass_at = full_pass_at - interval '1 hour'").await;
    let report = program.run(["sweep", "--json"]).await.expect_code(0).json();
    assert_eq!((&report["discovered"], &report["left_alone"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(shop.sandbox.cancels(late), 1);
    shop.database.close().await;
}

#[tokio::test]
async fn a_session_that_becomes_old_without_being_changed_is_found_by_the_next_sweep() {
    let (shop, program) = shop().await;
    let open = shop.add("created", 29 * MINUTE).await;
    shop.execute("UPDATE payment_sessions SET updated_at = created_at - interval '2 hours'").await;
    assert_eq!(found(&program).await, 0);
    // Two minutes go by.
    shop.execute("UPDATE payment_sessions SET created_at = created_at - interval '2 minutes'").await;
    assert_eq!(found(&program).await, 1);
    assert_eq!(shop.sandbox.cancels(open), 1);
    shop.database.close().await;
}

#[tokio::test]
async fn an_old_session_that_is_open_again_is_found_by_its_change() {
    let (shop, program) = shop().await;
    let back = shop.add("settled", 180 * MINUTE).await;
    assert_eq!(found(&program).await, 0);
    shop.execute(&format!(
        "UPDATE payment_sessions SET status = 'created', updated_at = clock_timestamp() WHERE session_id = '{back}'"
    ))
    .await;
    assert_eq!(found(&program).await, 1);
    assert_eq!(shop.sandbox.cancels(back), 1);
    shop.database.close().await;
}
