//! What the tests share: a database each, the merchant's table, the real program, and patience.

#![allow(dead_code, reason = "each helper is for the tests of a room, whichever of them are there")]

mod arrivals;
mod database;
mod log;
mod merchant;
mod metrics;
mod program;
mod scene;
mod shop;

use std::time::{Duration, Instant};

pub(crate) use arrivals::{most_in_a_second, rate};
pub(crate) use database::TestDatabase;
#[allow(unused_imports, reason = "each is for the tests of a room, whichever of them are there")]
pub(crate) use log::{Endpoints, events};
#[allow(unused_imports, reason = "each is for the tests of a room, whichever of them are there")]
pub(crate) use merchant::PaymentSessions;
#[allow(unused_imports, reason = "each is for the tests of a room, whichever of them are there")]
pub(crate) use metrics::{Metrics, Sample};
#[allow(unused_imports, reason = "each is for the tests of a room, whichever of them are there")]
pub(crate) use program::{Finished, Program, Running};
pub(crate) use scene::{PAUSES, Scene};
pub(crate) use shop::Shop;

/// Waits until a condition in another process holds, and fails when it does not within the limit.
///
/// It is for things that happen outside, such as the end of a process; a race needs a barrier, not a look now and then.
#[track_caller]
pub(crate) fn eventually(limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let end = Instant::now() + limit;
    async move {
        while !condition().await {
            assert!(Instant::now() < end, "not within {limit:?}: {caller}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
