//! Claims from a large backlog: the due ones, the preferred before the others, and at a cost that does not grow with it.

use std::collections::HashSet;
use std::time::Duration;

use geft_sweeper::ledger::Aged;
use uuid::Uuid;

use super::{LEASE, ledger, take_on};
use crate::support::{TestDatabase, eventually};

/// Rows of the table that statements have read without an index, and rows that were updated.
const READ_AND_UPDATED: &str = "SELECT seq_tup_read, n_tup_upd FROM pg_stat_user_tables
    WHERE schemaname = 'geft_sweeper' AND relname = 'cancellations'";

#[tokio::test]
async fn a_claim_reads_no_more_of_a_large_backlog_than_it_takes() {
    let database = TestDatabase::new().await;
    let pending = "INSERT INTO geft_sweeper.cancellations (session_id, source_key, reason, sweep_id, next_attempt_at)
        SELECT gen_random_uuid(), '', 'abandoned', gen_random_uuid(), now() FROM generate_series(1, 20000)";
    sqlx::query(pending).execute(database.pool()).await.unwrap();
    sqlx::query("ANALYZE geft_sweeper.cancellations").execute(database.pool()).await.unwrap();
    let preferred: Uuid = sqlx::query_scalar("SELECT session_id FROM geft_sweeper.cancellations LIMIT 1")
        .fetch_one(database.pool())
        .await
        .unwrap();
    // What a connection has counted is told when it ends at the latest.
    let counts = async || sqlx::query_as::<_, (i64, i64)>(READ_AND_UPDATED).fetch_one(database.pool()).await.unwrap();
    let claiming = ledger(database.url());
    // The planner takes its final choice after some runs of a statement.
    let mut claimed = claiming.claim_preferring(&[preferred.into()], 8, LEASE, Aged::All).await.unwrap().len();
    for _ in 0..9 {
        claimed += claiming.claim(8, LEASE).await.unwrap().len();
    }
    assert_eq!(claimed, 80);
    drop(claiming);
    eventually(Duration::from_secs(30), async || counts().await.1 == 80).await;
    let (read, _) = counts().await;
    assert!(read < 20_000, "{read} rows were read without an index");
    database.close().await;
}

#[tokio::test]
async fn preferred_sessions_are_claimed_first_and_never_more_than_asked_for() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (_, ids) = take_on(&ledger, 10).await;
    // The last two, which would not be among the first three by themselves; and one that there is not.
    let preferred = [ids[8].into(), ids[9].into(), Uuid::new_v4().into()];
    let claims = ledger.claim_preferring(&preferred, 3, LEASE, Aged::All).await.unwrap();
    let claimed: HashSet<Uuid> = claims.iter().map(|claim| claim.session_id.uuid()).collect();
    assert_eq!(claimed, HashSet::from([ids[0], ids[8], ids[9]]));
    let one = ledger.claim_preferring(&[ids[6].into(), ids[7].into()], 1, LEASE, Aged::All).await.unwrap();
    assert_eq!(one.iter().map(|claim| claim.session_id.uuid()).collect::<Vec<_>>(), [ids[6]]);
    database.close().await;
}
