//! What comes late or for the second time: it is recognised, and never touches what somebody else holds by now.

use std::collections::HashSet;
use std::time::Duration;

use geft_sweeper::ledger::{Ended, Ledger, Settled};
use geft_sweeper::outcome::Said;
use geft_sweeper::session::State;
use sqlx::PgPool;
use uuid::Uuid;

use super::{LEASE, attempts, canceled, end_leases, ledger, state, take_on};
use crate::support::TestDatabase;

#[tokio::test]
async fn a_late_process_changes_nothing_while_another_one_holds_the_session() {
    let database = TestDatabase::new().await;
    let (slow, other) = (ledger(database.url()), ledger(database.url()));
    let (sweep, ids) = take_on(&slow, 1).await;
    let late = slow.claim(1, LEASE).await.unwrap().remove(0);
    end_leases(database.pool()).await;
    other.take_over(None, 10, 0, |_| Some(Duration::ZERO)).await.unwrap();
    let held = other.claim(1, LEASE).await.unwrap().remove(0);

    assert_eq!(slow.record(Some(sweep), &[canceled(&late)]).await.unwrap().late, HashSet::from([ids[0]]));
    assert_eq!(slow.release(std::slice::from_ref(&late), None).await.unwrap(), 0);
    let settled = Settled { claim: late, state: State::Withdrawn, said: Said::default() };
    assert!(slow.settle(Some(sweep), &[settled]).await.unwrap().is_empty());
    assert_eq!(state(database.pool(), ids[0]).await, ("in_flight".to_owned(), 2));
    assert_eq!(other.record(Some(sweep), &[canceled(&held)]).await.unwrap().written, HashSet::from([ids[0]]));
    let rows = [(1, "interrupted".to_owned()), (2, "canceled".to_owned())];
    assert_eq!(attempts(database.pool(), ids[0]).await, rows);
    database.close().await;
}

#[tokio::test]
async fn an_end_whose_answer_was_lost_is_recognised_and_counted_once() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, ids) = take_on(&ledger, 2).await;
    let claims = ledger.claim(2, LEASE).await.unwrap();
    let ends = claims.into_iter().map(|claim| Settled { claim, state: State::Withdrawn, said: Said::default() });
    let ends: Vec<_> = ends.collect();
    ledger.settle(Some(sweep), &ends[..1]).await.unwrap();
    assert_eq!(ledger.settle(Some(sweep), &ends).await.unwrap(), ids.iter().copied().collect());
    assert_eq!(ledger.sweep(sweep).await.unwrap().withdrawn, 2);
    assert_eq!(state(database.pool(), ids[0]).await, ("withdrawn".to_owned(), 0));
    database.close().await;
}

#[tokio::test]
async fn an_end_that_another_process_wrote_is_not_taken_for_ones_own() {
    let database = TestDatabase::new().await;
    let (slow, other) = (ledger(database.url()), ledger(database.url()));
    let (sweep, ids) = take_on(&slow, 1).await;
    let end = |claim| [Settled { claim, state: State::Withdrawn, said: Said::default() }];
    let late = end(slow.claim(1, LEASE).await.unwrap().remove(0));
    end_leases(database.pool()).await;
    other.take_over(None, 10, 0, |_| Some(Duration::ZERO)).await.unwrap();
    let own = end(other.claim(1, LEASE).await.unwrap().remove(0));
    assert_eq!(other.settle(Some(sweep), &own).await.unwrap(), HashSet::from([ids[0]]));
    assert!(slow.settle(Some(sweep), &late).await.unwrap().is_empty());
    database.close().await;
}

/// Asks for all of these, which are to be canceled for their age, and finds each paid.
async fn asked_and_paid(ledger: &Ledger, ids: &[Uuid]) -> Vec<Ended> {
    let questions = ledger.reserve_questions(10, None, LEASE, LEASE).await.unwrap();
    assert_eq!(questions.len(), ids.len());
    let said = Said { session_status: Some("Completed".to_owned()), ..Said::default() };
    questions.into_iter().map(|question| Ended { question, said: said.clone() }).collect()
}

async fn become_aged(pool: &PgPool) {
    sqlx::query("UPDATE geft_sweeper.cancellations SET reason = 'aged'").execute(pool).await.unwrap();
}

#[tokio::test]
async fn an_end_found_by_asking_whose_answer_was_lost_is_recognised_and_counted_once() {
    let database = TestDatabase::new().await;
    let ledger = ledger(database.url());
    let (sweep, ids) = take_on(&ledger, 2).await;
    become_aged(database.pool()).await;
    let ended = asked_and_paid(&ledger, &ids).await;
    ledger.end_asked(Some(sweep), &ended[..1]).await.unwrap();
    assert_eq!(ledger.end_asked(Some(sweep), &ended).await.unwrap(), ids.iter().copied().collect());
    let sweep = ledger.sweep(sweep).await.unwrap();
    assert_eq!((sweep.already_terminal, sweep.paid_after_abandonment), (2, 2));
    database.close().await;
}

#[tokio::test]
async fn an_end_found_by_asking_that_comes_too_late_is_left_to_who_asks_next() {
    let database = TestDatabase::new().await;
    let (slow, other) = (ledger(database.url()), ledger(database.url()));
    let (sweep, ids) = take_on(&slow, 1).await;
    become_aged(database.pool()).await;
    let questions = slow.reserve_questions(10, None, LEASE, Duration::ZERO).await.unwrap();
    let late: Vec<_> = questions.into_iter().map(|question| Ended { question, said: Said::default() }).collect();
    assert!(slow.end_asked(Some(sweep), &late).await.unwrap().is_empty());
    let own = asked_and_paid(&other, &ids).await;
    assert_eq!(other.end_asked(Some(sweep), &own).await.unwrap(), HashSet::from([ids[0]]));
    assert!(slow.end_asked(Some(sweep), &late).await.unwrap().is_empty());
    database.close().await;
}
