//! `in_progress = "wait"`: an aged session is asked for its status before it is claimed, and the customer who is at it is
//! left alone for a while.

mod questions;

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Faults, NewSession};
use uuid::Uuid;

use crate::support::Scene;

/// A scene in which customers are left alone.
pub(crate) async fn waiting(faults: Faults) -> Scene {
    Scene::new(faults).await.with("source.in_progress", "wait")
}

/// A session that is canceled for its age alone, in this status at the provider.
pub(crate) async fn aged_in(scene: &Scene, status: &str) -> Uuid {
    aged_as(scene, NewSession { status: Some(status.to_owned()), ..NewSession::default() }).await
}

pub(crate) async fn aged_as(scene: &Scene, session: NewSession) -> Uuid {
    let id = scene.sandbox.seed(vec![session]).unwrap()[0];
    scene.merchant.add_as(id, "created", Duration::from_hours(1)).await;
    id
}

/// Lets so much time pass for all that are waited for.
pub(crate) async fn let_pass(scene: &Scene, time: &str) {
    let pass = "UPDATE geft_sweeper.cancellations SET waiting_since = waiting_since - $1::text::interval,
        asked_at = asked_at - $1::text::interval, next_attempt_at = next_attempt_at - $1::text::interval
        WHERE state = 'pending'";
    sqlx::query(pass).bind(time).execute(scene.database.pool()).await.unwrap();
}

/// Questions for the status and cancel requests so far.
pub(crate) fn asked(scene: &Scene) -> (u64, u64) {
    let counts = scene.sandbox.counts();
    (counts.arrived(Endpoint::Status), counts.arrived(Endpoint::Cancel))
}

/// State, attempts and rows of the audit table.
pub(crate) async fn standing(scene: &Scene, id: Uuid) -> (String, i32, usize) {
    let standing = scene.standing(id).await;
    (standing.state, standing.attempts, scene.rows(id).await.len())
}

fn as_it_was(state: &str, attempts: i32, rows: usize) -> (String, i32, usize) {
    (state.to_owned(), attempts, rows)
}

#[tokio::test]
async fn by_default_nobody_is_asked_and_nobody_waited_for() {
    let scene = Scene::new(Faults::default()).await;
    let id = aged_in(&scene, "InProgress").await;
    let report = scene.sweep().await.json();
    assert_eq!((&report["canceled"], &report["waiting"]), (&1.into(), &0.into()));
    assert_eq!((standing(&scene, id).await, asked(&scene)), (as_it_was("canceled", 1, 1), (0, 1)));
    scene.close().await;
}

#[tokio::test]
async fn a_customer_who_is_at_it_is_left_alone_and_nobody_else() {
    let scene = waiting(Faults::default()).await;
    let at_it = [aged_in(&scene, "InProgress").await, aged_in(&scene, "INPROGRESS").await];
    let others = [aged_in(&scene, "Initiated").await, aged_in(&scene, "Unheard").await];
    let abandoned = scene.abandoned_in("InProgress", None).await;
    let report = scene.sweep().await.json();
    assert_eq!((&report["waiting"], &report["canceled"]), (&2.into(), &3.into()), "{report}");
    assert_eq!(asked(&scene), (4, 3), "an abandoned session is not asked for");
    for id in at_it {
        assert_eq!(standing(&scene, id).await, as_it_was("pending", 0, 0));
    }
    for id in [others[0], others[1], abandoned] {
        assert_eq!(standing(&scene, id).await, as_it_was("canceled", 1, 1));
    }
    scene.close().await;
}

#[tokio::test]
async fn each_sweep_asks_again_and_after_the_grace_it_is_canceled_without_a_question() {
    let scene = waiting(Faults::default()).await;
    let id = aged_in(&scene, "InProgress").await;
    for sweep in 1..=3 {
        // Long enough that something else could fall due in the same sweep.
        let report = scene.program.run(["sweep", "--json", "--wait", "1s"]).await.expect_code(0).json();
        assert_eq!((&report["waiting"], asked(&scene)), (&1.into(), (sweep, 0)));
        let_pass(&scene, "9 minutes").await;
    }
    let_pass(&scene, "4 minutes").await;
    let report = scene.sweep().await.json();
    assert_eq!((&report["waiting"], &report["canceled"]), (&0.into(), &1.into()), "{report}");
    assert_eq!((standing(&scene, id).await, asked(&scene)), (as_it_was("canceled", 1, 1), (3, 1)));
    scene.close().await;
}

#[tokio::test]
async fn the_daemon_does_not_wait_for_a_tick_to_end_the_grace() {
    let scene = waiting(Faults::default()).await.with("source.in_progress_grace", "2s");
    let id = aged_in(&scene, "InProgress").await;
    scene.sweep().await;
    assert_eq!(standing(&scene, id).await, as_it_was("pending", 0, 0));
    let scene = scene.with("schedule.sweep", "0 0 0 1 1 *");
    let daemon = scene.program.start(["run"]);
    scene.sandbox.wait_for_requests(|counts| counts.finished(Endpoint::Cancel) == 1).await;
    assert_eq!(asked(&scene), (1, 1));
    drop(daemon);
    scene.close().await;
}

#[tokio::test]
async fn a_session_that_ended_meanwhile_ends_without_an_attempt() {
    let scene = waiting(Faults::default()).await;
    let id = aged_in(&scene, "InProgress").await;
    scene.sweep().await;
    scene.sandbox.set_status(id, "Completed", Some("EFT0302"));
    let expired = aged_in(&scene, "Expired").await;
    let swept = scene.sweep().await;
    let report = swept.json();
    assert_eq!((&report["already_terminal"], &report["paid_after_abandonment"]), (&2.into(), &1.into()), "{report}");
    for id in [id, expired] {
        assert_eq!(standing(&scene, id).await, as_it_was("already_terminal", 0, 0));
    }
    assert!(swept.stderr.contains("session.paid_after_abandonment"), "{}", swept.stderr);
    let paid: (Uuid, String) = sqlx::query_as("SELECT session_id, kind FROM geft_sweeper.paid_after_abandonment")
        .fetch_one(scene.database.pool())
        .await
        .unwrap();
    assert_eq!((paid, asked(&scene).1), ((id, "awaiting_signature".to_owned()), 0));
    scene.close().await;
}

#[tokio::test]
async fn who_is_not_named_any_more_is_withdrawn_after_the_question() {
    let scene = waiting(Faults::default()).await;
    let id = aged_in(&scene, "InProgress").await;
    scene.sweep().await;
    scene.merchant.set_status(id, "paid").await;
    scene.sandbox.set_status(id, "Initiated", None);
    assert_eq!(scene.sweep().await.json()["withdrawn"], 1);
    assert_eq!((standing(&scene, id).await, asked(&scene)), (as_it_was("withdrawn", 0, 0), (2, 0)));
    // Named again, it is waited for anew.
    scene.merchant.set_status(id, "created").await;
    scene.sandbox.set_status(id, "InProgress", None);
    assert_eq!(scene.sweep().await.json()["waiting"], 1);
    scene.close().await;
}
