//! Which rows of `holds` are believed.

use super::*;

async fn note(pool: &PgPool, until: &str, noted: &str) {
    let note = "INSERT INTO geft_sweeper.holds (why, until, times_found, instance, noted_at)
        VALUES ('api_down', now() + $1::text::interval, 1, 'gone/1', now() + $2::text::interval)
        ON CONFLICT (why) DO UPDATE SET until = excluded.until, noted_at = excluded.noted_at, instance = excluded.instance";
    sqlx::query(note).bind(until).bind(noted).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_hold_long_over_or_noted_in_the_future_is_not_believed() {
    let database = TestDatabase::new().await;
    let (ledger, pool) = (ledger(database.url()), database.pool());
    note(pool, "-4 minutes", "-5 minutes").await;
    assert_eq!(ledger.holds().await.unwrap().len(), 1, "whoever comes finds out");
    note(pool, "-6 minutes", "-7 minutes").await;
    assert_eq!(ledger.holds().await.unwrap(), []);
    note(pool, "2 hours", "1 hour").await;
    assert_eq!(ledger.holds().await.unwrap(), []);
    assert!(ledger.win_hold("api_down", LEASE).await.unwrap());
    assert_eq!(ledger.holds().await.unwrap().len(), 1, "noted anew");
    note(pool, "2 hours", "1 hour").await;
    ledger.note_hold("api_down", LEASE, 1).await.unwrap();
    assert!(ledger.holds().await.unwrap().iter().all(|hold| hold.ours && hold.left <= LEASE));
    note(pool, "2 hours", "0 seconds").await;
    assert!(!ledger.win_hold("api_down", LEASE).await.unwrap(), "another is at it");
}
