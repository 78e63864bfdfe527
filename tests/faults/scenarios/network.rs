//! Connections to both sides are delayed, stalled, half-closed and cut at random while processes work.

use std::time::Duration;

use geft_sweeper::sandbox::{EndpointFaults, Faults};

use super::Lab;
use crate::proxy::{Flow, Proxy, Way};
use crate::records::Tally;
use crate::stage::Stage;

pub(super) async fn breaks(mut lab: Lab) -> Tally {
    let mut stage = Stage::new().await;
    let cancel = EndpointFaults { latency_ms: 20, ..EndpointFaults::default() };
    stage.shop.provider.set_faults(Faults { cancel, ..Faults::default() }).unwrap();
    stage.abandon(100).await;
    let processes = lab.either(3, 2);
    let daemons = stage.start_all(&stage.program(), processes).await;
    for _ in 0..lab.either(120, 10) {
        tokio::time::sleep(Duration::from_millis(lab.random.u64(20..300))).await;
        let proxy = if lab.random.bool() { &stage.api } else { &stage.database };
        break_somehow(proxy, &mut lab.random).await;
        stage.faults += 1;
        stage.feed(40).await;
    }
    stage.finish(daemons).await
}

/// Breaks every connection of a proxy in one of the ways. Stalls are far shorter than any time limit, so that a request
/// that was given up never arrives later.
async fn break_somehow(proxy: &Proxy, random: &mut fastrand::Rng) {
    let way = if random.bool() { Way::ToServer } else { Way::ToClient };
    let flow = match random.u8(0..4) {
        0 => return proxy.renew().cut(),
        1 => return proxy.renew().half_close(way),
        2 => Flow::Delay(Duration::from_millis(random.u64(5..100))),
        _ => Flow::Stall,
    };
    let cohort = proxy.cohort();
    cohort.set(way, flow);
    tokio::time::sleep(Duration::from_millis(random.u64(50..400))).await;
    cohort.set(way, Flow::Pass);
}
