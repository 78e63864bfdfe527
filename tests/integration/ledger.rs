//! The promises of the ledger, each against a real PostgreSQL: who holds a session, what a result changes, and that the
//! audit trail only grows.

mod backlog;
mod claims;
mod figures;
mod holds;
mod late;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use geft_sweeper::config;
use geft_sweeper::database::Database;
use geft_sweeper::ledger::{AttemptResult, Instance, Intake, Ledger, RequeueSelection, Schema, Settled, Trigger};
use geft_sweeper::outcome::{Attempt, Disposition, Outcome, Said};
use geft_sweeper::session::{Candidate, Claim, Reason, State};
use sqlx::PgPool;
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::support::TestDatabase;

const LEASE: Duration = Duration::from_mins(1);
/// Nothing here comes near the limit.
const MOST: u64 = 10_000;

fn settings(url: &str) -> config::Database {
    config::Database {
        url: url.into(),
        max_connections: 4,
        auto_migrate: true,
        statement_timeout: Duration::from_secs(30),
    }
}

/// A process's connections, not yet made.
pub(crate) fn database(url: &str, name: &str) -> Database {
    Database::new(&settings(url), name).unwrap()
}

/// The ledger as another process would see it.
pub(crate) fn ledger(url: &str) -> Ledger {
    let instance = Instance::new("test");
    let database = database(url, &instance.application_name());
    Ledger::new(database, instance)
}

pub(crate) fn candidate(id: Uuid) -> Candidate {
    Candidate {
        session_id: id.into(),
        source_key: id.to_string(),
        reference_id: Some(format!("order-{id}")),
        reason: Reason::new(Reason::ABANDONED),
        source_status: Some("abandoned".to_owned()),
        source_created_at: None,
    }
}

/// Takes this many sessions on, ordered by id.
async fn take_on(ledger: &Ledger, number: usize) -> (Uuid, Vec<Uuid>) {
    let sweep = ledger.open_sweep(Trigger::Command).await.unwrap();
    let mut ids: Vec<Uuid> = (0..number).map(|_| Uuid::new_v4()).collect();
    ids.sort_unstable();
    let candidates: Vec<Candidate> = ids.iter().copied().map(candidate).collect();
    let intake = Intake::Taken { sessions: u64::try_from(number).unwrap(), released: 0 };
    assert_eq!(ledger.take_on(sweep, &candidates, MOST).await.unwrap(), intake);
    (sweep, ids)
}

fn result(claim: &Claim, outcome: Outcome, disposition: Disposition) -> AttemptResult {
    let now = Instant::now();
    let attempt = Attempt {
        outcome,
        http_status: Some(200),
        said: Said {
            session_status: Some("Canceled".to_owned()),
            status_details: Some("EFT0501".to_owned()),
            amount: None,
        },
        error: None,
        retry_after: None,
        status_unanswered: false,
        fresh_token: false,
        request_id: Uuid::new_v4(),
        started: now,
        finished: now,
    };
    AttemptResult { claim: claim.clone(), attempt, disposition }
}

fn canceled(claim: &Claim) -> AttemptResult {
    result(claim, Outcome::Canceled, Disposition::Done(State::Canceled))
}

/// Lets the leases of all sessions run out.
async fn end_leases(pool: &PgPool) {
    let statement = "UPDATE geft_sweeper.claims SET lease_until = now() - interval '1 second'";
    sqlx::query(statement).execute(pool).await.unwrap();
}

async fn state(pool: &PgPool, id: Uuid) -> (String, i32) {
    let statement = "SELECT state, attempts FROM geft_sweeper.cancellations WHERE session_id = $1";
    sqlx::query_as(statement).bind(id).fetch_one(pool).await.unwrap()
}

/// Attempt and outcome of each row of a session, in order.
async fn attempts(pool: &PgPool, id: Uuid) -> Vec<(i32, String)> {
    let statement = "SELECT attempt, outcome FROM geft_sweeper.cancel_attempts WHERE session_id = $1 ORDER BY attempt";
    sqlx::query_as(statement).bind(id).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn processes_that_claim_together_share_the_backlog_without_a_double() {
    let database = TestDatabase::new().await;
    let (_, ids) = take_on(&ledger(database.url()), 400).await;
    let together = std::sync::Arc::new(Barrier::new(4));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (ledger, together) = (ledger(database.url()), together.clone());
            tokio::spawn(async move {
                together.wait().await;
                let mut mine = Vec::new();
                loop {
                    let claims = ledger.claim(30, LEASE).await.unwrap();
                    if claims.is_empty() {
                        return mine;
                    }
                    mine.extend(claims.iter().map(|claim| claim.session_id.uuid()));
                }
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        claimed.extend(task.await.unwrap());
    }
    assert_eq!(claimed.len(), 400, "none twice");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), ids.into_iter().collect(), "and each once");
    database.close().await;
}

#[tokio::test]
async fn a_late_result_changes_nothing_and_adds_no_row() {
    let database = TestDatabase::new().await;
    let (slow, other) = (ledger(database.url()), ledger(database.url()));
    let (sweep, ids) = take_on(&slow, 1).await;
    let late = slow.claim(1, LEASE).await.unwrap().remove(0);
    end_leases(database.pool()).await;
    assert_eq!(other.take_over(None, 10, 0, |_| Some(Duration::from_secs(1))).await.unwrap(), 1);
    let before = (state(database.pool(), ids[0]).await, attempts(database.pool(), ids[0]).await);
    assert_eq!(before, (("pending".to_owned(), 1), vec![(1, "interrupted".to_owned())]));

    let recorded = slow.record(Some(sweep), &[canceled(&late)]).await.unwrap();
    assert!(recorded.written.is_empty());
    assert_eq!(recorded.late, HashSet::from([ids[0]]));
    let after = (state(database.pool(), ids[0]).await, attempts(database.pool(), ids[0]).await);
    assert_eq!(after, before);
    assert_eq!(slow.sweep(sweep).await.unwrap().canceled, 0);
    assert_eq!(
        slow.release(std::slice::from_ref(&late), None).await.unwrap(),
        0,
        "nor can it give back what is not its own"
    );
    let settled = Settled { claim: late, state: State::Withdrawn, said: Said::default() };
    assert!(slow.settle(Some(sweep), &[settled]).await.unwrap().is_empty(), "nor end it");
    assert_eq!(state(database.pool(), ids[0]).await, before.0);
    database.close().await;
}

#[tokio::test]
async fn a_takeover_names_the_process_and_the_start_of_the_one_that_is_gone() {
    let database = TestDatabase::new().await;
    let (gone, other) = (ledger(database.url()), ledger(database.url()));
    let (_, ids) = take_on(&gone, 1).await;
    let claim = gone.claim(1, LEASE).await.unwrap().remove(0);
    end_leases(database.pool()).await;
    other.take_over(None, 10, 0, |_| Some(Duration::from_secs(1))).await.unwrap();
    let statement = "SELECT instance, started_at = $2, next_attempt_at > finished_at FROM geft_sweeper.cancel_attempts WHERE session_id = $1";
    let row: (String, bool, bool) =
        sqlx::query_as(statement).bind(ids[0]).bind(claim.claimed_at).fetch_one(database.pool()).await.unwrap();
    assert_eq!(row, (gone.instance().name().to_owned(), true, true));
    database.close().await;
}

#[tokio::test]
async fn a_takeover_that_spends_the_budget_makes_the_session_due_at_once_for_its_last_question() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (_, ids) = take_on(&ledger, 1).await;
    ledger.claim(1, LEASE).await.unwrap();
    end_leases(database.pool()).await;
    ledger.take_over(None, 10, 0, |_| None).await.unwrap();
    let again = ledger.claim(1, LEASE).await.unwrap().remove(0);
    assert_eq!((again.session_id.uuid(), again.counted, again.may_have_had_effect), (ids[0], 1, true));
    let next: Option<chrono::DateTime<chrono::Utc>> =
        sqlx::query_scalar("SELECT next_attempt_at FROM geft_sweeper.cancel_attempts")
            .fetch_one(database.pool())
            .await
            .unwrap();
    assert_eq!(next, None, "the audit row promises no further attempt");
    database.close().await;
}

#[tokio::test]
async fn a_released_claim_leaves_no_gap_and_keeps_its_due_time() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, ids) = take_on(&ledger, 1).await;
    let due = "SELECT next_attempt_at FROM geft_sweeper.cancellations";
    let before: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(due).fetch_one(database.pool()).await.unwrap();
    for _ in 0..3 {
        let claims = ledger.claim(1, LEASE).await.unwrap();
        assert_eq!(claims[0].attempt, 1);
        assert_eq!(ledger.release(&claims, None).await.unwrap(), 1);
    }
    let after: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(due).fetch_one(database.pool()).await.unwrap();
    assert_eq!(before, after);
    let claims = ledger.claim(1, LEASE).await.unwrap();
    ledger.record(Some(sweep), &[canceled(&claims[0])]).await.unwrap();
    assert_eq!(attempts(database.pool(), ids[0]).await, [(1, "canceled".to_owned())]);
    database.close().await;
}

#[tokio::test]
async fn a_record_whose_answer_was_lost_is_recognised_by_its_own_row() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, ids) = take_on(&ledger, 2).await;
    let claims = ledger.claim(2, LEASE).await.unwrap();
    let results: Vec<_> = claims.iter().map(canceled).collect();
    ledger.record(Some(sweep), &results[..1]).await.unwrap();
    let again = ledger.record(Some(sweep), &results).await.unwrap();
    assert_eq!(again.written, ids.into_iter().collect());
    assert!(again.late.is_empty());
    assert_eq!(ledger.sweep(sweep).await.unwrap().canceled, 2, "and is counted once");
    database.close().await;
}

#[tokio::test]
async fn attempts_are_numbered_without_a_gap_over_retries_and_requeues() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, ids) = take_on(&ledger, 1).await;
    let retry = Disposition::Retry { after: Duration::ZERO, counted: true };
    for disposition in [retry, retry, Disposition::Failed] {
        let claim = ledger.claim(1, LEASE).await.unwrap().remove(0);
        ledger.record(Some(sweep), &[result(&claim, Outcome::ServerError, disposition)]).await.unwrap();
    }
    assert_eq!(state(database.pool(), ids[0]).await, ("failed".to_owned(), 3));
    let everything = RequeueSelection::Sessions(ids.clone());
    assert_eq!(ledger.requeue(&everything, true).await.unwrap().len(), 1);
    assert_eq!(state(database.pool(), ids[0]).await.0, "failed", "a dry run changes nothing");
    ledger.requeue(&everything, false).await.unwrap();
    assert!(ledger.requeue(&everything, false).await.unwrap().is_empty(), "only failed sessions are requeued");
    let claim = ledger.claim(1, LEASE).await.unwrap().remove(0);
    assert_eq!((claim.attempt, claim.counted), (4, 0), "numbers go on, the budget is fresh");
    ledger.record(Some(sweep), &[canceled(&claim)]).await.unwrap();
    let numbers: Vec<i32> = attempts(database.pool(), ids[0]).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    database.close().await;
}

#[tokio::test]
async fn a_withdrawn_session_that_is_named_again_is_taken_on_again_and_a_known_one_is_not() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, ids) = take_on(&ledger, 2).await;
    let claims = ledger.claim(2, LEASE).await.unwrap();
    let withdrawn = claims.iter().find(|claim| claim.session_id.uuid() == ids[0]).unwrap().clone();
    ledger
        .settle(Some(sweep), &[Settled { claim: withdrawn, state: State::Withdrawn, said: Said::default() }])
        .await
        .unwrap();
    assert_eq!(state(database.pool(), ids[0]).await, ("withdrawn".to_owned(), 0), "no attempt was made");
    let candidates: Vec<Candidate> = ids.iter().copied().map(candidate).collect();
    let intake = Intake::Taken { sessions: 1, released: 0 };
    assert_eq!(ledger.take_on(sweep, &candidates, MOST).await.unwrap(), intake);
    assert_eq!(state(database.pool(), ids[0]).await.0, "pending");
    assert_eq!(state(database.pool(), ids[1]).await.0, "in_flight", "what another process holds is left alone");
    database.close().await;
}

#[tokio::test]
async fn no_role_can_change_the_audit_trail() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, _) = take_on(&ledger, 1).await;
    let claims = ledger.claim(1, LEASE).await.unwrap();
    ledger.record(Some(sweep), &[canceled(&claims[0])]).await.unwrap();
    let mut connection = database.pool().acquire().await.unwrap();
    for role in ["origin", "replica"] {
        sqlx::query("SELECT set_config('session_replication_role', $1, false)")
            .bind(role)
            .execute(&mut *connection)
            .await
            .unwrap();
        for statement in [
            "UPDATE geft_sweeper.cancel_attempts SET outcome = 'canceled'",
            "DELETE FROM geft_sweeper.cancel_attempts",
            "DELETE FROM geft_sweeper.cancel_attempts WHERE false",
            "TRUNCATE geft_sweeper.cancel_attempts",
        ] {
            let error = sqlx::query(statement).execute(&mut *connection).await.unwrap_err().to_string();
            assert!(error.contains("append-only"), "{role}: {statement}: {error}");
        }
    }
    drop(connection);
    database.close().await;
}

#[tokio::test]
async fn five_processes_migrate_at_once_and_one_does_the_work() {
    let database = TestDatabase::without_schema().await;
    let together = std::sync::Arc::new(Barrier::new(5));
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let (ledger, together) = (ledger(database.url()), together.clone());
            tokio::spawn(async move {
                together.wait().await;
                ledger.migrate().await.unwrap()
            })
        })
        .collect();
    let mut created = 0;
    for task in tasks {
        let migrated = task.await.unwrap();
        assert_eq!(migrated.to, Schema::needed());
        created += usize::from(migrated.from.is_none());
    }
    assert_eq!(created, 1);
    database.close().await;
}

#[tokio::test]
async fn a_newer_schema_is_accepted_where_it_says_so_and_refused_where_it_does_not() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    assert_eq!(ledger.schema().await.unwrap(), Schema::Current);
    let newer = "INSERT INTO geft_sweeper._sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'of the future', true, '', 0)";
    sqlx::query(newer).execute(database.pool()).await.unwrap();
    assert_eq!(ledger.schema().await.unwrap(), Schema::NewerCompatible { applied: 9999 });
    let raise = "UPDATE geft_sweeper.schema_compatibility SET oldest_program_schema = 9000";
    sqlx::query(raise).execute(database.pool()).await.unwrap();
    assert_eq!(ledger.schema().await.unwrap(), Schema::TooNew { applied: 9999, oldest: 9000 });
    database.close().await;
}

#[tokio::test]
async fn commits_are_durable_whatever_the_roles_default_is() {
    let database = TestDatabase::new().await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(database.pool()).await.unwrap();
    let off = sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} SET synchronous_commit = off"));
    sqlx::query(off).execute(database.pool()).await.unwrap();
    let connections = Database::new(&settings(database.url()), "test").unwrap();
    let shown: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(connections.pool()).await.unwrap();
    assert_eq!(shown, "on");
    let mut beside = connections.connect().await.unwrap();
    let shown: String = sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&mut beside).await.unwrap();
    assert_eq!(shown, "on");
    connections.pool().close().await;
    drop(beside);
    database.close().await;
}
