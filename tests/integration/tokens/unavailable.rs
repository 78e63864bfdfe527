//! An authorize endpoint that gives no token for another reason than the credentials: nothing is begun, nothing is lost.

use futures_util::future::join_all;
use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Fault, Faults, RetryAfter, RetryAfterForm};

use crate::support::Scene;

/// A sweep that gets no token, and asks for one this often at the most.
async fn without_a_token(fault: &str, retry_after: RetryAfter, most: u64) {
    let authorize = EndpointFaults::always(fault.parse::<Fault>().unwrap());
    let scene = Scene::new(Faults { authorize, retry_after, ..Faults::default() }).await;
    let scene = scene.with("api.timeout", "2s").with("api.connect_timeout", "2s");
    let ids = scene.abandoned_many(10).await;
    let swept = scene.program.run(["sweep", "--json"]).await.expect_code(1);
    assert_eq!(swept.json()["status"], "stopped", "{fault}");
    let sentence = swept.stderr.lines().last().unwrap();
    assert!(sentence.contains("authorize"), "{fault}: {sentence}");
    assert_eq!((scene.outcomes().await, scene.states().await), (vec![], vec![("pending".to_owned(), 10)]), "{fault}");
    for id in ids {
        let standing = scene.standing(id).await;
        assert_eq!((standing.attempts, standing.counted, standing.is_due), (0, 0, true), "{fault}");
    }
    let counts = scene.sandbox.counts();
    assert_eq!(counts.arrived(Endpoint::Cancel), 0, "{fault}");
    assert!(counts.arrived(Endpoint::Authorize) <= most, "{fault}: {counts:?}");
    scene.close().await;
}

#[tokio::test]
async fn without_a_token_nothing_is_begun_and_the_sweep_says_so() {
    let faults =
        ["500", "302", "404", "timeout", "reset", "cut_body", "huge_body", "body_empty", "body_html", "body_null"];
    join_all(faults.map(|fault| without_a_token(fault, RetryAfter::default(), 8))).await;
}

#[tokio::test]
async fn an_authorize_endpoint_that_asks_to_be_left_alone_is_asked_once() {
    for fault in ["429", "503"] {
        for form in [RetryAfterForm::Seconds, RetryAfterForm::HttpDate] {
            without_a_token(fault, RetryAfter { form, seconds: 600, ..RetryAfter::default() }, 2).await;
        }
    }
}

#[tokio::test]
async fn a_token_that_is_slow_to_come_is_waited_for() {
    let authorize = EndpointFaults::first(["500".parse::<Fault>().unwrap()]);
    let scene = Scene::new(Faults { authorize, ..Faults::default() }).await;
    scene.abandoned_many(10).await;
    assert_eq!(scene.sweep().await.json()["canceled"], 10);
    assert_eq!(scene.outcomes().await, [("canceled".to_owned(), 10)]);
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Authorize), 2);
    scene.close().await;
}
