//! An outage costs nothing: however long, of whatever kind and whoever is restarted in it, every session stays to be
//! canceled, with a backlog too small to open the circuit as well.
//!
//! Its length is in attempts: with a budget of three and pauses of milliseconds, seconds are many budgets long.

use std::time::Duration;

use futures_util::future::join_all;
use geft_sweeper::sandbox::{self, NewSession, Sandbox};
use nix::sys::signal::Signal;
use uuid::Uuid;

use super::{LIMIT, away, cancels, quick, quiet};
use crate::support::{Program, Running, Shop, eventually};

const BACKLOGS: [usize; 4] = [1, 3, 9, 200];
const BUDGET: i64 = 3;
/// How long each process lives in the outage.
const LIFE: Duration = Duration::from_millis(2_500);

fn program(shop: &Shop) -> Program {
    quick(shop)
        .with("retry.max_attempts", BUDGET)
        .with("retry.initial_interval", "10ms")
        .with("retry.max_interval", "20ms")
        .with("api.timeout", "300ms")
        .with("api.connect_timeout", "300ms")
        .with("retry.lease", "16s")
        .with("api.max_in_flight", 8)
}

/// Waits until each session's attempts are beyond its budget, where they are too few to open the circuit: an interruption
/// before that would spend the last of it.
async fn are_tried_beyond_their_budget(shop: &Shop, backlog: usize) {
    let within = "SELECT count(*) FROM geft_sweeper.cancellations WHERE finished_at IS NULL AND uncounted_running = 0";
    if backlog < 10 {
        eventually(LIMIT, async || shop.value::<i64>(within).await == 0).await;
    }
}

/// Three processes live one after the other in the outage: one is killed, one is stopped, one sees its end.
async fn live_through_it(shop: &Shop, program: &Program, backlog: usize) -> Running {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let daemon = program.start(["run"]);
        daemon.logged("\"sweep.started\"").await;
        tokio::time::sleep(LIFE).await;
        are_tried_beyond_their_budget(shop, backlog).await;
        daemon.signal(signal);
        daemon.finished().await;
    }
    let daemon = program.start(["run"]);
    daemon.logged("\"sweep.started\"").await;
    tokio::time::sleep(LIFE).await;
    assert_eq!(shop.number("failed").await, 0, "a session was given up: {}", daemon.stderr());
    daemon
}

/// The provider is back: every session is canceled, and its attempts are on record.
async fn all_is_made_good(shop: &Shop, backlog: usize) {
    shop.end_leases().await;
    let number = i64::try_from(backlog).unwrap();
    eventually(LIMIT, async || shop.number("canceled").await + shop.number("already_terminal").await == number).await;
    shop.assert_no_gap().await;
}

/// A provider that answers every cancel and every status question so.
async fn answers(fault: &str, backlog: usize) {
    let shop = Shop::new().await;
    shop.abandon(backlog).await;
    shop.provider.set_faults(away(fault)).unwrap();
    let program = program(&shop);
    let daemon = live_through_it(&shop, &program, backlog).await;
    let sent = cancels(&shop);
    if backlog == 200 {
        // Ten to open it, what was under way with them, and a few to find out; far from a request for each session.
        assert!(sent <= 10 + 8 + 12, "{fault}: {sent} were sent in the outage");
    } else {
        // On a busy machine the attempts come slowly: the outage lasts until there are more than the budgets allow.
        let budgets = u64::try_from(BUDGET).unwrap() * u64::try_from(backlog).unwrap();
        eventually(LIMIT, async || cancels(&shop) > budgets).await;
        assert_eq!(shop.number("failed").await, 0, "{fault}: a session was given up: {}", daemon.stderr());
        assert_eq!(daemon.events("circuit.opened").len(), 0, "{fault} {backlog}: too few sessions to open it");
    }
    shop.provider.set_faults(quiet()).unwrap();
    all_is_made_good(&shop, backlog).await;
}

#[tokio::test]
async fn a_provider_that_answers_503_for_long_costs_no_session() {
    join_all(BACKLOGS.map(|backlog| answers("503", backlog))).await;
}

#[tokio::test]
async fn a_provider_that_does_not_answer_for_long_costs_no_session() {
    join_all(BACKLOGS.map(|backlog| answers("timeout", backlog))).await;
}

#[tokio::test]
async fn a_provider_that_shows_a_maintenance_page_for_long_costs_no_session() {
    join_all(BACKLOGS.map(|backlog| answers("body_html_before_effect", backlog))).await;
}

/// A provider that went away while a process had a token.
async fn is_gone(backlog: usize) {
    let shop = Shop::new().await;
    let provider = |listen| async move {
        let (client_id, client_secret) = ("client".to_owned(), "secret".into());
        Sandbox::start(sandbox::Options { listen, client_id, client_secret, ..Default::default() }).await.unwrap()
    };
    let known =
        |ids: &[Uuid]| ids.iter().map(|id| NewSession { session_id: Some(*id), ..Default::default() }).collect();
    let front = provider(sandbox::Options::default().listen).await;
    let program = program(&shop).with("api.base_url", front.base_url());
    front.seed(known(&shop.abandon(1).await)).unwrap();
    let daemon = program.start(["run"]);
    eventually(LIMIT, async || shop.number("canceled").await == 1).await;
    let listen = front.address();
    front.stop().await;
    let ids = shop.abandon(backlog).await;
    let taken_on = "SELECT count(*) FROM geft_sweeper.cancellations";
    eventually(LIMIT, async || shop.value::<i64>(taken_on).await == 1 + i64::try_from(backlog).unwrap()).await;
    // This one has a token; those that start after it do not get one.
    tokio::time::sleep(LIFE).await;
    are_tried_beyond_their_budget(&shop, backlog).await;
    daemon.signal(Signal::SIGKILL);
    daemon.finished().await;
    let last = live_through_it(&shop, &program, backlog).await;

    let back = provider(listen).await;
    back.seed(known(&ids)).unwrap();
    all_is_made_good(&shop, backlog + 1).await;
    let sent: Vec<u64> = ids.iter().map(|id| back.cancels(*id)).collect();
    assert_eq!(sent, vec![1; backlog], "{}", last.stderr());
}

#[tokio::test]
async fn a_provider_that_is_gone_for_long_costs_no_session() {
    join_all(BACKLOGS.map(is_gone)).await;
}
