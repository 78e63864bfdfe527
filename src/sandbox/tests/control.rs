//! The controls, the log, the counts and the holds.

use reqwest::Method;

use super::*;

#[tokio::test]
async fn sessions_are_put_in_and_changed_over_http() {
    let setup = Setup::with(Faults::default()).await;
    let wanted = json!([{"referenceId": "a"}, {"status": "New Word", "faults": {"cancel": {"first": ["503"]}}}]);
    let ids: Vec<Uuid> = control(&setup, Method::POST, "/sandbox/sessions", wanted).await.json().await.unwrap();
    assert_eq!(setup.status_now(ids[1]).await["status"], "New Word");
    let path = format!("/sandbox/sessions/{}", ids[0]);
    control(&setup, Method::POST, &path, json!({"status": "Completed", "amount": 3})).await;
    let changed = json!({"sessionId": ids[0], "referenceId": "a", "status": "Completed", "statusDetails": "EFT0301", "amount": 3});
    assert_eq!(setup.status_now(ids[0]).await, changed);
    let token = setup.token().await;
    assert_eq!(setup.cancel(ids[1], &token).await.unwrap().status(), 503);
    assert_eq!(setup.cancel(ids[1], &token).await.unwrap().status(), 200);
    assert_eq!(setup.sandbox.cancels(ids[1]), 2);
}

#[tokio::test]
async fn faults_are_read_back_as_set_and_bad_ones_refused() {
    let setup = Setup::with(Faults::default()).await;
    let good = json!({"cancel": {"shares": {"reset_after_effect": 0.5}}, "terminal_code": 409});
    assert_eq!(control(&setup, Method::PUT, "/sandbox/faults", good).await.status(), 204);
    let now: Faults = setup.client.get(setup.url("/sandbox/faults")).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (now.terminal_code, now.cancel.shares["reset_after_effect".parse::<Fault>().as_ref().unwrap()]),
        (409, 0.5)
    );
    let bad = [
        json!({"cancle": {}}),
        json!({"cancel": {"shares": {"reset": 1.5}}}),
        json!({"everywhere": {"shares": {"reset": 0.6}}, "status": {"shares": {"500": 0.6}}}),
        json!({"terminal_code": 42}),
        json!({"token_dies_after_seconds": -1.0}),
    ];
    for faults in bad {
        assert_eq!(control(&setup, Method::PUT, "/sandbox/faults", faults.clone()).await.status(), 422, "{faults}");
    }
    assert_eq!(setup.sandbox.api.faults().terminal_code, 409);
}

#[tokio::test]
async fn counts_equal_requests() {
    let setup = Setup::with(cancel_faults("503")).await;
    let token = setup.token().await;
    let id = setup.session();
    for _ in 0..3 {
        setup.cancel(id, &token).await.unwrap();
    }
    setup.status(id).await.unwrap();
    let (counts, requests) = (setup.sandbox.counts(), setup.sandbox.requests());
    assert_eq!(counts.answered(Endpoint::Cancel, Answered::Code(503)), 3);
    assert_eq!(counts.answered.values().flat_map(|answers| answers.values()).sum::<u64>(), 5);
    assert_eq!(requests.iter().map(|request| request.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(requests[..4].iter().all(|request| request.token_number == Some(1)));
    let page: Value =
        setup.client.get(setup.url("/sandbox/requests?after=1&limit=2")).send().await.unwrap().json().await.unwrap();
    assert_eq!((page["requests"].as_array().unwrap().len(), &page["next_after"]), (2, &json!(3)));
    assert!(!page.to_string().contains(&token));
    setup.client.delete(setup.url("/sandbox/requests")).send().await.unwrap();
    assert_eq!((setup.sandbox.requests().len(), setup.sandbox.counts()), (0, Counts::default()));
}

#[tokio::test]
async fn requests_wait_at_a_hold_until_it_is_released() {
    for (moment, status) in [(Moment::BeforeEffect, "Initiated"), (Moment::AfterEffect, "Canceled")] {
        let setup = Setup::with(Faults::default()).await;
        let (id, token) = (setup.session(), setup.token().await);
        let hold = setup.sandbox.hold(Endpoint::Cancel, moment);
        let release = async {
            setup.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == 2).await;
            assert_eq!(status_of(&setup.sandbox, id), status);
            assert_eq!(setup.sandbox.counts().finished(Endpoint::Cancel), 0);
            hold.release();
        };
        let (first, second, ()) = tokio::join!(setup.cancel(id, &token), setup.cancel(id, &token), release);
        let mut codes = [first.unwrap().status().as_u16(), second.unwrap().status().as_u16()];
        codes.sort_unstable();
        assert_eq!(codes, [200, 400]);
        assert_eq!(setup.sandbox.counts().overlapping_cancels, 1);
        assert_eq!(setup.sandbox.counts().held(Endpoint::Cancel), 0);
    }
}

#[tokio::test]
async fn holds_are_set_and_released_over_http() {
    let setup = Setup::with(Faults::default()).await;
    let id = setup.session();
    control(&setup, Method::PUT, "/sandbox/hold", json!({"endpoint": "status"})).await;
    let release = async {
        setup.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Status) == 1).await;
        setup.client.delete(setup.url("/sandbox/hold")).send().await.unwrap();
    };
    let (answer, ()) = tokio::join!(setup.status(id), release);
    assert_eq!(answer.unwrap().status(), 200);
}

#[tokio::test]
async fn tokens_and_credentials_go_bad_over_http() {
    let setup = Setup::with(Faults::default()).await;
    let (id, token) = (setup.session(), setup.token().await);
    setup.client.post(setup.url("/sandbox/tokens/revoke")).send().await.unwrap();
    assert_eq!(setup.cancel(id, &token).await.unwrap().status(), 401);
    control(&setup, Method::PUT, "/sandbox/client-secret", json!({"client_secret": "other"})).await;
    assert_eq!(setup.authorize("demo-secret").await.unwrap().status(), 401);
    assert_eq!(setup.authorize("other").await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_clock_is_set_over_http_and_goes_on_from_there() {
    let setup = Setup::with(Faults::default()).await;
    let id = setup.session();
    let told = async || {
        let answer = setup.status(id).await.unwrap();
        let date = answer.headers()["date"].to_str().unwrap();
        httpdate::parse_http_date(date).unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    };
    control(&setup, Method::PUT, "/sandbox/faults", json!({"clock_unix_seconds": 1_000_000})).await;
    let first = told().await;
    assert!((1_000_000..1_000_030).contains(&first), "{first}");
    let moved = async {
        while told().await == first {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), moved).await.unwrap();
    let beyond = Faults { clock_unix_seconds: Some(-1), ..Faults::default() };
    assert!(beyond.check().unwrap_err().to_string().contains("`clock_unix_seconds` is -1"));
}
