//! The clocks brake: while the API and the database do not agree on the time, nothing is canceled for its age.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults, NewSession};
use uuid::Uuid;

use crate::check::Lines;
use crate::support::{Scene, eventually};

const LIMIT: Duration = Duration::from_secs(30);
const EVERY_SECOND: &str = "* * * * * *";
const HOUR: i64 = 3_600;

/// The provider's clock is so many seconds off the database's.
async fn off(scene: &Scene, seconds: i64) -> Faults {
    let now = "SELECT extract(epoch FROM clock_timestamp())::bigint";
    let now: i64 = sqlx::query_scalar(now).fetch_one(scene.database.pool()).await.unwrap();
    Faults { clock_unix_seconds: Some(now + seconds), ..Faults::default() }
}

async fn set_off(scene: &Scene, seconds: i64) {
    scene.sandbox.set_faults(off(scene, seconds).await).unwrap();
}

/// Sessions that are canceled for their age alone.
async fn aged(scene: &Scene, number: usize) -> Vec<Uuid> {
    let ids = scene.sandbox.seed(vec![NewSession::default(); number]).unwrap();
    for id in &ids {
        scene.merchant.add_as(*id, "created", Duration::from_hours(1)).await;
    }
    ids
}

#[tokio::test]
async fn aged_sessions_are_held_and_abandoned_ones_go_on() {
    for (seconds, direction) in [(3 * HOUR, "ahead"), (-3 * HOUR, "behind")] {
        let scene = Scene::new(Faults::default()).await;
        set_off(&scene, seconds).await;
        let held = aged(&scene, 3).await;
        let gone = scene.abandoned_many(3).await;
        let swept = scene.program.run(["sweep", "--json"]).await.expect_code(1);
        let report = swept.json();
        assert_eq!((&report["status"], &report["canceled"]), (&"stopped".into(), &3.into()), "{report}");
        let said = swept.stderr.lines().last().unwrap();
        assert!(said.contains(direction) && said.contains("brakes.clock_tolerance (2m)"), "{said}");
        let times = said.split_whitespace().filter(|word| word.trim_end_matches(':').ends_with('Z'));
        assert_eq!(times.count(), 2, "{said}");
        for id in held {
            let standing = scene.standing(id).await;
            let found = (standing.state.as_str(), standing.attempts, standing.is_due, scene.sandbox.cancels(id));
            assert_eq!(found, ("pending", 0, true, 0));
        }
        for id in gone {
            assert_eq!(scene.standing(id).await.state, "canceled");
        }
        assert_eq!(swept.stderr.matches("brake.applied").count(), 1, "{}", swept.stderr);
        scene.close().await;
    }
}

#[tokio::test]
async fn not_even_the_first_aged_session_is_sent_for_before_the_clocks_were_compared() {
    let scene = Scene::new(Faults::default()).await.with("api.token_use", "shared");
    set_off(&scene, HOUR).await;
    aged(&scene, 40).await;
    let swept = scene.program.run(["sweep", "--json"]).await.expect_code(1);
    assert!(swept.stderr.contains("nothing is canceled for its age"), "{}", swept.stderr);
    let counts = scene.sandbox.counts();
    assert_eq!((counts.arrived(Endpoint::Cancel), counts.arrived(Endpoint::Status)), (0, 0));
    assert!(counts.arrived(Endpoint::Authorize) <= 3, "{counts:?}");
    assert_eq!(scene.states().await, [("pending".to_owned(), 40)]);
    assert_eq!(scene.outcomes().await, []);
    scene.close().await;
}

#[tokio::test]
async fn within_the_tolerance_and_where_nothing_is_held_a_sweep_ends_well() {
    let scene = Scene::new(Faults::default()).await;
    set_off(&scene, 60).await;
    aged(&scene, 3).await;
    assert_eq!(scene.sweep().await.json()["canceled"], 3);
    set_off(&scene, HOUR).await;
    scene.abandoned_many(3).await;
    assert_eq!(scene.sweep().await.json()["canceled"], 3);
    let scene = scene.with("brakes.clock_tolerance", "2h");
    aged(&scene, 3).await;
    assert_eq!(scene.sweep().await.json()["canceled"], 3);
    scene.close().await;
}

#[tokio::test]
async fn where_only_aged_sessions_are_left_the_brake_lifts_by_itself() {
    let scene = Scene::new(Faults::default()).await;
    set_off(&scene, -HOUR).await;
    let ids = aged(&scene, 5).await;
    let scene = scene.with("schedule.sweep", EVERY_SECOND).with("server.listen", "127.0.0.1:0");
    let daemon = scene.program.start(["run"]);
    daemon.logged("\"brake.applied\"").await;
    let endpoints = daemon.endpoints().await;
    let (status, ready) = endpoints.json("/readyz").await;
    assert_eq!((status, &ready["brakes"][0]["name"]), (200, &"clocks".into()), "{ready}");
    let metric = "geft_sweeper_brake_acting{brake=\"clocks\"}";
    assert_eq!(endpoints.metric(metric).await, Some(1.0));
    // It goes on asking, and holds on.
    let asked = scene.sandbox.counts().finished(Endpoint::Authorize);
    scene.sandbox.wait_for_requests(|counts| counts.finished(Endpoint::Authorize) > asked + 1).await;
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Cancel), 0);

    scene.sandbox.set_faults(Faults::default()).unwrap();
    eventually(LIMIT, async || scene.states().await == [("canceled".to_owned(), 5)]).await;
    for id in ids {
        assert_eq!(scene.standing(id).await.attempts, 1, "being held cost nothing");
    }
    assert_eq!(endpoints.metric(metric).await, Some(0.0));
    assert_eq!((daemon.events("brake.applied").len(), daemon.events("brake.lifted").len()), (1, 1));
    scene.close().await;
}

#[tokio::test]
async fn a_clock_that_goes_wrong_meanwhile_stops_what_is_left() {
    let scene = Scene::new(Faults::default()).await.with("api.max_in_flight", 1).with("api.token_use", "shared");
    aged(&scene, 60).await;
    let sweep = scene.program.start(["sweep", "--json"]);
    let slow = |faults| Faults { cancel: EndpointFaults { latency_ms: 50, ..EndpointFaults::default() }, ..faults };
    scene.sandbox.set_faults(slow(Faults::default())).unwrap();
    scene.sandbox.wait_for_requests(|counts| counts.finished(Endpoint::Cancel) > 3).await;
    let wrong = slow(off(&scene, HOUR).await);
    let sent = scene.sandbox.counts().arrived(Endpoint::Cancel);
    scene.sandbox.set_faults(wrong).unwrap();
    sweep.finished().await.expect_code(1);
    let more = scene.sandbox.counts().arrived(Endpoint::Cancel) - sent;
    assert!(more <= 3, "{more} more were sent");
    assert!(scene.states().await.iter().any(|(state, number)| state == "pending" && *number > 40));
    scene.close().await;
}

#[tokio::test]
async fn a_database_whose_clock_is_wrong_is_found_out_by_check_too() {
    let scene = Scene::new(Faults::default()).await;
    let check = async |scene: &Scene| Lines::of(&scene.program.run(["check", "--json"]).await);
    check(&scene).await.expect("ok", "clocks", &["agree"]);
    set_off(&scene, HOUR).await;
    check(&scene).await.expect("fail", "clocks", &["brakes.clock_tolerance", "set the wrong one right"]);
    let scene = Scene { program: scene.program.without("source.max_age").without("source.open_statuses"), ..scene };
    check(&scene).await.expect("warn", "clocks", &["brakes.clock_tolerance"]);
    scene.close().await;
}
