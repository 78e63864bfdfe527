//! An API that is away, slow, flapping, says 429 to everybody, or breaks off after the effect. Nothing of it costs a session.

use std::time::Duration;

use geft_sweeper::sandbox::{Answered, Endpoint, EndpointFaults, Fault, Faults, Moment, RetryAfter};

use super::Lab;
use crate::records::Tally;
use crate::stage::Stage;

/// A backlog that an outage meets in the middle.
const SESSIONS: usize = 60;

/// Away for a while, with leases far longer.
pub(super) async fn away(lab: Lab) -> Tally {
    let stage = Stage::new().await;
    away_for(stage, Duration::from_secs(lab.either(20, 4)), "60s", "10s").await
}

/// Away for longer than any lease.
pub(super) async fn away_longer_than_a_lease() -> Tally {
    away_for(Stage::new().await, Duration::from_secs(40), "17s", "600ms").await
}

async fn away_for(mut stage: Stage, outage: Duration, lease: &str, timeout: &str) -> Tally {
    stage.abandon(SESSIONS).await;
    let program = stage.program().with("retry.lease", lease).with("api.timeout", timeout);
    let program = program.with("api.connect_timeout", "600ms").with("retry.max_attempts", 5);
    let hold = stage.shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let daemons = stage.start_all(&program, 2).await;
    stage.arrived(8).await;
    stage.api.refuse();
    stage.faults += 1;
    hold.release();
    tokio::time::sleep(outage).await;
    assert_eq!(stage.shop.number("failed").await, 0, "an outage cost a session");
    stage.api.serve();
    stage.finish(daemons).await
}

/// So slow that many requests end by their time limit, before and after the effect.
pub(super) async fn slow(lab: Lab) -> Tally {
    let mut stage = Stage::new().await;
    let mut cancel = EndpointFaults { jitter_ms: 1_300, ..EndpointFaults::default() };
    cancel.shares.insert(fault("timeout_after_effect"), 0.1);
    stage.shop.provider.set_faults(Faults { cancel, ..Faults::default() }).unwrap();
    stage.abandon(lab.either(200, 24)).await;
    let program = stage.program().with("api.timeout", "1s").with("api.connect_timeout", "1s");
    let daemons = stage.start_all(&program, 2).await;
    stage.count_answers(Answered::Timeout).await;
    stage.finish(daemons).await
}

/// Away and back again, many times.
pub(super) async fn flapping(mut lab: Lab) -> Tally {
    let mut stage = Stage::new().await;
    let cancel = EndpointFaults { latency_ms: 20, ..EndpointFaults::default() };
    stage.shop.provider.set_faults(Faults { cancel, ..Faults::default() }).unwrap();
    stage.abandon(SESSIONS).await;
    let daemons = stage.start_all(&stage.program(), 2).await;
    for _ in 0..lab.either(30, 4) {
        tokio::time::sleep(Duration::from_millis(lab.random.u64(50..500))).await;
        stage.feed(20).await;
        stage.api.refuse();
        stage.faults += 1;
        tokio::time::sleep(Duration::from_millis(lab.random.u64(50..300))).await;
        stage.api.serve();
    }
    stage.finish(daemons).await
}

/// Every request is told to come back later, for a while.
pub(super) async fn too_many_requests() -> Tally {
    let mut stage = Stage::new().await;
    let retry_after = RetryAfter { seconds: 1, ..RetryAfter::default() };
    let cancel = EndpointFaults::always(fault("429"));
    stage.shop.provider.set_faults(Faults { cancel, retry_after, ..Faults::default() }).unwrap();
    stage.abandon(SESSIONS).await;
    let daemons = stage.start_all(&stage.program(), 2).await;
    stage.arrived(3).await;
    assert_eq!(stage.shop.number("failed").await, 0);
    stage.shop.provider.set_faults(Faults::default()).unwrap();
    stage.count_answers(Answered::Code(429)).await;
    stage.finish(daemons).await
}

/// Connections break, more often after the effect than before it.
pub(super) async fn resets(lab: Lab) -> Tally {
    let mut stage = Stage::new().await;
    let mut cancel = EndpointFaults::default();
    cancel.shares.insert(fault("reset_after_effect"), 0.3);
    cancel.shares.insert(fault("reset"), 0.1);
    stage.shop.provider.set_faults(Faults { cancel, ..Faults::default() }).unwrap();
    stage.abandon(lab.either(400, SESSIONS)).await;
    let daemons = stage.start_all(&stage.program(), 2).await;
    stage.count_answers(Answered::Reset).await;
    stage.finish(daemons).await
}

fn fault(name: &str) -> Fault {
    name.parse().unwrap()
}
