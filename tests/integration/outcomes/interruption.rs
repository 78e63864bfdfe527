//! A process that is killed while its request is under way: whoever takes the session over writes the row.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Faults, Moment};
use nix::sys::signal::Signal;
use uuid::Uuid;

use crate::support::{PAUSES, Scene, eventually};

/// Kills a sweep while its cancel request is held at this moment, and lets its lease run out.
async fn killed_in_the_middle(scene: &Scene, moment: Moment) {
    let hold = scene.sandbox.hold(Endpoint::Cancel, moment);
    let sweep = scene.program.start(["sweep"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == 1).await;
    sweep.signal(Signal::SIGKILL);
    assert_eq!(sweep.finished().await.code(), None);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == 0).await;
    hold.release();
    let connected = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'geft-sweeper %'";
    eventually(Duration::from_secs(20), async || {
        let left: i64 = sqlx::query_scalar(connected).fetch_one(scene.database.pool()).await.unwrap();
        left == 0
    })
    .await;
}

/// The sweep that wrote a row, the process in it, and the process and the end of that sweep.
async fn origin(scene: &Scene, id: Uuid) -> (bool, bool, String) {
    let statement = "SELECT a.instance = s.instance, a.sweep_id = s.id, s.status
        FROM geft_sweeper.cancel_attempts a, geft_sweeper.sweeps s
       WHERE a.session_id = $1 AND a.attempt = 1 ORDER BY s.started_at LIMIT 1";
    sqlx::query_as(statement).bind(id).fetch_one(scene.database.pool()).await.unwrap()
}

#[tokio::test]
async fn a_killed_process_leaves_an_interrupted_row_and_the_session_goes_on() {
    for (moment, then) in [(Moment::BeforeEffect, "canceled"), (Moment::AfterEffect, "already_terminal")] {
        let scene = Scene::new(Faults::default()).await;
        let id = scene.abandoned().await;
        killed_in_the_middle(&scene, moment).await;
        assert_eq!((scene.standing(id).await.state.as_str(), scene.rows(id).await.len()), ("in_flight", 0));

        let report = scene.sweep().await.json();
        assert_eq!((&report["retried"], &report["canceled"]), (&0.into(), &0.into()), "the lease is not over");
        assert_eq!(scene.standing(id).await.state, "in_flight");
        scene.let_leases_end().await;
        assert_eq!(scene.sweep().await.json()["retried"], 1);
        let row = scene.only_row(id).await;
        assert_eq!((row.brief(), row.pause), (("interrupted", None, None, None), Some(PAUSES[0])));
        assert!(!row.error().is_empty());
        assert_eq!(origin(&scene, id).await, (true, true, "interrupted".to_owned()));
        let standing = scene.standing(id).await;
        assert_eq!((standing.state.as_str(), standing.attempts, standing.counted), ("pending", 1, 1));

        scene.let_pauses_pass().await;
        scene.sweep().await;
        let rows = scene.rows(id).await;
        assert_eq!(rows[1].outcome, then, "{rows:#?}");
        assert_eq!(rows[1].session_status.as_deref(), Some("Canceled"));
        assert_eq!(scene.standing(id).await.state, then);
        scene.close().await;
    }
}

#[tokio::test]
async fn an_interruption_that_spends_the_budget_is_followed_by_a_question_and_no_further_request() {
    for (moment, then) in [(Moment::BeforeEffect, "failed"), (Moment::AfterEffect, "already_terminal")] {
        let scene = Scene::new(Faults::default()).await.with("retry.max_attempts", 1);
        let id = scene.abandoned().await;
        killed_in_the_middle(&scene, moment).await;
        scene.let_leases_end().await;
        let report = scene.sweep().await.json();
        assert_eq!((&report[then], &report["retried"]), (&1.into(), &0.into()), "{report}");
        let row = scene.only_row(id).await;
        assert_eq!((row.outcome.as_str(), row.pause), ("interrupted", None));
        let standing = scene.standing(id).await;
        assert_eq!((standing.state.as_str(), standing.attempts, standing.is_finished), (then, 1, true));
        assert_eq!(scene.sandbox.cancels(id), 1);
        assert_eq!(scene.sandbox.counts().arrived(Endpoint::Status), 1);
        scene.close().await;
    }
}
