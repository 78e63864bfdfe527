//! The questions themselves: asked once, lost with nobody, and no reason to cancel where they are not answered.

use std::time::Duration;

use geft_sweeper::sandbox::{
    Endpoint, EndpointFaults, Fault, Faults, Moment, NewSession, RetryAfter, RetryAfterForm, SessionFaults,
};
use nix::sys::signal::Signal;

use super::{aged_as, aged_in, as_it_was, asked, let_pass, standing, waiting};
use crate::support::eventually;

fn always(fault: &str) -> EndpointFaults {
    EndpointFaults::always(fault.parse::<Fault>().unwrap())
}

#[tokio::test]
async fn two_processes_ask_once() {
    let scene = waiting(Faults::default()).await;
    let ids = [aged_in(&scene, "InProgress").await, aged_in(&scene, "Initiated").await];
    let hold = scene.sandbox.hold(Endpoint::Status, Moment::AfterEffect);
    let first = scene.program.start(["sweep", "--json"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Status) == 2).await;
    let second = scene.sweep().await.json();
    assert_eq!((&second["waiting"], &second["canceled"]), (&0.into(), &0.into()), "{second}");
    assert_eq!(asked(&scene), (2, 0));
    hold.release();
    let report = first.finished().await.expect_code(0).json();
    assert_eq!((&report["waiting"], &report["canceled"]), (&1.into(), &1.into()), "{report}");
    assert_eq!(asked(&scene), (2, 1));
    assert_eq!(standing(&scene, ids[0]).await, as_it_was("pending", 0, 0));
    scene.close().await;
}

#[tokio::test]
async fn a_process_that_dies_while_it_asks_leaves_no_trace() {
    let scene = waiting(Faults::default()).await;
    let id = aged_in(&scene, "Initiated").await;
    let hold = scene.sandbox.hold(Endpoint::Status, Moment::AfterEffect);
    let killed = scene.program.start(["sweep"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Status) == 1).await;
    assert_eq!(standing(&scene, id).await, as_it_was("pending", 0, 0), "a question is no claim");
    killed.signal(Signal::SIGKILL);
    killed.finished().await;
    hold.release();
    assert_eq!(scene.sweep().await.json()["canceled"], 0, "the question may still be under way");
    let_pass(&scene, "60 seconds").await;
    assert_eq!(scene.sweep().await.json()["canceled"], 1);
    assert_eq!((standing(&scene, id).await, asked(&scene)), (as_it_was("canceled", 1, 1), (2, 1)));
    scene.close().await;
}

#[tokio::test]
async fn a_process_that_stops_while_it_asks_finishes_the_question_and_gives_the_rest_back() {
    let scene = waiting(Faults::default()).await.with("api.max_in_flight", 1);
    let ids = [aged_in(&scene, "Initiated").await, aged_in(&scene, "Initiated").await];
    let hold = scene.sandbox.hold(Endpoint::Status, Moment::AfterEffect);
    let stopped = scene.program.start(["sweep"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Status) == 1).await;
    stopped.signal(Signal::SIGTERM);
    stopped.logged("process.signal").await;
    hold.release();
    stopped.finished().await.expect_code(1);
    for id in ids {
        let standing = scene.standing(id).await;
        assert_eq!((standing.state.as_str(), standing.attempts, standing.is_due), ("pending", 0, true));
    }
    assert_eq!(asked(&scene), (1, 0));
    assert_eq!(scene.sweep().await.json()["canceled"], 2);
    scene.close().await;
}

#[tokio::test]
async fn nobody_is_canceled_on_ignorance_however_long_it_lasts() {
    let scene = waiting(Faults::default()).await;
    let faults = Some(SessionFaults { cancel: None, status: Some(always("502")) });
    let id = aged_as(&scene, NewSession { faults, ..NewSession::default() }).await;
    let swept = scene.sweep().await;
    assert_eq!((&swept.json()["waiting"], asked(&scene)), (&0.into(), (1, 0)));
    assert!(swept.stderr.contains("status.unanswered"), "{}", swept.stderr);
    let_pass(&scene, "61 seconds").await;
    scene.sweep().await;
    assert_eq!((standing(&scene, id).await, asked(&scene)), (as_it_was("pending", 0, 0), (2, 0)));
    scene.sweep().await;
    assert_eq!(asked(&scene), (2, 0), "it waits for its pause");
    let_pass(&scene, "31 minutes").await;
    assert_eq!(scene.sweep().await.json()["canceled"], 0);
    assert_eq!((standing(&scene, id).await, asked(&scene)), (as_it_was("pending", 0, 0), (3, 0)));
    scene.close().await;
}

#[tokio::test]
async fn a_retry_is_asked_for_again_and_keeps_its_pause() {
    let scene = waiting(Faults::default()).await;
    let faults =
        Some(SessionFaults { cancel: Some(EndpointFaults::first(["500".parse::<Fault>().unwrap()])), status: None });
    let id = aged_as(&scene, NewSession { faults, ..NewSession::default() }).await;
    assert_eq!(scene.sweep().await.json()["retried"], 1);
    scene.sweep().await;
    assert_eq!(asked(&scene), (1, 1), "a retry waits for its time");
    scene.sandbox.set_status(id, "InProgress", None);
    scene.let_pauses_pass().await;
    assert_eq!(scene.sweep().await.json()["waiting"], 1);
    assert_eq!((standing(&scene, id).await, asked(&scene)), (as_it_was("pending", 1, 1), (2, 1)));
    scene.sandbox.set_status(id, "Initiated", None);
    assert_eq!(scene.sweep().await.json()["canceled"], 1);
    assert_eq!((standing(&scene, id).await, asked(&scene)), (as_it_was("canceled", 2, 2), (3, 2)));
    scene.close().await;
}

#[tokio::test]
async fn an_answer_that_the_ledger_cannot_store_holds_up_nothing_and_ends_its_session() {
    let scene = waiting(Faults::default()).await;
    let check = "ALTER TABLE geft_sweeper.cancellations ADD CONSTRAINT no_poison CHECK (status_details <> 'EFTPOISON')";
    sqlx::query(check).execute(scene.database.pool()).await.unwrap();
    let poison = aged_in(&scene, "Completed").await;
    scene.sandbox.set_status(poison, "Completed", Some("EFTPOISON"));
    let good = aged_in(&scene, "Expired").await;
    let swept = scene.sweep().await;
    assert_eq!(swept.json()["already_terminal"], 2, "{}", swept.stderr);
    assert!(swept.stderr.contains("session.texts_dropped") && swept.stderr.contains("EFTPOISON"), "{}", swept.stderr);
    assert_eq!(scene.standing(poison).await.session_status.as_deref(), Some("Completed"));
    assert_eq!(scene.standing(good).await.session_status.as_deref(), Some("Expired"));
    scene.close().await;
}

#[tokio::test]
async fn an_end_that_the_database_does_not_take_at_once_is_written_again_and_said_once() {
    let scene = waiting(Faults::default()).await;
    // A sequence is not set back with the statement that fails.
    let refuse_once = "CREATE SEQUENCE tries;
        CREATE FUNCTION refuse_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('tries') = 1 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '55000'; END IF;
            RETURN NEW; END $$;
        CREATE TRIGGER refuse_once BEFORE UPDATE ON geft_sweeper.cancellations FOR EACH ROW
            WHEN (NEW.state = 'already_terminal') EXECUTE FUNCTION refuse_once()";
    sqlx::raw_sql(refuse_once).execute(scene.database.pool()).await.unwrap();
    aged_in(&scene, "Completed").await;
    let swept = scene.sweep().await;
    assert_eq!(swept.json()["paid_after_abandonment"], 1, "{}", swept.stderr);
    assert!(swept.stderr.contains("ledger.not_writing"), "{}", swept.stderr);
    assert_eq!(swept.stderr.matches("session.paid_after_abandonment").count(), 1, "{}", swept.stderr);
    assert_eq!(asked(&scene), (1, 0));
    scene.close().await;
}

#[tokio::test]
async fn an_end_that_cannot_be_written_before_the_process_ends_is_said_in_full() {
    let scene = waiting(Faults::default()).await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '55000'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON geft_sweeper.cancellations FOR EACH ROW
            WHEN (NEW.state = 'already_terminal') EXECUTE FUNCTION refuse()";
    sqlx::raw_sql(refuse).execute(scene.database.pool()).await.unwrap();
    let id = aged_in(&scene, "Completed").await;
    let sweep = scene.program.start(["sweep"]);
    sweep.logged("ledger.not_writing").await;
    sweep.signal(Signal::SIGTERM);
    let ended = sweep.finished().await;
    assert_ne!(ended.code(), Some(0), "{}", ended.stderr);
    let unwritten = ended.stderr.lines().find(|line| line.contains("session.unwritten")).unwrap_or_default();
    assert!(unwritten.contains(&id.to_string()) && unwritten.contains("Completed"), "{}", ended.stderr);
    scene.close().await;
}

#[tokio::test]
async fn a_backlog_of_questions_is_asked_in_parallel_but_never_beyond_the_limit() {
    let latency = EndpointFaults { latency_ms: 50, ..EndpointFaults::default() };
    let faults = Faults { status: latency.clone(), cancel: latency, ..Faults::default() };
    let scene = waiting(faults).await.with("api.max_in_flight", 8).with("api.token_use", "shared");
    for number in 0..60 {
        aged_in(&scene, if number % 3 == 0 { "InProgress" } else { "Initiated" }).await;
    }
    let report = scene.sweep().await.json();
    assert_eq!((&report["waiting"], &report["canceled"]), (&20.into(), &40.into()), "{report}");
    assert_eq!(asked(&scene), (60, 40));
    let most = scene.sandbox.requests().iter().map(|request| request.in_flight).max();
    assert!(most.is_some_and(|most| (4..=8).contains(&most)), "{most:?}");
    scene.close().await;
}

#[tokio::test]
async fn after_a_wish_to_be_left_alone_no_question_leaves_that_waited_for_its_turn() {
    let faults = Faults {
        status: EndpointFaults::first(["429".parse::<Fault>().unwrap()]),
        retry_after: RetryAfter { seconds: 60, ..RetryAfter::default() },
        ..Faults::default()
    };
    let scene = waiting(faults).await.with("api.max_requests_per_second", 5).with("api.token_use", "shared");
    for _ in 0..20 {
        aged_in(&scene, "Initiated").await;
    }
    scene.program.run(["sweep", "--json"]).await;
    assert!((1..=3).contains(&asked(&scene).0) && asked(&scene).1 == 0, "{:?}", asked(&scene));
    let due = "SELECT count(*) FROM geft_sweeper.cancellations WHERE state = 'pending' AND next_attempt_at <= now()";
    let due: i64 = sqlx::query_scalar(due).fetch_one(scene.database.pool()).await.unwrap();
    assert!(due >= 17, "who was not asked is as it was: {due}");
    scene.close().await;
}

#[tokio::test]
async fn an_outage_is_noticed_by_questions_and_its_end_too() {
    let silent = RetryAfter { form: RetryAfterForm::None, ..RetryAfter::default() };
    let scene =
        waiting(Faults { status: always("503"), cancel: always("503"), retry_after: silent, ..Faults::default() })
            .await;
    for _ in 0..20 {
        aged_in(&scene, "Initiated").await;
    }
    let daemon = scene.program.with("schedule.sweep", "* * * * * *").start(["run"]);
    daemon.logged("\"circuit.opened\"").await;
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Cancel), 0);
    scene.sandbox.set_faults(Faults::default()).unwrap();
    daemon.logged("\"circuit.closed\"").await;
    // Who was not answered is asked again after a minute.
    let pool = scene.database.pool();
    let soon = "UPDATE geft_sweeper.cancellations SET next_attempt_at = now() WHERE state = 'pending'";
    sqlx::query(soon).execute(pool).await.unwrap();
    let canceled = "SELECT count(*) FROM geft_sweeper.cancellations WHERE state = 'canceled' AND attempts = 1";
    let count = async || sqlx::query_scalar::<_, i64>(canceled).fetch_one(pool).await.unwrap();
    eventually(Duration::from_secs(30), async || count().await == 20).await;
}

#[tokio::test]
async fn an_outage_of_cancels_alone_costs_no_session_while_questions_are_answered() {
    let silent = RetryAfter { form: RetryAfterForm::None, ..RetryAfter::default() };
    let scene = waiting(Faults { cancel: always("500"), retry_after: silent, ..Faults::default() }).await;
    for _ in 0..100 {
        aged_in(&scene, "Initiated").await;
    }
    let program = scene
        .program
        .with("schedule.sweep", "* * * * * *")
        .with("retry.max_attempts", 5)
        .with("retry.initial_interval", "10ms")
        .with("retry.max_interval", "20ms");
    let daemon = program.start(["run"]);
    daemon.logged("\"circuit.opened\"").await;
    let opened = scene.sandbox.counts().arrived(Endpoint::Cancel);
    // Attempts to find out after about 1, 2 and 4 seconds.
    scene.sandbox.wait_for_requests(|counts| counts.finished(Endpoint::Cancel) >= opened + 4).await;
    let pool = scene.database.pool();
    let in_state = async |state: &str| {
        let count = "SELECT count(*) FROM geft_sweeper.cancellations WHERE state = $1";
        sqlx::query_scalar::<_, i64>(count).bind(state).fetch_one(pool).await.unwrap()
    };
    assert_eq!(in_state("failed").await, 0, "{}", daemon.stderr());
    assert_eq!(daemon.events("circuit.closed").len(), 0, "{}", daemon.stderr());
    scene.sandbox.set_faults(Faults::default()).unwrap();
    eventually(Duration::from_mins(1), async || in_state("canceled").await == 100).await;
}
