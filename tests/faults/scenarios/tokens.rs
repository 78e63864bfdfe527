//! The token endpoint is down while tokens run out: no request goes without a token, and no session pays for it.

use geft_sweeper::sandbox::{Answered, Endpoint, EndpointFaults, Faults, Kind};

use super::Lab;
use crate::harness::support::eventually;
use crate::records::Tally;
use crate::stage::{LIMIT, Stage};

pub(super) async fn unavailable(lab: Lab) -> Tally {
    let mut stage = Stage::new().await;
    // Tokens live for two seconds: those there are run out while there is work.
    let cancel = EndpointFaults { latency_ms: 50, ..EndpointFaults::default() };
    let healthy = Faults { cancel, token_seconds: 2, ..Faults::default() };
    let without_tokens = Faults { authorize: EndpointFaults::always(Kind::Code(500)), ..healthy.clone() };
    stage.shop.provider.set_faults(healthy.clone()).unwrap();
    stage.abandon(100).await;
    let daemons = stage.start_all(&stage.program().with("api.max_in_flight", 2), 2).await;
    for _ in 0..lab.either(5, 1) {
        stage.shop.provider.set_faults(without_tokens.clone()).unwrap();
        stage.faults += 1;
        let refused = stage.shop.provider.counts().answered(Endpoint::Authorize, Answered::Code(500));
        eventually(LIMIT, async || {
            stage.feed(60).await;
            let counts = stage.shop.provider.counts();
            counts.answered(Endpoint::Authorize, Answered::Code(500)) >= refused + 2 && counts.in_flight == 0
        })
        .await;
        let before = stage.shop.provider.counts().arrived(Endpoint::Cancel);
        stage.shop.provider.set_faults(healthy.clone()).unwrap();
        stage.arrived(before + 20).await;
    }
    let tally = stage.finish(daemons).await;
    assert_eq!(tally.requests, tally.rows, "there is no attempt without a request");
    tally
}
