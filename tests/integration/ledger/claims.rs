//! Claims as rows of their own: what is held is found again by the sessions' own rows, whoever claimed it and whatever is
//! counted.

use std::time::Duration;

use geft_sweeper::ledger::Aged;
use sqlx::PgPool;

use super::{LEASE, attempts, canceled, end_leases, ledger, state, take_on};
use crate::support::TestDatabase;

async fn claims(pool: &PgPool) -> Vec<i32> {
    sqlx::query_scalar("SELECT open FROM geft_sweeper.claims ORDER BY lease_until").fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn what_an_older_program_holds_is_taken_over_when_its_lease_ends() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, ids) = take_on(&ledger, 3).await;
    // As a program of schema version 2 claims: the lease is in the session's row.
    let claim = "UPDATE geft_sweeper.cancellations
        SET state = 'in_flight', attempts = attempts + 1, claim = '00000000-0000-4000-8000-000000000001',
            claimed_by = 'older', claimed_at = now(), lease_until = now() + interval '1 minute'";
    sqlx::query(claim).execute(database.pool()).await.unwrap();
    assert!(ledger.next_due(Aged::All).await.unwrap().unwrap() > Duration::from_secs(30));
    end_leases(database.pool()).await;
    assert_eq!(ledger.take_over(Some(sweep), 10, 0, |_| Some(Duration::ZERO)).await.unwrap(), 3);
    let by = "SELECT DISTINCT instance FROM geft_sweeper.cancel_attempts";
    let by: Vec<String> = sqlx::query_scalar(by).fetch_all(database.pool()).await.unwrap();
    assert_eq!(by, ["older"]);
    // From then on it is held as any other.
    let again = ledger.claim(3, LEASE).await.unwrap();
    ledger.record(Some(sweep), &again.iter().map(canceled).collect::<Vec<_>>()).await.unwrap();
    for id in ids {
        let rows = [(1, "interrupted".to_owned()), (2, "canceled".to_owned())];
        assert_eq!(attempts(database.pool(), id).await, rows);
    }
    database.close().await;
}

#[tokio::test]
async fn what_is_held_is_found_by_the_sessions_own_rows_whatever_the_claim_counts() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, ids) = take_on(&ledger, 2).await;
    let held = ledger.claim(2, LEASE).await.unwrap();
    ledger.record(Some(sweep), &[canceled(&held[0])]).await.unwrap();
    assert_eq!(claims(database.pool()).await, [1]);
    let miscounted = "UPDATE geft_sweeper.claims SET open = 0, lease_until = now() - interval '2 minutes'";
    sqlx::query(miscounted).execute(database.pool()).await.unwrap();
    assert_eq!(ledger.take_over(Some(sweep), 10, 0, |_| Some(Duration::ZERO)).await.unwrap(), 1);
    assert_eq!(state(database.pool(), ids[1]).await, ("pending".to_owned(), 1));
    database.close().await;
}

#[tokio::test]
async fn a_claim_is_forgotten_only_when_its_lease_is_over_and_nothing_is_held_under_it() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, _) = take_on(&ledger, 3).await;
    let over = async || ledger.take_over(Some(sweep), 1, 0, |_| Some(LEASE)).await.unwrap();
    let held = ledger.claim(3, LEASE).await.unwrap();
    ledger.record(Some(sweep), &[canceled(&held[0])]).await.unwrap();
    ledger.release(&held[1..2], Some(LEASE)).await.unwrap();
    assert_eq!((over().await, claims(database.pool()).await), (0, vec![1]), "its lease runs");
    end_leases(database.pool()).await;
    assert_eq!((over().await, claims(database.pool()).await), (1, vec![0]), "a session was held");
    assert_eq!((over().await, claims(database.pool()).await), (0, vec![]), "and is not any more");
    database.close().await;
}

#[tokio::test]
async fn nothing_is_waited_for_where_all_that_was_claimed_has_ended() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, _) = take_on(&ledger, 2).await;
    let held = ledger.claim(2, LEASE).await.unwrap();
    assert!(ledger.next_due(Aged::All).await.unwrap().is_some());
    ledger.record(Some(sweep), &held.iter().map(canceled).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(ledger.next_due(Aged::All).await.unwrap(), None);
    database.close().await;
}

#[tokio::test]
async fn after_a_rollback_an_older_program_finds_what_a_later_one_held() {
    let runbook = include_str!("../../../deploy/RUNBOOK.md");
    let statement = runbook.split("```").find(|block| block.contains("claimed_by = k.instance")).unwrap();
    let statement = statement.strip_prefix("sql\n").unwrap();
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, _) = take_on(&ledger, 3).await;
    let held = ledger.claim(3, LEASE).await.unwrap();
    ledger.record(Some(sweep), &[canceled(&held[0])]).await.unwrap();
    end_leases(database.pool()).await;
    sqlx::query(statement).execute(database.pool()).await.unwrap();
    // As a program of schema version 2 looks for them.
    let expired = "SELECT count(*) FROM geft_sweeper.cancellations
        WHERE state = 'in_flight' AND lease_until < now() AND claimed_by IS NOT NULL AND claimed_at IS NOT NULL";
    assert_eq!(sqlx::query_scalar::<_, i64>(expired).fetch_one(database.pool()).await.unwrap(), 2);
    // And a later one still does, should it come back.
    assert_eq!(ledger.take_over(Some(sweep), 10, 0, |_| Some(Duration::ZERO)).await.unwrap(), 2);
    database.close().await;
}
