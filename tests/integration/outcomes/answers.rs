//! Answers that do not end a session: what each is called, whether it counts, and when it is tried again.

use geft_sweeper::sandbox::{Endpoint, Faults, NewSession, RetryAfter, RetryAfterForm};
use uuid::Uuid;

use super::{cancel, cancel_and_status, cancel_first};
use crate::support::{PAUSES, Scene};

const OPEN: (Option<&str>, Option<&str>) = (Some("Initiated"), Some("EFT0101"));

/// A provider that never says when to come back, so that no answer holds back the other sessions.
fn without_retry_after() -> Faults {
    Faults { retry_after: RetryAfter { form: RetryAfterForm::None, ..RetryAfter::default() }, ..Faults::default() }
}

/// The requests that the sandbox saw for a session at an endpoint.
fn asked(scene: &Scene, id: Uuid, endpoint: Endpoint) -> usize {
    scene
        .sandbox
        .requests()
        .iter()
        .filter(|request| request.session_id == Some(id) && request.endpoint == endpoint)
        .count()
}

/// The session waits for its second attempt, and this one used up budget.
async fn is_retried_and_counted(scene: &Scene, id: Uuid, case: &str) {
    let standing = scene.standing(id).await;
    assert_eq!((standing.state.as_str(), standing.attempts, standing.counted), ("pending", 1, 1), "{case}");
    assert!(!standing.is_due && !standing.is_finished, "{case}: {standing:?}");
    assert_eq!(scene.only_row(id).await.pause, Some(PAUSES[0]), "{case}");
}

#[tokio::test]
async fn a_5xx_a_408_and_a_425_are_server_errors_that_count_and_do_not_ask_status() {
    let scene = Scene::new(without_retry_after()).await;
    let mut cases = Vec::new();
    for code in ["500", "501", "502", "503", "504", "599", "408", "425", "500_after_effect"] {
        cases.push((code, scene.abandoned_with(cancel(code)).await));
    }
    let report = scene.sweep().await.json();
    assert_eq!((&report["retried"], &report["canceled"]), (&9.into(), &0.into()));
    for (case, id) in cases {
        let code: i32 = case[..3].parse().unwrap();
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("server_error", Some(code), None, None), "{case}");
        assert!(row.error().contains(&code.to_string()), "{row:?}");
        is_retried_and_counted(&scene, id, case).await;
        assert_eq!(asked(&scene, id, Endpoint::Status), 0, "{case}: status was asked");
    }
    scene.close().await;
}

#[tokio::test]
async fn a_4xx_for_a_session_that_is_still_open_is_rejected_with_its_status_word_for_word() {
    let scene = Scene::new(Faults::default()).await;
    let mut cases = Vec::new();
    for code in ["400", "402", "403", "404", "405", "409", "410", "418", "422", "499"] {
        cases.push((code, scene.abandoned_with(cancel(code)).await));
    }
    let report = scene.sweep().await.json();
    assert_eq!((&report["retried"], &report["status"]), (&10.into(), &"finished".into()));
    for (case, id) in cases {
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("rejected", case.parse().ok(), OPEN.0, OPEN.1), "{case}");
        assert!(row.error().contains(case) && row.error().contains("Initiated"), "{row:?}");
        is_retried_and_counted(&scene, id, case).await;
    }
    scene.close().await;
}

#[tokio::test]
async fn a_status_that_nobody_knows_is_kept_word_for_word_and_is_not_final() {
    let scene = Scene::new(Faults::default()).await;
    let id = scene.abandoned_in("On-Hold (nouveau) ✓", Some("EFT0999x")).await;
    scene.sandbox.update(id, NewSession { faults: Some(cancel("409")), ..NewSession::default() }).unwrap();
    scene.sweep().await;
    let row = scene.only_row(id).await;
    assert_eq!(row.brief(), ("rejected", Some(409), Some("On-Hold (nouveau) ✓"), Some("EFT0999x")));
    let standing = scene.standing(id).await;
    assert_eq!(standing.session_status.as_deref(), Some("On-Hold (nouveau) ✓"));
    assert_eq!((standing.state.as_str(), standing.status_details.as_deref()), ("pending", Some("EFT0999x")));
    scene.close().await;
}

/// Bodies of a 200 that confirm nothing, whatever they say.
const CONFIRM_NOTHING: [&str; 10] = [
    "body_empty",
    "body_html",
    "body_no_fields",
    "body_wrong_status",
    "body_other_session",
    "body_no_session_id",
    "body_invalid_json",
    "body_array",
    "body_null",
    "huge_body",
];

#[tokio::test]
async fn a_body_that_confirms_nothing_is_never_a_cancellation() {
    let scene = Scene::new(Faults::default()).await;
    let mut open = Vec::new();
    let mut unanswered = Vec::new();
    let mut canceled = Vec::new();
    for body in CONFIRM_NOTHING {
        open.push((body, scene.abandoned_with(cancel(&format!("{body}_before_effect"))).await));
        // Here the body says Canceled, as far as it says anything, and status does not help.
        unanswered.push((body, scene.abandoned_with(cancel_and_status(body, "500")).await));
        canceled.push((body, scene.abandoned_with(cancel(body)).await));
    }
    let report = scene.sweep().await.json();
    let counts = ["canceled", "retried", "already_terminal"].map(|count| report[count].as_i64().unwrap());
    assert_eq!(counts, [0, 20, 10], "{report}");
    for (case, id) in open {
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("invalid_response", Some(200), OPEN.0, OPEN.1), "{case}");
        is_retried_and_counted(&scene, id, case).await;
    }
    for (case, id) in unanswered {
        let row = scene.only_row(id).await;
        assert_eq!((row.outcome.as_str(), row.http_status), ("invalid_response", Some(200)), "{case}: {row:?}");
        assert!(row.error().contains("cancel answered 200") && row.error().contains("status answered 500"), "{row:?}");
        is_retried_and_counted(&scene, id, case).await;
    }
    for (case, id) in canceled {
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("already_terminal", Some(200), Some("Canceled"), Some("EFT0501")), "{case}");
        assert_eq!(row.pause, None, "{case}");
    }
    scene.close().await;
}

#[tokio::test]
async fn a_redirect_is_an_invalid_response_and_is_not_followed() {
    let scene = Scene::new(Faults::default()).await;
    let mut cases = Vec::new();
    for code in ["300", "301", "302", "303", "304", "307", "308"] {
        cases.push((code, scene.abandoned_with(cancel(code)).await));
    }
    scene.sweep().await;
    for (case, id) in cases {
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("invalid_response", case.parse().ok(), OPEN.0, OPEN.1), "{case}");
        is_retried_and_counted(&scene, id, case).await;
    }
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Elsewhere), 0, "a redirect was followed");
    scene.close().await;
}

#[tokio::test]
async fn a_404_is_not_found_only_where_cancel_and_status_both_say_so_in_json() {
    let scene = Scene::new(Faults::default()).await;
    let unknown = Uuid::new_v4();
    scene.merchant.add_as(unknown, "abandoned", std::time::Duration::from_mins(5)).await;
    // Cancel, status, what it comes to.
    let doubtful = [
        ("404", "404_html", "rejected"),
        ("404", "500", "rejected"),
        ("404", "body_other_session", "rejected"),
        ("404_html", "404", "invalid_response"),
        ("404_html", "404_html", "invalid_response"),
        ("404_html", "none", "invalid_response"),
        ("410", "404", "rejected"),
    ];
    let mut cases = Vec::new();
    for case in doubtful {
        cases.push((case, scene.abandoned_with(cancel_and_status(case.0, case.1)).await));
    }
    let report = scene.sweep().await.json();
    assert_eq!((&report["failed"], &report["retried"]), (&1.into(), &7.into()), "{report}");
    let row = scene.only_row(unknown).await;
    assert_eq!((row.brief(), row.pause), (("not_found", Some(404), None, None), None));
    assert!(row.error().contains("Session Not Found"), "{row:?}");
    let standing = scene.standing(unknown).await;
    assert_eq!((standing.state.as_str(), standing.attempts, standing.is_finished), ("failed", 1, true));
    for (case, id) in cases {
        let row = scene.only_row(id).await;
        assert_eq!((row.outcome.as_str(), row.http_status), (case.2, case.0[..3].parse().ok()), "{case:?}");
        is_retried_and_counted(&scene, id, &format!("{case:?}")).await;
    }
    scene.close().await;
}

#[tokio::test]
async fn where_status_does_not_answer_the_outcome_stays_and_the_error_names_both() {
    let scene = Scene::new(without_retry_after()).await.with("api.timeout", "1s").with("api.connect_timeout", "1s");
    let silent =
        ["500", "503", "401", "403", "404_html", "302", "reset", "timeout", "cut_body", "body_html", "body_null"];
    let mut cases = Vec::new();
    for status in silent {
        cases.push((status, scene.abandoned_with(cancel_and_status("409", status)).await));
    }
    let report = scene.sweep().await.json();
    assert_eq!(report["retried"], 11, "{report}");
    for (case, id) in cases {
        let row = scene.only_row(id).await;
        assert_eq!(row.brief(), ("rejected", Some(409), None, None), "{case}");
        let (cancel, status) = row.error().split_once("; status ").unwrap_or_else(|| panic!("{case}: {row:?}"));
        assert!(cancel.starts_with("cancel answered 409"), "{case}: {cancel}");
        if let Ok(code) = case[..3].parse::<u16>() {
            assert!(status.contains(&format!("answered {code}")), "{case}: {status}");
        }
        is_retried_and_counted(&scene, id, case).await;
    }
    scene.close().await;
}

#[tokio::test]
async fn a_status_body_that_names_another_session_is_never_believed() {
    let scene = Scene::new(Faults::default()).await;
    let mut ids = Vec::new();
    for status in ["Completed", "Canceled", "Expired", "Failed"] {
        let id = scene.abandoned_in(status, None).await;
        for body in ["body_other_session", "body_no_session_id"] {
            let new = NewSession {
                faults: Some(cancel_and_status("409", body)),
                status: Some(status.to_owned()),
                ..NewSession::default()
            };
            ids.push(scene.abandoned_as(new).await);
        }
        scene.sandbox.set_status(id, status, None);
    }
    let report = scene.sweep().await.json();
    assert_eq!((&report["already_terminal"], &report["retried"]), (&4.into(), &8.into()), "{report}");
    for id in ids {
        assert_eq!(scene.only_row(id).await.brief(), ("rejected", Some(409), None, None));
        assert_eq!(scene.standing(id).await.session_status, None);
    }
    scene.close().await;
}

#[tokio::test]
async fn a_401_is_unauthorized_uncounted_and_due_again_at_once_with_a_fresh_token() {
    let scene = Scene::new(Faults::default()).await;
    let id = scene.abandoned_with(cancel_first(["401"])).await;
    let report = scene.sweep().await.json();
    assert_eq!((&report["retried"], &report["canceled"]), (&1.into(), &1.into()));
    let rows = scene.rows(id).await;
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert_eq!((rows[0].brief(), rows[0].pause), (("unauthorized", Some(401), None, None), Some(0.0)));
    assert!(rows[0].error().contains("401"), "{:?}", rows[0]);
    assert_eq!(rows[1].brief(), ("canceled", Some(200), Some("Canceled"), Some("EFT0501")));
    assert_eq!(scene.standing(id).await.counted, 0);
    assert_eq!(asked(&scene, id, Endpoint::Status), 0);
    let tokens: Vec<_> = scene
        .sandbox
        .requests()
        .into_iter()
        .filter(|request| request.endpoint == Endpoint::Cancel)
        .map(|request| request.token_number)
        .collect();
    assert_eq!(tokens, [Some(1), Some(2)]);
    scene.close().await;
}
