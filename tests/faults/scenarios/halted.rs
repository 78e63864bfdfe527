//! Processes that are halted or cut off while others go on: the only scenarios in which requests for one session overlap.
//!
//! Each overlap is accounted for: by the row of the attempt that was given up, and by one late result in the log.

use std::collections::HashSet;
use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Moment};
use nix::sys::signal::Signal;

use crate::harness::support::eventually;
use crate::proxy::{Flow, Way};
use crate::records::Tally;
use crate::stage::{Daemon, LIMIT, Stage};

/// Requests under way when the process is halted; it has more sessions in hand.
const UNDER_WAY: usize = 4;

/// The longest time limit of a request whose lease is 17 s.
const SHORT: &str = "600ms";

/// Halted with requests under way; the lease is ended, others take the sessions over, and it comes back as a zombie.
pub(super) async fn while_others_go_on() -> Tally {
    let mut stage = Stage::new().await;
    let ids = stage.abandon(2 * UNDER_WAY).await;
    let program = stage.program().with("api.max_in_flight", 4);
    let hold = stage.shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let zombie = stage.start(&program).await;
    stage.shop.held(Endpoint::Cancel, 4).await;
    halt(&mut stage, &zombie);
    let claimed = stage.end_leases(std::slice::from_ref(&zombie.instance)).await.unwrap();
    // With room for all of them at once.
    let other = stage.start(&program.with("api.max_in_flight", 16)).await;
    stage.may_overlap.extend(ids);
    // The requests of the halted one are under way while the other one asks for all that it held.
    stage.shop.held(Endpoint::Cancel, 4 + claimed).await;
    assert_eq!(stage.shop.provider.counts().overlapping_cancels, 4, "the requests met");
    hold.release();
    stage.all_ended().await;
    resume(&mut stage, &zombie);
    late_results(&stage, &zombie, usize::try_from(claimed).unwrap()).await;
    stage.finish(vec![zombie, other]).await
}

/// The same with a lease that ends by itself: then the zombie knows, and sends nothing more.
pub(super) async fn for_a_real_lease() -> Tally {
    let mut stage = Stage::new().await;
    stage.abandon(2 * UNDER_WAY).await;
    let program = stage.program().with("api.max_in_flight", 4);
    let program = program.with("api.timeout", SHORT).with("api.connect_timeout", SHORT).with("retry.lease", "17s");
    let hold = stage.shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let zombie = stage.start(&program).await;
    stage.shop.held(Endpoint::Cancel, 4).await;
    halt(&mut stage, &zombie);
    hold.release();
    let other = stage.start(&program).await;
    stage.all_ended().await;
    let before = stage.shop.provider.counts().arrived(Endpoint::Cancel);
    resume(&mut stage, &zombie);
    late_results(&stage, &zombie, UNDER_WAY).await;
    assert_eq!(stage.shop.provider.counts().arrived(Endpoint::Cancel), before, "a zombie sent after its lease");
    stage.finish(vec![zombie, other]).await
}

/// Requests leave and arrive only after the process gave them up and asked again.
pub(super) async fn partitioned_from_the_api() -> Tally {
    let mut stage = Stage::new().await;
    let program = stage.program().with("api.timeout", "1s").with("api.connect_timeout", "1s");
    // One request through a connection that is there before it is cut off.
    stage.abandon(1).await;
    let daemon = stage.start(&program).await;
    stage.all_ended().await;
    let stalled = stage.api.renew();
    stalled.set(Way::ToServer, Flow::Stall);
    stage.faults += 1;
    let id = stage.abandon(1).await[0];
    stage.may_overlap.insert(id);
    let hold = stage.shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    // The second attempt waits at the provider; now the first one arrives as well, and then the end of its connection.
    stage.arrived(2).await;
    stalled.set(Way::ToServer, Flow::Delay(Duration::from_millis(100)));
    stage.arrived(3).await;
    hold.release();
    let met = stage.shop.provider.counts().overlapping_cancels;
    assert_eq!(met, 1, "the requests met");
    stage.finish(vec![daemon]).await
}

/// The results of a process do not reach the database; others take its sessions over, and then they come.
pub(super) async fn partitioned_from_the_database() -> Tally {
    let mut stage = Stage::new().await;
    stage.abandon(2 * UNDER_WAY).await;
    let program = stage.program().with("api.max_in_flight", 4);
    let hold = stage.shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let alone = stage.start(&program).await;
    stage.shop.held(Endpoint::Cancel, 4).await;
    let stalled = stage.database.renew();
    stalled.set(Way::ToServer, Flow::Stall);
    stage.faults += 1;
    hold.release();
    // It sends for all that it holds, and its requests are over before anybody else asks: nothing overlaps.
    let claimed = u64::try_from(stage.shop.number("in_flight").await).unwrap();
    let over = stage.shop.provider.wait_for_requests(|counts| counts.finished(Endpoint::Cancel) == claimed);
    tokio::time::timeout(LIMIT, over).await.unwrap();
    assert_eq!(stage.end_leases(std::slice::from_ref(&alone.instance)).await.unwrap(), claimed);
    let other = stage.start(&program).await;
    stage.all_ended().await;
    stalled.set(Way::ToServer, Flow::Pass);
    late_results(&stage, &alone, usize::try_from(claimed).unwrap()).await;
    stage.finish(vec![alone, other]).await
}

fn halt(stage: &mut Stage, daemon: &Daemon) {
    daemon.running.signal(Signal::SIGSTOP);
    stage.faults += 1;
}

fn resume(stage: &mut Stage, daemon: &Daemon) {
    daemon.running.signal(Signal::SIGCONT);
    stage.faults += 1;
}

/// Waits until so many results came too late, each for an attempt that another process closed.
async fn late_results(stage: &Stage, late: &Daemon, number: usize) {
    let closed = "SELECT session_id::text FROM geft_sweeper.cancel_attempts
        WHERE outcome = 'interrupted' AND instance = $1";
    let closed: HashSet<String> = sqlx::query_scalar::<_, String>(closed)
        .bind(&late.instance)
        .fetch_all(stage.shop.pool())
        .await
        .unwrap()
        .into_iter()
        .collect();
    eventually(LIMIT, async || late.running.events("attempt.late").len() >= number).await;
    let events = late.running.events("attempt.late");
    assert_eq!(events.len(), number, "{}", late.running.stderr());
    for event in events {
        let session = event["session.id"].as_str().unwrap();
        assert!(closed.contains(session), "{session} was late, and nobody took it over");
    }
}
