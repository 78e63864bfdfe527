//! The good ends: canceled, and ended before. What the provider said is kept, and a payment after all is told.

use geft_sweeper::sandbox::{Endpoint, Faults, NewSession, Spelling, TerminalBody};
use serde_json::Number;

use crate::support::Scene;

#[tokio::test]
async fn both_spellings_confirm_a_cancellation_and_are_stored_word_for_word() {
    for (spelling, word) in [(Spelling::Canceled, "Canceled"), (Spelling::Cancelled, "Cancelled")] {
        let scene = Scene::new(Faults { spelling, ..Faults::default() }).await;
        let id = scene.abandoned().await;
        let report = scene.sweep().await.json();
        assert_eq!((&report["discovered"], &report["canceled"]), (&1.into(), &1.into()));
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("canceled", Some(200), Some(word), Some("EFT0501")));
        assert_eq!((row.error, row.pause), (None, None));
        let standing = scene.standing(id).await;
        assert_eq!((standing.state.as_str(), standing.attempts, standing.is_finished), ("canceled", 1, true));
        assert_eq!(standing.session_status.as_deref(), Some(word));
        assert_eq!(scene.sandbox.counts().arrived(Endpoint::Status), 0, "a confirmed cancellation needs no question");
        assert_eq!(scene.sandbox.session(id).unwrap().status, word);
        scene.close().await;
    }
}

#[tokio::test]
async fn the_row_names_the_sweep_the_process_the_reason_and_the_merchants_reference() {
    let scene = Scene::new(Faults::default()).await;
    let id = scene.abandoned().await;
    let report = scene.sweep().await.json();
    let row: (String, String, String, String, bool, bool) = sqlx::query_as(
        "SELECT sweep_id::text, instance, reason, reference_id, started_at <= finished_at,
                finished_at BETWEEN now() - interval '1 minute' AND now()
           FROM geft_sweeper.cancel_attempts WHERE session_id = $1",
    )
    .bind(id)
    .fetch_one(scene.database.pool())
    .await
    .unwrap();
    let text = |field: &str| report[field].as_str().unwrap().to_owned();
    let expected = (text("id"), text("instance"), "abandoned".to_owned(), format!("order-{id}"), true, true);
    assert_eq!(row, expected);
    assert_eq!((text("trigger"), text("status")), ("command".to_owned(), "finished".to_owned()));
    scene.close().await;
}

#[tokio::test]
async fn a_final_status_is_already_terminal_whatever_the_code_and_the_body_of_the_refusal() {
    let scene = Scene::new(Faults::default()).await;
    let refusals = [
        (200, None),
        (400, None),
        (400, Some(TerminalBody::Empty)),
        (403, None),
        (404, None),
        (404, Some(TerminalBody::Html)),
        (404, Some(TerminalBody::Empty)),
        (409, Some(TerminalBody::Session)),
        (409, Some(TerminalBody::Html)),
        (410, None),
        (422, Some(TerminalBody::Problem)),
        (202, Some(TerminalBody::Empty)),
    ];
    let finals = [
        ("Completed", "EFT0301"),
        ("Failed", "EFT0402"),
        ("Expired", "EFT0601"),
        ("expired", "EFT0601"),
        ("COMPLETED", "EFT0302"),
    ];
    for (terminal_code, terminal_body) in refusals {
        let case = format!("{terminal_code} {terminal_body:?}");
        scene.sandbox.set_faults(Faults { terminal_code, terminal_body, ..Faults::default() }).unwrap();
        let mut ids = Vec::new();
        for (status, details) in finals {
            ids.push((status, details, scene.abandoned_in(status, Some(details)).await));
        }
        let report = scene.sweep().await.json();
        assert_eq!((&report["already_terminal"], &report["retried"]), (&5.into(), &0.into()), "{case}");
        assert_eq!(report["paid_after_abandonment"], 2, "{case}");
        for (status, details, id) in ids {
            let row = scene.only_row(id).await;
            let code = Some(i32::from(terminal_code));
            assert_eq!(row.brief(), ("already_terminal", code, Some(status), Some(details)), "{case}");
            assert_eq!((row.error, row.pause), (None, None), "{case}");
            let standing = scene.standing(id).await;
            assert_eq!((standing.state.as_str(), standing.counted), ("already_terminal", 0), "{case}");
            assert!(standing.is_finished, "{case}");
        }
    }
    scene.close().await;
}

#[tokio::test]
async fn a_session_canceled_before_is_already_terminal_in_either_spelling() {
    let scene = Scene::new(Faults::default()).await;
    let mut ids = Vec::new();
    for word in ["Canceled", "Cancelled", "CANCELED"] {
        ids.push((word, scene.abandoned_in(word, Some("EFT0501")).await));
    }
    scene.sweep().await;
    for (word, id) in ids {
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("already_terminal", Some(400), Some(word), Some("EFT0501")));
    }
    scene.close().await;
}

#[tokio::test]
async fn a_payment_after_abandonment_is_in_the_view_the_report_the_status_and_the_log() {
    let scene = Scene::new(Faults::default()).await;
    let mut paid = Vec::new();
    for (details, kind) in [("EFT0301", "scheduled"), ("EFT0302", "awaiting_signature"), ("EFT0399", "unknown")] {
        let session = NewSession {
            status: Some("Completed".to_owned()),
            status_details: Some(details.to_owned()),
            amount: Number::from_f64(120.75),
            ..NewSession::default()
        };
        paid.push((scene.abandoned_as(session).await, details, kind));
    }
    let expired = scene.abandoned_in("Expired", None).await;
    let swept = scene.sweep().await;
    assert_eq!(swept.json()["paid_after_abandonment"], 3);
    let view: Vec<(uuid::Uuid, String, String, String, String, String, bool)> = sqlx::query_as(
        "SELECT session_id, reference_id, reason, status_details, amount::text, kind, found_at <= now()
           FROM geft_sweeper.paid_after_abandonment",
    )
    .fetch_all(scene.database.pool())
    .await
    .unwrap();
    assert_eq!(view.len(), 3, "{view:?}");
    for (id, details, kind) in paid {
        let expected = ("abandoned", details, "120.75", kind);
        let row = view.iter().find(|row| row.0 == id).unwrap();
        assert_eq!((row.2.as_str(), row.3.as_str(), row.4.as_str(), row.5.as_str()), expected);
        assert!(row.1 == format!("order-{id}") && row.6);
        let event = log_event(&swept.stderr, "session.paid_after_abandonment", &id.to_string());
        assert!(event.contains("WARN") && event.contains(details) && event.contains("120.75"), "{event}");
    }
    assert_eq!(swept.stderr.matches("session.paid_after_abandonment").count(), 3);
    assert!(!view.iter().any(|row| row.0 == expired));
    let status = scene.program.run(["status"]).await.expect_code(0).stdout;
    assert!(status.contains("paid after abandonment: 3"), "{status}");
    assert_eq!(scene.program.run(["status", "--json"]).await.json()["paid_after_abandonment"], 3);
    scene.close().await;
}

/// The line of the log with this event about this session.
fn log_event<'log>(log: &'log str, event: &str, session: &str) -> &'log str {
    let mut lines = log.lines().filter(|line| line.contains(event) && line.contains(session));
    lines.next().unwrap_or_else(|| panic!("no {event} of {session} in {log}"))
}

#[tokio::test]
async fn the_report_for_people_has_a_line_for_what_was_paid() {
    let scene = Scene::new(Faults::default()).await;
    scene.abandoned_in("Completed", None).await;
    let report = scene.program.run(["sweep"]).await.expect_code(0).stdout;
    let line = report.lines().find(|line| line.contains("paid_after_abandonment")).unwrap();
    assert!(line.split_whitespace().any(|word| word == "1"), "{report}");
    scene.close().await;
}
