//! 429: how long a session waits, in every form in which a provider can say so, and that it never uses up budget.

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults, RetryAfter, RetryAfterForm};

use super::{cancel, cancel_and_status, fault};
use crate::support::{PAUSES, Scene};

/// Retry-After in this form, for so long.
fn asking(form: RetryAfterForm, seconds: u32) -> Faults {
    Faults { retry_after: RetryAfter { form, seconds, ..RetryAfter::default() }, ..Faults::default() }
}

#[tokio::test]
async fn a_429_waits_as_long_as_it_was_asked_to_in_every_form_and_does_not_count() {
    use RetryAfterForm::{Garbage, HttpDate, None, Seconds};
    let scene = Scene::new(Faults::default()).await.with("api.max_retry_after", "2m");
    // Where nothing usable is said the backoff decides; what is beyond `max_retry_after` is cut to it.
    let cases = [
        (Seconds, 7, 7.0),
        (HttpDate, 7, 7.0),
        (Seconds, 120, 120.0),
        (Seconds, 121, 120.0),
        (HttpDate, 86_400, 120.0),
        (Seconds, u32::MAX, 120.0),
        (Seconds, 0, PAUSES[0]),
        (HttpDate, 0, PAUSES[0]),
        (None, 7, PAUSES[0]),
        (Garbage, 7, PAUSES[0]),
    ];
    for (form, seconds, pause) in cases {
        scene.sandbox.set_faults(asking(form, seconds)).unwrap();
        let id = scene.abandoned_with(cancel("429")).await;
        let swept = scene.sweep().await;
        let report = swept.json();
        assert_eq!((&report["retried"], &report["status"]), (&1.into(), &"finished".into()), "{form:?} {seconds}");
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("rate_limited", Some(429), Option::None, Option::None), "{form:?} {seconds}");
        assert_eq!(row.pause, Some(pause), "{form:?} {seconds}");
        let standing = scene.standing(id).await;
        assert_eq!((standing.state.as_str(), standing.counted, standing.is_due), ("pending", 0, false));
        assert!(swept.stderr.contains("sending.held_back"), "{}", swept.stderr);
        scene.let_holds_pass().await;
    }
    scene.close().await;
}

#[tokio::test]
async fn a_503_that_says_when_to_come_back_waits_at_least_so_long_and_counts() {
    let scene = Scene::new(asking(RetryAfterForm::Seconds, 700)).await;
    let long = scene.abandoned_with(cancel("503")).await;
    scene.sweep().await;
    let row = scene.only_row(long).await;
    assert_eq!((row.brief(), row.pause), (("server_error", Some(503), None, None), Some(700.0)));
    assert_eq!(scene.standing(long).await.counted, 1);
    scene.let_holds_pass().await;
    scene.sandbox.set_faults(asking(RetryAfterForm::Seconds, 7)).unwrap();
    let short = scene.abandoned_with(cancel("503")).await;
    scene.sweep().await;
    assert_eq!(scene.only_row(short).await.pause, Some(PAUSES[0]), "the backoff is longer");
    scene.close().await;
}

#[tokio::test]
async fn a_status_endpoint_that_asks_to_be_left_alone_is_left_alone() {
    let scene = Scene::new(asking(RetryAfterForm::Seconds, 700)).await.with("api.max_in_flight", 1);
    for _ in 0..11 {
        scene.abandoned_with(cancel_and_status("409", "429")).await;
    }
    // Whichever comes first, it is the only one.
    assert_eq!(scene.sweep().await.json()["retried"], 1);
    assert_eq!(
        (scene.sandbox.counts().arrived(Endpoint::Cancel), scene.sandbox.counts().arrived(Endpoint::Status)),
        (1, 1)
    );
    let first = "SELECT session_id FROM geft_sweeper.cancel_attempts";
    let id: uuid::Uuid = sqlx::query_scalar(first).fetch_one(scene.database.pool()).await.unwrap();
    let row = scene.only_row(id).await;
    assert_eq!((row.brief(), row.pause), (("rejected", Some(409), None, None), Some(700.0)));
    assert!(row.error().contains("status answered 429"), "{row:?}");
    scene.close().await;
}

#[tokio::test]
async fn neither_429_nor_401_ever_uses_up_the_budget() {
    let scene = Scene::new(Faults::default()).await.with("retry.max_attempts", 2);
    let names = ["429", "429", "401", "401", "429", "500", "401", "429"];
    let faults =
        geft_sweeper::sandbox::SessionFaults { cancel: Some(EndpointFaults::first(names.map(fault))), status: None };
    let id = scene.abandoned_with(faults).await;
    for _ in 0..=names.len() {
        // Its exit status is another matter: where nothing but a 401 came, the credentials are in doubt.
        scene.program.run(["sweep"]).await;
        scene.let_pauses_pass().await;
    }
    let outcomes: Vec<String> = scene.rows(id).await.into_iter().map(|row| row.outcome).collect();
    let (limited, refused) = ("rate_limited", "unauthorized");
    let expected =
        [limited, limited, refused, refused, limited, "server_error", refused, limited, "canceled"].map(str::to_owned);
    assert_eq!(outcomes, expected);
    let standing = scene.standing(id).await;
    assert_eq!((standing.state.as_str(), standing.attempts, standing.counted), ("canceled", 9, 1));
    scene.close().await;
}
