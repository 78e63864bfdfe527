//! No answer at all: whether the request had its effect is not known, and the next attempt finds it out.

use geft_sweeper::sandbox::{Answered, Endpoint, Faults, Moment};

use super::{cancel, cancel_first};
use crate::support::{PAUSES, Scene};

async fn impatient(faults: Faults) -> Scene {
    Scene::new(faults).await.with("api.timeout", "1s").with("api.connect_timeout", "1s")
}

#[tokio::test]
async fn after_a_timeout_the_next_attempt_finds_a_session_that_was_canceled_and_that_is_a_success() {
    let scene = impatient(Faults::default()).await;
    let before = scene.abandoned_with(cancel_first(["timeout"])).await;
    let after = scene.abandoned_with(cancel_first(["timeout_after_effect"])).await;
    let slow = scene.abandoned_with(cancel_first(["slow_body"])).await;
    scene.sweep().await;
    for id in [before, after, slow] {
        let row = scene.only_row(id).await;
        assert_eq!((row.brief(), row.pause), (("timeout", None, None, None), Some(PAUSES[0])));
        assert!(row.error().contains("timed out after 1 s"), "{row:?}");
        assert_eq!(scene.standing(id).await.counted, 1);
    }
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Status), 0, "an unanswered cancel asks nothing more");
    scene.let_pauses_pass().await;
    let report = scene.sweep().await.json();
    assert_eq!(
        (&report["canceled"], &report["already_terminal"], &report["discovered"]),
        (&1.into(), &2.into(), &0.into())
    );
    assert_eq!(scene.rows(before).await[1].brief(), ("canceled", Some(200), Some("Canceled"), Some("EFT0501")));
    for id in [after, slow] {
        let rows = scene.rows(id).await;
        assert_eq!(rows[1].brief(), ("already_terminal", Some(400), Some("Canceled"), Some("EFT0501")));
        assert_eq!(scene.standing(id).await.state, "already_terminal");
    }
    scene.close().await;
}

#[tokio::test]
async fn a_reset_and_a_body_cut_short_are_network_errors_that_count() {
    let scene = Scene::new(Faults::default()).await;
    let mut ids = Vec::new();
    for fault in ["reset", "reset_after_effect", "cut_body", "cut_body_before_effect"] {
        ids.push((fault, scene.abandoned_with(cancel(fault)).await));
    }
    let report = scene.sweep().await.json();
    assert_eq!(report["retried"], 4);
    for (case, id) in ids {
        let row = scene.only_row(id).await;
        assert_eq!((row.outcome.as_str(), &row.session_status), ("network_error", &None), "{case}: {row:?}");
        assert_eq!(row.pause, Some(PAUSES[0]), "{case}");
        assert!(row.error().starts_with("cancel failed: "), "{case}: {row:?}");
        assert_eq!(scene.standing(id).await.counted, 1, "{case}");
    }
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Cancel), 4, "a request was repeated within its attempt");
    assert_eq!(scene.sandbox.counts().answered(Endpoint::Cancel, Answered::Reset), 2);
    scene.close().await;
}

#[tokio::test]
async fn a_provider_that_goes_away_leaves_network_errors_for_the_reset_and_the_refused_connection() {
    let scene = Scene::new(Faults::default()).await.with("api.max_in_flight", 1).with("api.token_use", "shared");
    let ids = scene.abandoned_many(2).await;
    let hold = scene.sandbox.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let sweep = scene.program.start(["sweep", "--json"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == 1).await;
    let Scene { database, sandbox, .. } = &scene;
    assert_eq!(sandbox.counts().arrived(Endpoint::Cancel), 1, "one at a time");
    let errors = "SELECT error FROM geft_sweeper.cancel_attempts WHERE outcome = 'network_error'
                     AND http_status IS NULL AND next_attempt_at IS NOT NULL ORDER BY id";
    let pool = database.pool().clone();
    let Scene { database, sandbox, program: _program, .. } = scene;
    sandbox.stop().await;
    drop(hold);
    let report = sweep.finished().await.expect_code(0).json();
    assert_eq!(report["retried"], 2);
    let errors: Vec<String> = sqlx::query_scalar(errors).fetch_all(&pool).await.unwrap();
    assert_eq!(errors.len(), ids.len(), "{errors:?}");
    assert!(errors[1].contains("refused"), "{errors:?}");
    database.close().await;
}
