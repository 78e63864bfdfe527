//! What holds sending back: Retry-After, slow start, and the rate that all processes share. And one bad row holds up
//! nothing.

use std::time::Duration;

use geft_sweeper::sandbox::{
    Answered, Endpoint, EndpointFaults, Fault, Faults, Moment, Request, RetryAfter, SessionFaults,
};
use serde_json::Value;
use uuid::Uuid;

use crate::support::Scene;

fn fault(name: &str) -> Fault {
    name.parse().unwrap()
}

/// The first cancel meets this, and status never answers.
fn first_cancel(name: &str) -> SessionFaults {
    SessionFaults { cancel: Some(EndpointFaults::first([fault(name)])), status: None }
}

fn retry_after(seconds: u32) -> Faults {
    Faults { retry_after: RetryAfter { seconds, ..RetryAfter::default() }, ..Faults::default() }
}

fn cancels(scene: &Scene) -> Vec<Request> {
    let mut cancels = scene.sandbox.requests();
    cancels.retain(|request| request.endpoint == Endpoint::Cancel);
    cancels.sort_by_key(|request| request.arrived_ms);
    cancels
}

/// Makes a session the first that is due: claims go by the due time, then by the id.
async fn abandoned_first(scene: &Scene, faults: SessionFaults) -> Uuid {
    let id = Uuid::from_u128(Uuid::new_v4().as_u128() >> 64);
    let session =
        geft_sweeper::sandbox::NewSession { session_id: Some(id), faults: Some(faults), ..Default::default() };
    scene.abandoned_as(session).await
}

#[tokio::test]
async fn a_retry_after_holds_the_whole_process_back() {
    for code in ["429", "503"] {
        let scene = Scene::new(retry_after(600)).await.with("api.max_in_flight", 1);
        let first = abandoned_first(&scene, first_cancel(code)).await;
        scene.abandoned_many(20).await;
        let swept = scene.sweep().await;
        assert_eq!(scene.sandbox.counts().arrived(Endpoint::Cancel), 1, "{code}: the others were sent all the same");
        assert_eq!(scene.only_row(first).await.pause, Some(600.0));
        assert_eq!(scene.states().await, [("pending".to_owned(), 21)]);
        let report = swept.json();
        assert_eq!((&report["status"], &report["retried"]), (&"finished".into(), &1.into()));
        let said = swept.stderr.lines().last().unwrap();
        assert!(said.contains("not everything was sent"), "{said}");
        scene.close().await;
    }
}

#[tokio::test]
async fn who_waits_for_a_turn_when_sending_is_held_back_does_not_send() {
    // Whichever is the first to have a turn is told to wait.
    let faults = Faults { cancel: EndpointFaults::first([fault("429")]), ..retry_after(600) };
    let scene = Scene::new(faults).await.with("api.max_requests_per_second", 5);
    let scene = scene.with("api.token_use", "shared").with("api.max_in_flight", 32);
    scene.abandoned_many(32).await;
    scene.sweep().await;
    let sent = scene.sandbox.counts().arrived(Endpoint::Cancel);
    assert!(sent <= 3, "{sent} were sent, though the first was told to wait");
    scene.close().await;
}

#[tokio::test]
async fn with_wait_a_sweep_goes_on_after_the_hold_with_one_request_and_doubles() {
    let scene = Scene::new(retry_after(1)).await.with("api.max_in_flight", 8).with("api.token_use", "shared");
    // Only the one that is told to wait is under way when it is.
    abandoned_first(&scene, first_cancel("429")).await;
    let hold = scene.sandbox.hold(Endpoint::Authorize, Moment::BeforeEffect);
    let sweep = scene.program.start(["sweep", "--json", "--wait", "30s"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Authorize) == 1).await;
    scene.abandoned_many(24).await;
    // They are taken on by hand: discovery is over.
    let take_on = "INSERT INTO geft_sweeper.cancellations (session_id, source_key, reason, sweep_id, next_attempt_at)
        SELECT session_id, session_id::text, 'abandoned', (SELECT id FROM geft_sweeper.sweeps), now()
          FROM payment_sessions ON CONFLICT DO NOTHING";
    hold.release();
    scene.sandbox.wait_for_requests(|counts| counts.finished(Endpoint::Cancel) == 1).await;
    let taken = sqlx::query(take_on).execute(scene.database.pool()).await.unwrap();
    assert_eq!(taken.rows_affected(), 24);
    let faults = Faults { cancel: EndpointFaults { latency_ms: 50, ..EndpointFaults::default() }, ..retry_after(1) };
    scene.sandbox.set_faults(faults).unwrap();
    let report = sweep.finished().await.expect_code(0).json();
    assert_eq!((&report["canceled"], &report["retried"]), (&25.into(), &1.into()), "{report}");

    let cancels = cancels(&scene);
    assert_eq!(cancels[0].answered, Answered::Code(429));
    let pause = cancels[1].arrived_ms - cancels[0].finished_ms;
    assert!((990..5_000).contains(&pause), "{pause} ms");
    // One request, then two, then four, and never more than the limit.
    assert_eq!(cancels[1].in_flight, 1);
    let second_round = cancels.iter().filter(|one| one.arrived_ms < cancels[1].finished_ms).count();
    assert_eq!(second_round, 2, "another was sent before the first had its answer");
    let doubled = cancels[2..4].iter().map(|one| one.in_flight).max();
    assert!(doubled <= Some(2), "{cancels:#?}");
    assert!(cancels.iter().all(|one| one.in_flight <= 8));
    assert!(cancels.iter().any(|one| one.in_flight > 2), "it never grew: {cancels:#?}");
    scene.close().await;
}

#[tokio::test]
async fn with_wait_retries_that_fall_due_are_made_in_the_same_sweep() {
    let scene = Scene::new(Faults::default()).await.with("retry.initial_interval", "100ms");
    let faults = EndpointFaults::first(["500", "reset", "409"].map(fault));
    let soon = scene.abandoned_with(SessionFaults { cancel: Some(faults), status: None }).await;
    let report = scene.program.run(["sweep", "--json", "--wait", "20s"]).await.expect_code(0).json();
    assert_eq!((&report["canceled"], &report["retried"]), (&1.into(), &3.into()));
    let rows = scene.rows(soon).await;
    let pauses: Vec<Option<f64>> = rows.iter().map(|row| row.pause).collect();
    assert_eq!(pauses, [Some(0.1), Some(0.2), Some(0.4), None]);
    let early: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM geft_sweeper.cancel_attempts one JOIN geft_sweeper.cancel_attempts next
             ON next.session_id = one.session_id AND next.attempt = one.attempt + 1
          WHERE next.started_at < one.next_attempt_at",
    )
    .fetch_one(scene.database.pool())
    .await
    .unwrap();
    assert_eq!(early, 0, "an attempt was made before its time");
    scene.close().await;
}

#[tokio::test]
async fn a_session_that_is_not_due_is_left_alone() {
    let scene = Scene::new(Faults::default()).await;
    let id = scene.abandoned_with(first_cancel("500")).await;
    for _ in 0..3 {
        scene.sweep().await;
    }
    assert_eq!((scene.rows(id).await.len(), scene.sandbox.cancels(id)), (1, 1));
    scene.close().await;
}

#[tokio::test]
async fn a_row_that_the_ledger_cannot_store_holds_up_nothing_and_is_on_record_without_its_texts() {
    let scene = Scene::new(Faults::default()).await;
    let check =
        "ALTER TABLE geft_sweeper.cancel_attempts ADD CONSTRAINT no_poison CHECK (status_details <> 'EFTPOISON')";
    sqlx::query(check).execute(scene.database.pool()).await.unwrap();
    let good = scene.abandoned_many(40).await;
    let completed = scene.abandoned_in("Completed", Some("EFTPOISON")).await;
    let odd = geft_sweeper::sandbox::NewSession {
        status: Some("OnHold".to_owned()),
        status_details: Some("EFTPOISON".to_owned()),
        faults: Some(SessionFaults { cancel: Some(EndpointFaults::always(fault("409"))), status: None }),
        ..Default::default()
    };
    let odd = scene.abandoned_as(odd).await;
    // All of them come back together, so that they are one batch.
    let faults =
        Faults { cancel: EndpointFaults { latency_ms: 100, ..EndpointFaults::default() }, ..Faults::default() };
    scene.sandbox.set_faults(faults).unwrap();
    let scene = scene.with("api.max_in_flight", 64).with("api.token_use", "shared");
    let swept = scene.sweep().await;
    let report = swept.json();
    assert_eq!(
        (&report["canceled"], &report["already_terminal"], &report["retried"]),
        (&40.into(), &1.into(), &1.into())
    );
    for id in good {
        assert_eq!(scene.only_row(id).await.brief(), ("canceled", Some(200), Some("Canceled"), Some("EFT0501")));
    }
    // What the status says of money is one of the documented words, and is kept.
    let row = scene.only_row(completed).await;
    assert_eq!(row.brief(), ("already_terminal", Some(400), Some("Completed"), None));
    assert!(row.error().contains("refused to store"), "{row:?}");
    let row = scene.only_row(odd).await;
    assert_eq!((row.brief(), row.pause), (("rejected", Some(409), None, None), Some(600.0)));
    assert_eq!(swept.stderr.matches("attempt.texts_dropped").count(), 2, "{}", swept.stderr);
    assert!(swept.stderr.contains("EFTPOISON"), "the log has what the ledger could not take");
    scene.close().await;
}

#[tokio::test]
async fn two_processes_together_never_send_more_than_the_limit_in_any_second() {
    const LIMIT: usize = 8;
    let scene = Scene::new(Faults::default()).await.with("api.max_requests_per_second", 8);
    // Few are claimed at a time, so that both processes have some.
    let scene = scene.with("api.max_in_flight", 2);
    // Every second one has ended already, so that status is asked as well.
    for number in 0..20 {
        if number % 2 == 0 {
            scene.abandoned().await
        } else {
            scene.abandoned_in("Expired", None).await
        };
    }
    // The second begins when there is something for it: while the first discovers, there is nothing to do yet.
    let first = scene.program.start(["sweep", "--json"]);
    scene.sandbox.wait_for_requests(|counts| counts.arrived(Endpoint::Cancel) >= 1).await;
    let both = [first, scene.program.start(["sweep", "--json"])];
    let mut done = 0;
    for sweep in both {
        let report = sweep.finished().await.expect_code(0).json();
        done += [&report["canceled"], &report["already_terminal"]].map(Value::as_i64).iter().flatten().sum::<i64>();
    }
    assert_eq!(done, 20);
    let processes: i64 = sqlx::query_scalar("SELECT count(DISTINCT instance) FROM geft_sweeper.cancel_attempts")
        .fetch_one(scene.database.pool())
        .await
        .unwrap();
    assert_eq!(processes, 2, "one process did all the work");
    let mut arrivals: Vec<u64> = scene.sandbox.requests().iter().map(|request| request.arrived_ms).collect();
    arrivals.sort_unstable();
    let counts = scene.sandbox.counts();
    assert_eq!((counts.arrived(Endpoint::Cancel), counts.arrived(Endpoint::Status)), (20, 10));
    assert_eq!((counts.arrived(Endpoint::Authorize), arrivals.len()), (2, 32));
    for start in 0..arrivals.len() {
        let within = arrivals[start..].iter().take_while(|at| **at < arrivals[start] + 1_000).count();
        assert!(within <= LIMIT + 1, "{within} within a second of {} ms: {arrivals:?}", arrivals[start]);
    }
    let lasted = Duration::from_millis(arrivals[arrivals.len() - 1] - arrivals[0]);
    assert!(lasted < Duration::from_secs(10), "the limit was used: {lasted:?}");
    scene.close().await;
}
