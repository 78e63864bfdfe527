//! The log of the real program when everything goes wrong: it does not grow with the backlog, and what is left out of it
//! is told as a number.

use std::time::{Duration, Instant};

use geft_sweeper::sandbox::Faults;

use crate::support::{Shop, events};

/// As in the README.
const BURST: usize = 100;
const PER_SECOND: f64 = 20.0;

#[tokio::test]
async fn when_everything_fails_the_log_stays_short_and_what_is_left_out_adds_up() {
    let shop = Shop::new().await;
    shop.provider.set_faults(refusing()).unwrap();
    let (failing, paid) = (2_000, 150);
    let ids = shop.abandon(failing + paid).await;
    for id in &ids[failing..] {
        shop.provider.set_status(*id, "Completed", Some("EFT0301")).unwrap();
    }
    let program = shop.program().with("retry.max_attempts", 1);
    let start = Instant::now();
    let finished = program.run(["sweep"]).await.expect_code(0);
    assert_eq!(shop.number("failed").await, i64::try_from(failing).unwrap());

    let told = events(&finished.stderr, "session.failed").len();
    assert!(told >= BURST, "{told}");
    assert!(told <= BURST + most_in(start.elapsed()), "{told} in {:?}", start.elapsed());
    let left_out = events(&finished.stderr, "log.left_out");
    assert!(left_out.iter().all(|line| line["of"] == "session.failed"), "{left_out:?}");
    let lines: u64 = left_out.iter().map(|line| line["lines"].as_u64().unwrap()).sum();
    assert_eq!(u64::try_from(told).unwrap() + lines, u64::try_from(failing).unwrap());
    // Money may move: each of these is told, however many there are.
    assert_eq!(events(&finished.stderr, "session.paid_after_abandonment").len(), paid);
}

/// Every cancel is refused, whatever the session's status is.
fn refusing() -> Faults {
    let mut faults = Faults::default();
    faults.cancel.shares.insert("422".parse().unwrap(), 1.0);
    faults
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
fn most_in(elapsed: Duration) -> usize {
    (elapsed.as_secs_f64() * PER_SECOND) as usize
}
