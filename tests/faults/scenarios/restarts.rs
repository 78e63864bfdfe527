//! Rolling restarts under load: an orderly end costs nothing, not even an `interrupted` row.

use std::time::Duration;

use geft_sweeper::sandbox::{EndpointFaults, Faults};

use super::Lab;
use crate::records::Tally;
use crate::stage::Stage;

pub(super) async fn rolling(mut lab: Lab) -> Tally {
    let mut stage = Stage::new().await;
    let cancel = EndpointFaults { latency_ms: 20, jitter_ms: 20, ..EndpointFaults::default() };
    stage.shop.provider.set_faults(Faults { cancel, ..Faults::default() }).unwrap();
    stage.abandon(300).await;
    let program = stage.program();
    let mut daemons = stage.start_all(&program, 3).await;
    for _ in 0..lab.either(20, 3) {
        tokio::time::sleep(Duration::from_millis(lab.random.u64(0..500))).await;
        stage.feed(150).await;
        let oldest = daemons.remove(0);
        stage.stop(oldest).await;
        stage.faults += 1;
        daemons.push(stage.start(&program).await);
    }
    let tally = stage.finish(daemons).await;
    assert_eq!(tally.requests, tally.rows, "an orderly end left something behind");
    tally
}
