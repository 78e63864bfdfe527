//! What an attempt looks like once its answers are in, and what is not begun for want of time.

use super::super::promises::{api, clocks};
use super::*;

fn client() -> Client {
    Client::new(&api(), Pace::unlimited(), clocks(), CancellationToken::new()).unwrap()
}

fn names() -> Names {
    Names {
        session_id: "0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a01".parse().unwrap(),
        sweep_id: Uuid::nil(),
        attempt: Some(1),
        claim: Some(Uuid::nil()),
        trace: None,
    }
}

fn said(status: &str) -> Said {
    Said { session_status: Some(status.into()), ..Said::default() }
}

fn reading(outcome: Outcome, words: &str) -> Reading {
    Reading {
        outcome,
        ask: true,
        unknown: false,
        code: Some(400),
        said: said("InProgress"),
        words: words.into(),
        retry_after: Some(Duration::from_secs(3)),
    }
}

fn attempt(reading: Reading, status: Option<StatusAnswer>) -> Attempt {
    client().attempt(reading, status, false, Uuid::nil(), Instant::now())
}

#[tokio::test]
async fn nothing_is_sent_with_too_little_of_the_lease_left() {
    // Nobody listens there: had anything been sent, authorize would be unavailable.
    let deadline = Instant::now() + Duration::from_secs(20);
    assert_eq!(client().cancel(names(), deadline, false, || true).await.unwrap_err(), NotBegun::TooLate);
    let unavailable = client().cancel(names(), deadline + Duration::from_secs(5), false, || true).await.unwrap_err();
    assert!(matches!(unavailable, NotBegun::AuthorizeUnavailable { .. }), "{unavailable}");
}

#[tokio::test]
async fn nothing_is_sent_that_may_not_be_by_now() {
    // Nobody listens there: had anything been sent, authorize would be unavailable.
    let deadline = Instant::now() + Duration::from_mins(1);
    assert_eq!(client().cancel(names(), deadline, false, || false).await.unwrap_err(), NotBegun::HeldBack);
    assert_eq!(client().status(names(), deadline, || false).await.unwrap_err(), NotBegun::HeldBack);
}

#[tokio::test]
async fn status_is_not_asked_after_the_deadline() {
    let Ok(StatusAnswer::NoAnswer { error, .. }) = client().status(names(), Instant::now(), || true).await else {
        panic!("there was no time to ask");
    };
    assert_eq!(error, "had no turn to send before the deadline");
}

#[test]
fn the_error_names_both_answers_however_long_they_are() {
    let silent = StatusAnswer::NoAnswer { error: format!("answered 500: {}", "y".repeat(500)), retry_after: None };
    let error = attempt(reading(Outcome::Rejected, &"x".repeat(500)), Some(silent)).error.unwrap();
    assert!(error.starts_with("cancel xxx") && error.contains("; status answered 500: yyy"), "{error}");
    assert!(error.chars().count() <= 300);
}

#[test]
fn secrets_that_the_provider_echoes_are_taken_out() {
    let mut echo = reading(Outcome::ServerError, "answered 500: client-secret");
    echo.said = said("client-secret");
    let attempt = attempt(echo, None);
    assert!(!format!("{attempt:?}").contains("client-secret"), "{attempt:?}");
}

#[test]
fn a_success_has_no_error() {
    let ended = attempt(reading(Outcome::Rejected, "answered 400"), Some(StatusAnswer::Final(said("Completed"))));
    assert_eq!((ended.outcome, ended.error, ended.http_status), (Outcome::AlreadyTerminal, None, Some(400)));
    assert_eq!(ended.said, said("Completed"));
    assert_eq!(attempt(reading(Outcome::Canceled, "answered 200"), None).error, None);
}

#[test]
fn where_status_does_not_answer_the_cancels_own_words_stay() {
    let silent = StatusAnswer::NoAnswer { error: "answered 503".into(), retry_after: Some(Duration::from_secs(9)) };
    let attempt = attempt(reading(Outcome::Rejected, "answered 400"), Some(silent));
    assert_eq!((attempt.outcome, attempt.said), (Outcome::Rejected, said("InProgress")));
    assert_eq!(attempt.retry_after, Some(Duration::from_secs(9)));
    assert_eq!(attempt.error.as_deref(), Some("cancel answered 400; status answered 503"));
}
