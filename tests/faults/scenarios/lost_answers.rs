//! Commits whose answer is lost: the database has done it, and the process does not know.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Moment};

use crate::barrier::{At, Barrier};
use crate::harness::support::eventually;
use crate::proxy::{Flow, Way};
use crate::records::Tally;
use crate::stage::{LIMIT, Stage};

const SESSIONS: usize = 12;

/// The claim stands, its answer never came: it is read back by its token, and nothing is sent twice or left behind.
pub(super) async fn of_a_claim() -> Tally {
    let mut stage = Stage::new().await;
    stage.abandon(SESSIONS).await;
    let barrier = Barrier::close(stage.shop.url(), At::Claim).await;
    let daemon = stage.start(&stage.program()).await;
    lose_the_answer(&mut stage, barrier, "in_flight").await;
    let tally = stage.finish(vec![daemon]).await;
    assert_eq!((tally.requests, tally.rows), (SESSIONS, SESSIONS), "each claim of lost answer was used");
    tally
}

/// The rows stand, the answer never came: they are recognised, and no second row is written.
pub(super) async fn of_a_record() -> Tally {
    let mut stage = Stage::new().await;
    stage.abandon(SESSIONS).await;
    let hold = stage.shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let daemon = stage.start(&stage.program()).await;
    stage.shop.held(Endpoint::Cancel, 8).await;
    let barrier = Barrier::close(stage.shop.url(), At::Record).await;
    hold.release();
    lose_the_answer(&mut stage, barrier, "canceled").await;
    stage.all_ended().await;
    assert_eq!(daemon.running.events("attempt.late").len(), 0, "it knows its own rows again");
    let tally = stage.finish(vec![daemon]).await;
    assert_eq!((tally.requests, tally.rows), (SESSIONS, SESSIONS));
    tally
}

/// Lets what waits at the barrier commit, swallows the answer, and cuts the connection when the commit is seen.
async fn lose_the_answer(stage: &mut Stage, mut barrier: Barrier, committed: &str) {
    barrier.reached(1).await;
    let cohort = stage.database.renew();
    cohort.set(Way::ToClient, Flow::Swallow);
    barrier.open().await;
    eventually(LIMIT, async || stage.shop.number(committed).await > 0).await;
    // The commit can be seen before its answer leaves the server: time for it to be swallowed.
    tokio::time::sleep(Duration::from_millis(50)).await;
    cohort.cut();
    stage.faults += 1;
}
