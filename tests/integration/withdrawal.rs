//! What the source says counts until the last moment: sessions that it no longer names are left alone.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Fault, Faults, NewSession, SessionFaults};
use uuid::Uuid;

use crate::support::{PAUSES, Scene};

/// The first cancel meets this.
fn at_first(name: &str) -> SessionFaults {
    SessionFaults { cancel: Some(EndpointFaults::first([name.parse::<Fault>().unwrap()])), status: None }
}

fn asked(scene: &Scene, id: Uuid) -> (u64, usize) {
    let requests = scene.sandbox.requests();
    let questions =
        |one: &&geft_sweeper::sandbox::Request| one.session_id == Some(id) && one.endpoint == Endpoint::Status;
    (scene.sandbox.cancels(id), requests.iter().filter(questions).count())
}

/// Sessions taken on and not yet sent for: the credentials are refused while they are discovered.
async fn taken_on(scene: &Scene, number: usize) -> Vec<Uuid> {
    let ids = scene.abandoned_many(number).await;
    scene.sandbox.set_client_secret("another".into());
    scene.program.run(["sweep"]).await.expect_code(1);
    scene.sandbox.set_client_secret("secret".into());
    ids
}

#[tokio::test]
async fn a_session_that_the_source_no_longer_names_is_withdrawn_without_a_request_and_without_a_row() {
    let scene = Scene::new(Faults::default()).await;
    let ids = taken_on(&scene, 4).await;
    scene.merchant.set_status(ids[0], "paid").await;
    scene.merchant.set_status(ids[1], "created").await;
    sqlx::query("DELETE FROM payment_sessions WHERE session_id = $1")
        .bind(ids[2])
        .execute(scene.database.pool())
        .await
        .unwrap();
    let report = scene.sweep().await.json();
    assert_eq!((&report["withdrawn"], &report["canceled"], &report["discovered"]), (&3.into(), &1.into(), &0.into()));
    for id in &ids[..3] {
        let standing = scene.standing(*id).await;
        assert_eq!((standing.state.as_str(), standing.attempts, standing.is_finished), ("withdrawn", 0, true));
        assert_eq!((scene.rows(*id).await, asked(&scene, *id)), (vec![], (0, 0)));
    }
    assert_eq!(scene.standing(ids[3]).await.state, "canceled");
    scene.close().await;
}

#[tokio::test]
async fn after_an_attempt_that_cannot_have_had_an_effect_a_session_is_withdrawn_without_a_question() {
    let scene = Scene::new(Faults::default()).await;
    let mut ids = Vec::new();
    for fault in ["409", "429"] {
        ids.push(scene.abandoned_with(at_first(fault)).await);
        scene.sweep().await;
    }
    let before: Vec<_> = ids.iter().map(|id| asked(&scene, *id)).collect();
    for id in &ids {
        scene.merchant.set_status(*id, "paid").await;
    }
    scene.let_pauses_pass().await;
    assert_eq!(scene.sweep().await.json()["withdrawn"], 2);
    for (id, before) in ids.into_iter().zip(before) {
        assert_eq!((scene.rows(id).await.len(), asked(&scene, id)), (1, before));
        assert_eq!(scene.standing(id).await.attempts, 1);
    }
    scene.close().await;
}

#[tokio::test]
async fn after_an_attempt_that_may_have_had_an_effect_status_is_asked_instead_of_sending() {
    let scene = Scene::new(Faults::default()).await.with("api.timeout", "1s").with("api.connect_timeout", "1s");
    let mut cases = Vec::new();
    for fault in ["timeout", "reset", "cut_body", "500", "404_html"] {
        for ending in ["_before_effect", "_after_effect"] {
            // A 404 without JSON is an invalid response; after the effect its status would have ended it at once.
            if fault == "404_html" && ending == "_after_effect" {
                continue;
            }
            cases.push((fault, ending, scene.abandoned_with(at_first(&format!("{fault}{ending}"))).await));
        }
    }
    assert_eq!(scene.sweep().await.json()["retried"], 9);
    let questions_before: Vec<usize> = cases.iter().map(|case| asked(&scene, case.2).1).collect();
    for (_, _, id) in &cases {
        scene.merchant.set_status(*id, "created").await;
    }
    scene.let_pauses_pass().await;
    let report = scene.sweep().await.json();
    assert_eq!((&report["withdrawn"], &report["already_terminal"]), (&5.into(), &4.into()), "{report}");
    for ((fault, ending, id), questions) in cases.into_iter().zip(questions_before) {
        let (state, status) =
            if ending == "_after_effect" { ("already_terminal", "Canceled") } else { ("withdrawn", "Initiated") };
        let standing = scene.standing(id).await;
        assert_eq!((standing.state.as_str(), standing.attempts), (state, 1), "{fault}{ending}");
        assert_eq!(standing.session_status.as_deref(), Some(status), "{fault}{ending}");
        assert_eq!(scene.rows(id).await.len(), 1, "{fault}{ending}: a question is no attempt");
        assert_eq!(asked(&scene, id), (1, questions + 1), "{fault}{ending}");
    }
    scene.close().await;
}

#[tokio::test]
async fn a_payment_that_the_question_finds_is_told_like_any_other() {
    let scene = Scene::new(Faults::default()).await;
    let id = scene.abandoned_with(at_first("500")).await;
    scene.sweep().await;
    scene.sandbox.set_status(id, "Completed", Some("EFT0302"));
    scene.merchant.set_status(id, "paid").await;
    scene.let_pauses_pass().await;
    let swept = scene.sweep().await;
    assert_eq!(swept.json()["paid_after_abandonment"], 1);
    assert!(swept.stderr.contains("session.paid_after_abandonment"), "{}", swept.stderr);
    let kind: String = sqlx::query_scalar("SELECT kind FROM geft_sweeper.paid_after_abandonment WHERE session_id = $1")
        .bind(id)
        .fetch_one(scene.database.pool())
        .await
        .unwrap();
    assert_eq!(kind, "awaiting_signature");
    scene.close().await;
}

#[tokio::test]
async fn an_answer_that_the_ledger_cannot_store_still_ends_the_session() {
    let scene = Scene::new(Faults::default()).await;
    let ids = [scene.abandoned_with(at_first("500")).await, scene.abandoned_with(at_first("500")).await];
    scene.sweep().await;
    let check = "ALTER TABLE geft_sweeper.cancellations ADD CONSTRAINT no_poison CHECK (status_details <> 'EFTPOISON')";
    sqlx::query(check).execute(scene.database.pool()).await.unwrap();
    scene.sandbox.set_status(ids[0], "Completed", Some("EFTPOISON"));
    for id in ids {
        scene.merchant.set_status(id, "paid").await;
    }
    scene.let_pauses_pass().await;
    let swept = scene.sweep().await;
    let report = swept.json();
    assert_eq!((&report["already_terminal"], &report["withdrawn"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(report["paid_after_abandonment"], 1);
    let standing = scene.standing(ids[0]).await;
    assert_eq!((standing.state.as_str(), standing.session_status.as_deref()), ("already_terminal", Some("Completed")));
    assert!(swept.stderr.contains("session.texts_dropped") && swept.stderr.contains("EFTPOISON"), "{}", swept.stderr);
    scene.close().await;
}

#[tokio::test]
async fn a_question_without_an_answer_leaves_the_session_pending() {
    let scene = Scene::new(Faults::default()).await;
    let faults = SessionFaults {
        cancel: Some(EndpointFaults::always("500".parse::<Fault>().unwrap())),
        status: Some(EndpointFaults::always("502".parse::<Fault>().unwrap())),
    };
    let id = scene.abandoned_with(faults).await;
    scene.sweep().await;
    scene.merchant.set_status(id, "created").await;
    scene.let_pauses_pass().await;
    assert_eq!(scene.sweep().await.json()["withdrawn"], 0);
    let standing = scene.standing(id).await;
    assert_eq!((standing.state.as_str(), standing.attempts, standing.is_due), ("pending", 1, false));
    assert_eq!(asked(&scene, id), (1, 1));
    scene.sandbox.update(id, NewSession { faults: Some(SessionFaults::default()), ..NewSession::default() }).unwrap();
    scene.let_pauses_pass().await;
    assert_eq!(scene.sweep().await.json()["withdrawn"], 1);
    scene.close().await;
}

#[tokio::test]
async fn a_withdrawn_session_that_is_named_again_is_pending_again_and_its_numbers_go_on() {
    let scene = Scene::new(Faults::default()).await;
    let id = scene.abandoned_with(at_first("500")).await;
    scene.sweep().await;
    scene.merchant.set_status(id, "created").await;
    scene.let_pauses_pass().await;
    assert_eq!(scene.sweep().await.json()["withdrawn"], 1);
    assert_eq!(scene.sweep().await.json()["discovered"], 0, "what is not named is not taken on");
    scene.merchant.set_status(id, "abandoned").await;
    let report = scene.sweep().await.json();
    assert_eq!((&report["discovered"], &report["canceled"]), (&1.into(), &1.into()));
    let outcomes: Vec<_> = scene.rows(id).await.into_iter().map(|row| (row.attempt, row.outcome, row.pause)).collect();
    let expected = [(1, "server_error".to_owned(), Some(PAUSES[0])), (2, "canceled".to_owned(), None)];
    assert_eq!(outcomes, expected);
    let standing = scene.standing(id).await;
    assert_eq!((standing.state.as_str(), standing.attempts), ("canceled", 2));
    scene.close().await;
}

#[tokio::test]
async fn only_mapped_statuses_are_canceled_and_age_is_the_databases() {
    let scene = Scene::new(Faults::default()).await;
    let (young, old) = (Duration::from_mins(29), Duration::from_mins(31));
    let rows = [
        // Status in the merchant's table, age, and why it is canceled.
        ("abandoned", young, Some("abandoned")),
        ("Abandoned", old, Some("abandoned")),
        ("created", old, Some("aged")),
        ("PENDING", old, Some("aged")),
        ("created", young, None),
        ("pending", young, None),
        ("paid", old, None),
        ("refunded", old, None),
        ("", old, None),
        ("abandoned", Duration::from_hours(24 * 7) + old, None),
    ];
    let mut sessions = Vec::new();
    for (status, age, reason) in rows {
        let id = scene.sandbox.seed(vec![NewSession::default()]).unwrap()[0];
        scene.merchant.add_as(id, status, age).await;
        sessions.push((status, id, reason));
    }
    let ahead = scene.sandbox.seed(vec![NewSession::default()]).unwrap()[0];
    sqlx::query("INSERT INTO payment_sessions VALUES ($1, 'ahead', 'created', now() + interval '1 hour')")
        .bind(ahead)
        .execute(scene.database.pool())
        .await
        .unwrap();
    let report = scene.sweep().await.json();
    let counts = ["discovered", "canceled", "left_alone", "dated_ahead", "skipped"].map(|name| &report[name]);
    assert_eq!(counts, [4, 4, 3, 1, 0], "{report}");
    for (status, id, reason) in sessions {
        let taken: Option<(String, String)> =
            sqlx::query_as("SELECT reason, source_status FROM geft_sweeper.cancellations WHERE session_id = $1")
                .bind(id)
                .fetch_optional(scene.database.pool())
                .await
                .unwrap();
        assert_eq!(taken, reason.map(|reason| (reason.to_owned(), status.to_owned())), "{status}");
        assert_eq!(scene.sandbox.cancels(id), u64::from(reason.is_some()), "{status}");
    }
    assert_eq!(scene.sandbox.cancels(ahead), 0);
    scene.close().await;
}
