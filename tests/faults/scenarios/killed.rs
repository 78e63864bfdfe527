//! SIGKILL: at each step of the protocol, arranged by a barrier, and at moments left to chance.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults, Hold, Moment};

use super::Lab;
use crate::barrier::{At, Barrier};
use crate::records::Tally;
use crate::stage::{Daemon, Stage};

/// Requests under way when the process is killed.
const UNDER_WAY: usize = 4;

/// The step of the protocol at which the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The claim is written and not committed; it commits without its process.
    Claiming,
    /// The claim is committed, and no request was sent.
    Claimed,
    /// The request has arrived and had no effect.
    Sent,
    /// The request had its effect and was not answered.
    Done,
    /// The process has the answer, and nothing of it is written.
    Answered,
    /// Audit row and state are written and not committed.
    HalfRecorded {
        /// Whether they commit without their process, or are rolled back with it.
        kept: bool,
    },
}

pub(super) async fn at_step(step: Step) -> Tally {
    let mut stage = Stage::new().await;
    stage.abandon(3 * UNDER_WAY).await;
    let program = stage.program().with("api.max_in_flight", 4);
    match step {
        Step::Claiming => {
            let mut barrier = Barrier::close(stage.shop.url(), At::Claim).await;
            let daemon = stage.start(&program).await;
            barrier.reached(1).await;
            stage.kill(daemon).await;
            barrier.open().await;
        }
        Step::Claimed => at_hold(&mut stage, Endpoint::Authorize, Moment::BeforeEffect, 1).await,
        Step::Sent => at_hold(&mut stage, Endpoint::Cancel, Moment::BeforeEffect, UNDER_WAY).await,
        Step::Done => at_hold(&mut stage, Endpoint::Cancel, Moment::AfterEffect, UNDER_WAY).await,
        Step::Answered => at_barrier(&mut stage, At::Change, false).await,
        Step::HalfRecorded { kept } => at_barrier(&mut stage, At::Record, kept).await,
    }
    let sent = stage.shop.provider.counts().arrived(Endpoint::Cancel);
    let untouched = matches!(step, Step::Claiming | Step::Claimed);
    assert_eq!(sent == 0, untouched, "{step:?} was not met: {sent} requests");
    let successor = stage.start(&program).await;
    stage.finish(vec![successor]).await
}

/// Kills it while so many requests wait at the provider.
async fn at_hold(stage: &mut Stage, endpoint: Endpoint, moment: Moment, number: usize) {
    let (hold, daemon) = held(stage, endpoint, moment, number).await;
    stage.kill(daemon).await;
    hold.release();
}

/// A daemon of which so many requests wait at the provider.
async fn held(stage: &mut Stage, endpoint: Endpoint, moment: Moment, number: usize) -> (Hold, Daemon) {
    let hold = stage.shop.provider.hold(endpoint, moment);
    let program = stage.program().with("api.max_in_flight", 4);
    let daemon = stage.start(&program).await;
    stage.shop.held(endpoint, u64::try_from(number).unwrap()).await;
    (hold, daemon)
}

/// Kills it while its record waits in the database, which then keeps or loses it.
async fn at_barrier(stage: &mut Stage, at: At, kept: bool) {
    let (hold, daemon) = held(stage, Endpoint::Cancel, Moment::AfterEffect, UNDER_WAY).await;
    let mut barrier = Barrier::close(stage.shop.url(), at).await;
    hold.release();
    barrier.reached(1).await;
    stage.kill(daemon).await;
    if !kept {
        barrier.break_off().await;
    }
    barrier.open().await;
}

/// One to four processes, of which one after the other is killed at any moment and replaced.
pub(super) async fn at_random(mut lab: Lab) -> Tally {
    let kills = lab.either(50, 2);
    let mut stage = Stage::new().await;
    let cancel = EndpointFaults { latency_ms: 10, jitter_ms: 20, ..EndpointFaults::default() };
    stage.shop.provider.set_faults(Faults { cancel, ..Faults::default() }).unwrap();
    stage.abandon(200).await;
    let program = stage.program().with("api.max_in_flight", 4);
    let mut daemons: Vec<Daemon> = Vec::new();
    for processes in 1..=4 {
        daemons.push(stage.start(&program).await);
        for _ in 0..kills {
            tokio::time::sleep(Duration::from_millis(lab.random.u64(0..250))).await;
            stage.kill(daemons.swap_remove(lab.random.usize(0..processes))).await;
            stage.end_leases_of_the_dead().await;
            stage.feed(100).await;
            daemons.push(stage.start(&program).await);
        }
    }
    stage.finish(daemons).await
}
