//! Retiring an API: credentials are rotated without a gap, and what was retired gets no further request.

use std::time::{Duration, Instant};

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults};

use super::{EVERY_SECOND, LIMIT, accepted, another_provider, program};
use crate::support::{Program, Scene, eventually};

/// Requests take their time, so that there is always one to be kept back.
fn slow() -> Faults {
    Faults { cancel: EndpointFaults { latency_ms: 100, ..EndpointFaults::default() }, ..Faults::default() }
}

/// A daemon that takes long for a backlog.
fn patient(program: Program) -> Program {
    program.with("schedule.sweep", EVERY_SECOND).with("api.max_in_flight", 1).with("api.token_use", "shared")
}

#[tokio::test]
async fn credentials_are_rotated_without_a_gap_and_the_old_ones_get_nothing_more() {
    let mut scene = Scene::new(slow()).await;
    let ids = scene.abandoned_many(150).await;
    scene.program = patient(scene.program);
    let old = scene.program.start(["run"]);
    let instance = "SELECT instance FROM geft_sweeper.processes WHERE api IS NOT NULL";
    let pool = scene.database.pool();
    let shown = async || sqlx::query_scalar::<_, String>(instance).fetch_optional(pool).await.unwrap();
    eventually(LIMIT, async || shown().await.is_some() && scene.sandbox.counts().arrived(Endpoint::Cancel) > 5).await;

    let other = another_provider(&ids).await;
    other.set_faults(slow()).unwrap();
    let program = patient(program(&scene, &other));
    program.run(["accept-api", "--actor", "alice"]).await.expect_code(0);
    let new = program.start(["run"]);
    other.wait_for_requests(|counts| counts.finished(Endpoint::Cancel) > 2).await;
    let beside = scene.sandbox.counts().finished(Endpoint::Cancel);
    scene.sandbox.wait_for_requests(|counts| counts.finished(Endpoint::Cancel) > beside).await;

    let retired = scene.program.run(["accept-api", "--actor", "bob", "--retire"]).await.expect_code(0);
    let since = Instant::now();
    let users = "SELECT instance FROM geft_sweeper.accepted_apis a JOIN geft_sweeper.processes p ON p.api = a.id
        WHERE retired_at IS NOT NULL";
    let user: Option<String> = sqlx::query_scalar(users).fetch_optional(pool).await.unwrap();
    assert!(user.is_none_or(|user| retired.stdout.contains(&user)), "{}", retired.stdout);
    assert!(retired.stdout.contains("it is in use by"), "{}", retired.stdout);
    old.logged("\"brake.applied\"").await;
    assert!(since.elapsed() < Duration::from_secs(5), "it went on for {:?}", since.elapsed());
    // The one that was under way.
    scene
        .sandbox
        .wait_for_requests(|counts| counts.arrived(Endpoint::Cancel) == counts.finished(Endpoint::Cancel))
        .await;
    let sent = scene.sandbox.counts().arrived(Endpoint::Cancel);
    eventually(LIMIT, async || scene.states().await == [("canceled".to_owned(), 150)]).await;
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Cancel), sent, "it was sent to after it was retired");
    assert_eq!(sent + other.counts().arrived(Endpoint::Cancel), 150, "each session was sent for once");
    let known: Vec<_> = accepted(pool).await.into_iter().map(|(_, _, retired)| retired).collect();
    assert_eq!(known, [Some("bob".to_owned()), None]);
    drop((old, new));
    scene.close().await;
}

#[tokio::test]
async fn who_waits_for_slow_answers_notices_that_the_api_was_retired() {
    let faults = Faults { cancel: EndpointFaults { latency_ms: 2_500, ..EndpointFaults::default() }, ..slow() };
    let scene = Scene::new(faults).await.with("api.max_in_flight", 2).with("api.token_use", "shared");
    scene.abandoned_many(8).await;
    let sweep = scene.program.start(["sweep", "--json"]);
    scene.sandbox.wait_for_requests(|counts| counts.arrived(Endpoint::Cancel) == 2).await;
    scene.program.run(["accept-api", "--actor", "bob", "--retire"]).await.expect_code(0);
    let report = sweep.finished().await.expect_code(1).json();
    assert!(report["error"].as_str().unwrap().contains("was retired by bob"), "{report}");
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Cancel), 2);
    assert_eq!(scene.states().await, [("canceled".to_owned(), 2), ("pending".to_owned(), 6)]);
    let unsent = "SELECT count(*) FROM geft_sweeper.cancellations WHERE state = 'pending' AND attempts = 0";
    let unsent: i64 = sqlx::query_scalar(unsent).fetch_one(scene.database.pool()).await.unwrap();
    assert_eq!(unsent, 6, "what was claimed was given back");
    scene.close().await;
}

#[tokio::test]
async fn a_retired_api_stays_refused_whatever_the_setting_until_a_person_accepts_it_again() {
    let scene = Scene::new(Faults::default()).await.with("brakes.unknown_api", "accept");
    let nothing = scene.program.run(["accept-api", "--actor", "bob", "--retire"]).await.expect_code(1);
    assert!(nothing.stderr.contains("nothing to retire"), "{}", nothing.stderr);
    scene.sweep().await;
    let retired = scene.program.run(["accept-api", "--actor", "bob", "--retire"]).await.expect_code(0);
    assert!(!retired.stdout.contains("in use"), "{}", retired.stdout);
    let swept = scene.program.run(["sweep"]).await.expect_code(1);
    assert!(swept.stderr.contains("was retired by bob"), "{}", swept.stderr);
    scene.program.run(["accept-api", "--actor", "alice"]).await.expect_code(0);
    scene.sweep().await;
    let known: Vec<_> = accepted(scene.database.pool()).await.into_iter().map(|(_, _, retired)| retired).collect();
    assert_eq!(known, [Some("bob".to_owned()), None], "who retired it is still known");
    scene.close().await;
}

#[tokio::test]
async fn nobody_accepts_an_api_without_a_name() {
    let scene = Scene::new(Faults::default()).await;
    scene.program.run(["accept-api"]).await.expect_code(2);
    for name in ["", " ", "two\nlines"] {
        let said = scene.program.run(["accept-api", "--actor", name]).await.expect_code(2);
        assert!(said.stderr.contains("give the name"), "{}", said.stderr);
    }
    assert_eq!(accepted(scene.database.pool()).await, []);
    scene.close().await;
}
