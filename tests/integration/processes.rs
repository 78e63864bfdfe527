//! Several processes on one backlog, and processes that die or are halted: each session is held by one at a time, and
//! every request has its row.

use std::collections::HashSet;
use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Moment};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Program, Running, Shop, events, eventually};

const LIMIT: Duration = Duration::from_secs(30);
const YEARLY: &str = "0 0 0 1 1 *";
const EVERY_SECOND: &str = "* * * * * *";

/// A daemon that discovers soon, and one that only takes up what is there.
fn discovering(shop: &Shop) -> Program {
    shop.program().with("schedule.sweep", EVERY_SECOND).with("server.listen", "127.0.0.1:0")
}

fn instance(daemon: &Running) -> String {
    daemon.events("process.started")[0]["process.instance"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn after_a_kill_every_request_gets_its_row_and_every_session_its_end() {
    let shop = Shop::new().await;
    let ids = shop.abandon(12).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let daemon = discovering(&shop).with("api.max_in_flight", 4).start(["run"]);
    shop.held(Endpoint::Cancel, 4).await;
    let killed = instance(&daemon);
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.finished().await.code(), None);
    hold.release();
    let leases = shop.end_leases().await;
    assert!(leases >= 4, "{leases}");

    let program = shop.program().with("retry.initial_interval", "100ms");
    let report = program.run(["sweep", "--wait", "30s", "--json"]).await.expect_code(0).json();
    assert_eq!((report["status"].as_str(), report["already_terminal"].as_i64()), (Some("finished"), Some(4)));
    assert_eq!(json!(shop.states().await), json!({ "canceled": 8, "already_terminal": 4 }));
    shop.assert_no_gap().await;
    for id in &ids {
        let outcomes = shop.outcomes(*id).await;
        let (requests, rows) = (shop.provider.cancels(*id), u64::try_from(outcomes.len()).unwrap());
        assert!(requests <= rows, "{requests} requests and only {outcomes:?}");
        if requests == 2 {
            assert_eq!(outcomes, ["interrupted", "already_terminal"]);
        }
    }
    let interrupted = "SELECT count(*) FROM geft_sweeper.cancel_attempts WHERE outcome = 'interrupted'";
    assert_eq!(shop.value::<i64>(interrupted).await, leases);
    let by = "SELECT DISTINCT instance FROM geft_sweeper.cancel_attempts WHERE outcome = 'interrupted'";
    assert_eq!(shop.value::<String>(by).await, killed, "the row names the process that made the attempt");
    let sweep = "SELECT status FROM geft_sweeper.sweeps ORDER BY started_at LIMIT 1";
    assert_eq!(shop.value::<String>(sweep).await, "interrupted", "the next sweep closes the row of the dead");
}

#[tokio::test]
async fn while_its_lease_runs_nobody_takes_a_dead_process_session() {
    let shop = Shop::new().await;
    let session = shop.abandon(1).await[0];
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let daemon = discovering(&shop).start(["run"]);
    shop.held(Endpoint::Cancel, 1).await;
    daemon.signal(Signal::SIGKILL);
    daemon.finished().await;
    hold.release();
    shop.program().run(["sweep"]).await.expect_code(0);
    assert_eq!((shop.number("in_flight").await, shop.provider.cancels(session)), (1, 1));
    assert_eq!(shop.outcomes(session).await, Vec::<String>::new());
}

/// Lets this many processes work on one backlog; none goes on before all of them have claimed a part of it.
async fn share_one_backlog(processes: u64) {
    let shop = Shop::new().await;
    let ids = shop.abandon(500).await;
    let program = shop.program().with("api.max_in_flight", 8).with("api.timeout", "15s");
    let hold = shop.provider.hold(Endpoint::Authorize, Moment::AfterEffect);
    let mut running = Vec::new();
    for number in 1..=processes {
        running.push(program.start(["sweep", "--wait", "30s"]));
        shop.held(Endpoint::Authorize, number).await;
    }
    hold.release();
    for process in running {
        process.finished().await.expect_code(0);
    }
    assert_eq!(json!(shop.states().await), json!({ "canceled": 500 }));
    assert_eq!(shop.requests_and_rows(&ids).await, vec![(1, 1); 500]);
    assert_eq!(shop.provider.counts().overlapping_cancels, 0);
    shop.assert_no_gap().await;
    let instances = "SELECT count(DISTINCT instance) FROM geft_sweeper.cancel_attempts";
    assert_eq!(shop.value::<i64>(instances).await, i64::try_from(processes).unwrap());
}

#[tokio::test]
async fn two_processes_cancel_each_session_of_one_backlog_once() {
    share_one_backlog(2).await;
}

#[tokio::test]
async fn four_processes_cancel_each_session_of_one_backlog_once() {
    share_one_backlog(4).await;
}

#[tokio::test]
async fn two_daemons_on_one_schedule_cancel_each_session_once() {
    let shop = Shop::new().await;
    let ids = shop.abandon(200).await;
    let program = discovering(&shop).with("api.max_in_flight", 4);
    let daemons = [program.start(["run"]), program.start(["run"])];
    eventually(LIMIT, async || shop.number("canceled").await == 200).await;
    for daemon in daemons {
        daemon.signal(Signal::SIGTERM);
        daemon.finished().await.expect_code(0);
    }
    assert_eq!(shop.requests_and_rows(&ids).await, vec![(1, 1); 200]);
    shop.assert_no_gap().await;
    let own = "SELECT count(*) FROM geft_sweeper.sweeps WHERE status NOT IN ('finished', 'stopped')";
    assert_eq!(shop.value::<i64>(own).await, 0, "a process that is alive is not taken for a dead one");
}

#[tokio::test]
async fn a_result_that_comes_after_a_take_over_changes_nothing_and_is_said_in_full() {
    let shop = Shop::new().await;
    let session = shop.abandon(1).await[0];
    shop.provider.set_status(session, "Completed", Some("EFT0302")).unwrap();
    // Canceling a completed session leads to the status question: that is where the first process is halted.
    let hold = shop.provider.hold(Endpoint::Status, Moment::AfterEffect);
    let late = discovering(&shop).start(["run"]);
    let endpoints = late.endpoints().await;
    shop.held(Endpoint::Status, 1).await;
    late.signal(Signal::SIGSTOP);
    assert_eq!(shop.end_leases().await, 1);
    // The answer waits in the halted process's socket while another one takes the session over and ends it.
    hold.release();
    let program = shop.program().with("retry.initial_interval", "100ms");
    program.run(["sweep", "--wait", "30s"]).await.expect_code(0);
    let (rows, state) = (audit(&shop).await, session_row(&shop).await);
    assert_eq!(shop.outcomes(session).await, ["interrupted", "already_terminal"]);

    late.signal(Signal::SIGCONT);
    late.logged("\"attempt.late\"").await;
    assert_eq!((audit(&shop).await, session_row(&shop).await), (rows, state));
    let event = &late.events("attempt.late")[0];
    assert_eq!((&event["session.id"], &event["attempt.number"]), (&json!(session), &json!(1)));
    assert_eq!((&event["attempt.outcome"], &event["http.status"]), (&json!("already_terminal"), &json!(400)));
    assert_eq!((&event["session.status"], &event["session.status_details"]), (&json!("Completed"), &json!("EFT0302")));
    assert_eq!(endpoints.metric("geft_sweeper_late_results_total").await, Some(1.0));
    let counted = endpoints.metric("geft_sweeper_attempts_total{outcome=\"already_terminal\"}").await;
    assert_eq!(counted, Some(0.0), "what another process recorded is not counted here");
}

/// The whole audit table as text.
async fn audit(shop: &Shop) -> String {
    shop.value("SELECT string_agg(a::text, E'\\n' ORDER BY id) FROM geft_sweeper.cancel_attempts a").await
}

/// The one session's whole row as text.
async fn session_row(shop: &Shop) -> String {
    shop.value("SELECT c::text FROM geft_sweeper.cancellations c").await
}

#[tokio::test]
async fn a_process_halted_beyond_its_lease_sends_nothing_more_for_what_it_held() {
    let shop = Shop::new().await;
    let ids = shop.abandon(2).await;
    let program = shop
        .program()
        .with("api.connect_timeout", "1s")
        .with("api.timeout", "2s")
        .with("retry.lease", "21s")
        .with("retry.initial_interval", "100ms")
        .with("api.max_in_flight", 1);
    // One request under way, and one session more that is claimed and waits for its turn.
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let halted = program.start(["sweep"]);
    shop.held(Endpoint::Cancel, 1).await;
    // Not in the middle of asking for a connection, which has a time limit of its own.
    let settled = "SELECT count(*) = 1 FROM geft_sweeper.sweeps WHERE left_alone IS NOT NULL";
    eventually(LIMIT, async || shop.value::<bool>(settled).await).await;
    halted.signal(Signal::SIGSTOP);
    assert_eq!(shop.number("in_flight").await, 2);
    hold.release();
    // A real lease, to its end: the halted process cannot know of one that was shortened behind its back.
    let over = "SELECT bool_and(lease_until < now()) FROM geft_sweeper.claims";
    eventually(LIMIT, async || shop.value::<bool>(over).await).await;
    program.run(["sweep", "--wait", "30s"]).await.expect_code(0);
    let mut before = shop.requests_and_rows(&ids).await;
    before.sort_unstable();
    assert_eq!(before, [(1, 2), (2, 2)], "of the first interrupted attempts, one had sent its request");

    halted.signal(Signal::SIGCONT);
    let ended = halted.finished().await.expect_code(0);
    assert_eq!(events(&ended.stderr, "attempt.late").len(), 1, "{}", ended.stderr);
    let mut after = shop.requests_and_rows(&ids).await;
    after.sort_unstable();
    assert_eq!(after, before);
    assert_eq!(json!(shop.states().await), json!({ "already_terminal": 1, "canceled": 1 }));
    shop.assert_no_gap().await;
}

#[tokio::test]
async fn instances_are_new_names_each_time() {
    let shop = Shop::new().await;
    let program = shop.program().with("schedule.sweep", YEARLY);
    let mut names = HashSet::new();
    for _ in 0..2 {
        let daemon = program.start(["run"]);
        daemon.logged("\"process.started\"").await;
        names.insert(instance(&daemon));
        daemon.signal(Signal::SIGTERM);
        daemon.finished().await.expect_code(0);
    }
    assert_eq!(names.len(), 2);
}
