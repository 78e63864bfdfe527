//! The budget: only attempts that count use it up, its end is asked about once more, and a person can give a new one.

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Fault, Faults, Moment, NewSession, SessionFaults};
use uuid::Uuid;

use super::{cancel, cancel_and_status};
use crate::support::{PAUSES, Scene};

async fn with_budget(attempts: i64) -> Scene {
    Scene::new(Faults::default()).await.with("retry.max_attempts", attempts)
}

fn questions(scene: &Scene, id: Uuid) -> usize {
    let requests = scene.sandbox.requests();
    requests.iter().filter(|one| one.session_id == Some(id) && one.endpoint == Endpoint::Status).count()
}

#[tokio::test]
async fn a_session_fails_with_its_last_counted_attempt_after_status_was_asked_once_more() {
    let scene = with_budget(3).await;
    let id = scene.abandoned_with(cancel("500")).await;
    for attempt in 1..=3 {
        let report = scene.sweep().await.json();
        let ended = i64::from(attempt == 3);
        assert_eq!((&report["retried"], &report["failed"]), (&(1 - ended).into(), &ended.into()), "{attempt}");
        assert_eq!(questions(&scene, id), usize::from(attempt == 3), "{attempt}");
        scene.let_pauses_pass().await;
    }
    let rows = scene.rows(id).await;
    let pauses: Vec<Option<f64>> = rows.iter().map(|row| row.pause).collect();
    assert_eq!(pauses, [Some(PAUSES[0]), Some(PAUSES[1]), None]);
    assert_eq!(rows[2].brief(), ("server_error", Some(500), Some("Initiated"), Some("EFT0101")));
    assert!(rows[2].error().contains("answered 500") && rows[2].error().contains("status is Initiated"), "{rows:#?}");
    let standing = scene.standing(id).await;
    assert_eq!((standing.state.as_str(), standing.counted, standing.is_finished), ("failed", 3, true));
    assert_eq!(scene.sweep().await.json()["discovered"], 0, "a failed session is not taken on again");
    assert_eq!(scene.sandbox.cancels(id), 3);
    scene.close().await;
}

#[tokio::test]
async fn the_last_question_saves_a_session_that_had_ended() {
    let scene = with_budget(1).await;
    let mut ids = Vec::new();
    for fault in ["500_after_effect", "reset_after_effect"] {
        ids.push(scene.abandoned_with(cancel(fault)).await);
    }
    let report = scene.sweep().await.json();
    assert_eq!((&report["already_terminal"], &report["failed"]), (&2.into(), &0.into()));
    for id in ids {
        let row = scene.only_row(id).await;
        assert_eq!((row.outcome.as_str(), row.session_status.as_deref()), ("already_terminal", Some("Canceled")));
        assert_eq!(scene.standing(id).await.state, "already_terminal");
    }
    scene.close().await;
}

#[tokio::test]
async fn where_the_last_question_has_no_answer_the_session_is_not_given_up_and_the_error_names_both() {
    let scene = with_budget(1).await;
    let id = scene.abandoned_with(cancel_and_status("500", "502")).await;
    let report = scene.sweep().await.json();
    assert_eq!((&report["failed"], &report["retried"]), (&0.into(), &1.into()));
    let row = scene.only_row(id).await;
    assert_eq!((row.brief(), row.pause), (("server_error", Some(500), None, None), Some(PAUSES[0])));
    assert_eq!(scene.standing(id).await.state, "pending");
    assert!(row.error().contains("cancel answered 500") && row.error().contains("status answered 502"), "{row:?}");
    scene.close().await;
}

/// The budget of one is spent while status does not answer; from its second question on it does.
async fn spent_in_an_outage(scene: &Scene) -> Uuid {
    let status = EndpointFaults::first(["502".parse::<Fault>().unwrap()]);
    let id = scene.abandoned_with(SessionFaults { status: Some(status), ..cancel("500") }).await;
    scene.sweep().await;
    assert_eq!((scene.standing(id).await.state.as_str(), scene.standing(id).await.counted), ("pending", 0));
    scene.let_pauses_pass().await;
    id
}

#[tokio::test]
async fn a_session_whose_budget_went_in_an_outage_has_one_attempt_more_after_it() {
    let scene = with_budget(1).await;
    let id = spent_in_an_outage(&scene).await;
    for (state, counted) in [("pending", 1), ("failed", 2)] {
        scene.sweep().await;
        let standing = scene.standing(id).await;
        assert_eq!((standing.state.as_str(), standing.counted), (state, counted));
        scene.let_pauses_pass().await;
    }
    assert_eq!(scene.sandbox.cancels(id), 3);
    scene.close().await;
}

#[tokio::test]
async fn a_process_that_dies_in_an_outage_costs_its_session_nothing() {
    let scene = with_budget(1).await.with("schedule.sweep", "* * * * * *");
    let id = spent_in_an_outage(&scene).await;
    let hold = scene.sandbox.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let daemon = scene.program.start(["run"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == 1).await;
    daemon.signal(nix::sys::signal::Signal::SIGKILL);
    daemon.finished().await;
    hold.release();
    let well = NewSession { faults: Some(SessionFaults::default()), ..NewSession::default() };
    scene.sandbox.update(id, well).unwrap();
    scene.let_leases_end().await;
    assert_eq!(scene.sweep().await.json()["canceled"], 1);
    let outcomes: Vec<String> = scene.rows(id).await.into_iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, ["server_error", "interrupted", "canceled"]);
    assert_eq!(scene.standing(id).await.counted, 0);
    scene.close().await;
}

#[tokio::test]
async fn a_requeued_session_has_a_fresh_budget_and_its_numbers_go_on() {
    let scene = with_budget(2).await;
    let id = scene.abandoned_with(cancel("500")).await;
    let sweep_twice = async || {
        for _ in 0..2 {
            scene.sweep().await;
            scene.let_pauses_pass().await;
        }
    };
    sweep_twice().await;
    assert_eq!(scene.standing(id).await.state, "failed");
    let text = id.to_string();
    let dry = scene.program.run(["requeue", "--session", &text, "--dry-run"]).await.expect_code(0);
    assert!(dry.stdout.contains(&text), "{dry:?}");
    assert_eq!(scene.standing(id).await.state, "failed");
    scene.program.run(["requeue", "--session", &text]).await.expect_code(0);
    let standing = scene.standing(id).await;
    assert_eq!((standing.state.as_str(), standing.counted, standing.is_due), ("pending", 0, true));
    sweep_twice().await;
    let standing = scene.standing(id).await;
    assert_eq!((standing.state.as_str(), standing.attempts, standing.counted), ("failed", 4, 2));
    let pauses: Vec<Option<f64>> = scene.rows(id).await.iter().map(|row| row.pause).collect();
    assert_eq!(pauses, [Some(PAUSES[0]), None, Some(PAUSES[0]), None]);
    let new = NewSession { faults: Some(SessionFaults::default()), ..NewSession::default() };
    scene.sandbox.update(id, new).unwrap();
    scene.program.run(["requeue", "--outcome", "server_error", "--since", "1h"]).await.expect_code(0);
    assert_eq!(scene.sweep().await.json()["canceled"], 1);
    let last = scene.rows(id).await.pop().unwrap();
    assert_eq!((last.attempt, last.outcome.as_str()), (5, "canceled"));
    scene.close().await;
}
