//! The figures that are watched: what they count, how old the oldest is, and that what has ended costs nothing.

use std::time::Duration;

use geft_sweeper::ledger::{SweepStatus, Trigger};
use sqlx::PgPool;

use super::{LEASE, ledger};
use crate::support::{TestDatabase, eventually};

/// Sessions in this state, made by these expressions.
async fn insert(pool: &PgPool, columns: &str, values: &str, number: u32) {
    let statement = format!(
        "INSERT INTO geft_sweeper.cancellations (session_id, source_key, reason, sweep_id, {columns})
         SELECT gen_random_uuid(), '', 'abandoned', gen_random_uuid(), {values} FROM generate_series(1, {number})"
    );
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(pool).await.unwrap();
}

#[tokio::test]
async fn payable_is_what_was_taken_on_and_has_not_ended_and_is_as_old_as_its_source_says() {
    let database = TestDatabase::new().await;
    let (pool, ledger) = (database.pool(), ledger(database.url()));
    let nothing = ledger.figures().await.unwrap();
    assert_eq!((nothing.pending, nothing.in_flight, nothing.oldest_due_s, nothing.oldest_open_s), (0.0, 0.0, 0.0, 0.0));
    assert_eq!((nothing.paid_within_hour, nothing.last_sweep_s), (0.0, None));

    let open = "state, next_attempt_at, source_created_at";
    insert(pool, open, "'pending', now(), now() - interval '2 hours'", 1).await;
    assert_eq!(ledger.claim(1, LEASE).await.unwrap().len(), 1);
    insert(pool, open, "'pending', now() - interval '5 minutes', now() - interval '1 hour'", 2).await;
    insert(pool, open, "'pending', now() + interval '5 minutes', NULL", 1).await;
    let ended = "state, finished_at, source_created_at, session_status";
    insert(pool, ended, "'canceled', now(), now() - interval '1 day', 'Canceled'", 4).await;
    insert(pool, ended, "'failed', now(), now() - interval '1 day', NULL", 4).await;
    insert(pool, ended, "'already_terminal', now() - interval '50 minutes', now(), 'Completed'", 2).await;
    insert(pool, ended, "'already_terminal', now() - interval '70 minutes', now(), 'Completed'", 1).await;
    let figures = ledger.figures().await.unwrap();
    assert_eq!((figures.pending, figures.in_flight, figures.paid_within_hour), (3.0, 1.0, 2.0));
    assert!((300.0..330.0).contains(&figures.oldest_due_s), "{figures:?}");
    assert!((7200.0..7230.0).contains(&figures.oldest_open_s), "{figures:?}");
    database.close().await;
}

#[tokio::test]
async fn the_last_sweep_is_the_latest_that_ran_to_its_end() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let last_sweep = async || ledger.figures().await.unwrap().last_sweep_s.unwrap();
    let moved = async |shift: &'static str| sqlx::query(shift).execute(database.pool()).await.unwrap();
    let stopped = ledger.open_sweep(Trigger::Schedule).await.unwrap();
    ledger.close_sweep(stopped, SweepStatus::Stopped, None).await.unwrap();
    moved("UPDATE geft_sweeper.sweeps SET started_at = now() - interval '3 hours'").await;
    let never = last_sweep().await;
    assert!((10_800.0..10_830.0).contains(&never), "since the first began: {never}");

    let finished = ledger.open_sweep(Trigger::Schedule).await.unwrap();
    ledger.close_sweep(finished, SweepStatus::Finished, None).await.unwrap();
    moved("UPDATE geft_sweeper.sweeps SET finished_at = now() - interval '1 hour' WHERE status = 'finished'").await;
    let stopped = ledger.open_sweep(Trigger::Schedule).await.unwrap();
    ledger.close_sweep(stopped, SweepStatus::Stopped, None).await.unwrap();
    let once = last_sweep().await;
    assert!((3600.0..3630.0).contains(&once), "{once}");
    database.close().await;
}

#[tokio::test]
async fn sessions_that_have_ended_are_not_read() {
    let database = TestDatabase::new().await;
    insert(database.pool(), "state, finished_at", "'canceled', now()", 20_000).await;
    insert(database.pool(), "state, next_attempt_at", "'pending', now()", 20).await;
    sqlx::query("ANALYZE geft_sweeper.cancellations").execute(database.pool()).await.unwrap();
    // What a connection has counted is told when it ends at the latest.
    let counts = "SELECT seq_tup_read, idx_scan FROM pg_stat_user_tables
        WHERE schemaname = 'geft_sweeper' AND relname = 'cancellations'";
    let counts = async || sqlx::query_as::<_, (i64, i64)>(counts).fetch_one(database.pool()).await.unwrap();
    let (read_before, scans_before) = counts().await;
    let reading = ledger(database.url());
    for _ in 0..10 {
        reading.figures().await.unwrap();
    }
    drop(reading);
    eventually(Duration::from_secs(30), async || counts().await.1 >= scans_before + 20).await;
    assert_eq!(counts().await.0, read_before, "rows were read without an index");
    database.close().await;
}
