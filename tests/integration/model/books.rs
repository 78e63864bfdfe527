//! Reads what is stored, fails where an audit row has changed or a number is missing, and lets time pass.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sqlx::PgPool;
use uuid::Uuid;

use super::expected::{Row, Standing, Tables};

/// The audit rows seen so far, each in full.
#[derive(Default)]
pub(super) struct Books(BTreeMap<i64, String>);

const SESSIONS: &str = "SELECT session_id, state, attempts, counted_attempts, uncounted_running, may_have_had_effect,
    last_outcome, session_status, coalesce(next_attempt_at <= clock_timestamp(), false) AS is_due, claim,
    (SELECT instance FROM geft_sweeper.claims WHERE token = claim) AS claimed_by FROM geft_sweeper.cancellations";
const ATTEMPTS: &str =
    "SELECT session_id, attempt, outcome, instance, claim, next_attempt_at IS NOT NULL AS is_repeated,
    id, a::text AS whole FROM geft_sweeper.cancel_attempts a";
const COUNTS: &str = "SELECT sum(discovered)::int8 AS discovered, sum(canceled)::int8 AS canceled,
    sum(already_terminal)::int8 AS already_terminal, sum(retried)::int8 AS retried, sum(failed)::int8 AS failed,
    sum(withdrawn)::int8 AS withdrawn, sum(paid_after_abandonment)::int8 AS paid_after_abandonment
    FROM geft_sweeper.sweeps";

#[derive(sqlx::FromRow)]
struct Session {
    session_id: Uuid,
    #[sqlx(flatten)]
    standing: Standing,
}

#[derive(sqlx::FromRow)]
struct Attempt {
    session_id: Uuid,
    #[sqlx(rename = "attempt")]
    number: i32,
    id: i64,
    whole: String,
    #[sqlx(flatten)]
    row: Row,
}

impl Books {
    pub(super) async fn read(&mut self, pool: &PgPool) -> Result<Tables, TestCaseError> {
        let (sessions, attempts, counts): (Result<Vec<Session>, _>, Result<Vec<Attempt>, _>, _) = tokio::join!(
            sqlx::query_as(SESSIONS).fetch_all(pool),
            sqlx::query_as(ATTEMPTS).fetch_all(pool),
            sqlx::query_as(COUNTS).fetch_one(pool),
        );
        let (sessions, attempts, counts) = (sessions.unwrap(), attempts.unwrap(), counts.unwrap());
        self.expect_only_more(&attempts)?;
        expect_no_gap(&sessions, &attempts)?;
        Ok(Tables {
            sessions: sessions.into_iter().map(|one| (one.session_id, one.standing)).collect(),
            attempts: attempts.into_iter().map(|one| ((one.session_id, one.number), one.row)).collect(),
            counts,
        })
    }

    /// Rows come, with greater ids; none goes and none changes.
    fn expect_only_more(&mut self, attempts: &[Attempt]) -> Result<(), TestCaseError> {
        let last = self.0.keys().next_back().copied();
        let now: BTreeMap<i64, String> = attempts.iter().map(|one| (one.id, one.whole.clone())).collect();
        let before: BTreeMap<_, _> =
            now.range(..=last.unwrap_or(i64::MIN)).map(|(id, row)| (*id, row.clone())).collect();
        prop_assert_eq!(&before, &self.0, "audit rows have changed");
        self.0 = now;
        Ok(())
    }
}

/// Each session's attempts are 1, 2, 3 …, up to the one under way.
fn expect_no_gap(sessions: &[Session], attempts: &[Attempt]) -> Result<(), TestCaseError> {
    for Session { session_id, standing } in sessions {
        let mut found: Vec<i32> =
            attempts.iter().filter(|one| one.session_id == *session_id).map(|one| one.number).collect();
        found.sort_unstable();
        let over = standing.attempts - i32::from(standing.claim.is_some());
        prop_assert_eq!(found, (1..=over).collect::<Vec<_>>(), "attempts of {}, {:?}", session_id, standing);
    }
    Ok(())
}

/// Session and token of everything that this process holds.
pub(super) async fn held_by(pool: &PgPool, instance: &str) -> Vec<(Uuid, Uuid)> {
    let held = "SELECT session_id, claim FROM geft_sweeper.cancellations JOIN geft_sweeper.claims ON token = claim
        WHERE instance = $1";
    sqlx::query_as(held).bind(instance).fetch_all(pool).await.unwrap()
}

pub(super) async fn end_leases(pool: &PgPool, instance: &str) {
    let end = "UPDATE geft_sweeper.claims SET lease_until = now() - interval '1 second' WHERE instance = $1";
    sqlx::query(end).bind(instance).execute(pool).await.unwrap();
}

pub(super) async fn become_due(pool: &PgPool) {
    let due = "UPDATE geft_sweeper.cancellations SET next_attempt_at = now() WHERE state = 'pending'";
    sqlx::query(due).execute(pool).await.unwrap();
}
