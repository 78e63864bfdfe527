//! Each fault does what it says.

use super::*;

/// A cancel under one fault: the setting, the session, and what the client saw.
async fn canceled_under(faults: Faults) -> (Setup, Uuid, reqwest::Result<Response>) {
    let setup = Setup::with(faults).await;
    let (id, token) = (setup.session(), setup.token().await);
    let answer = setup.cancel(id, &token).await;
    (setup, id, answer)
}

#[tokio::test]
async fn codes_come_with_or_without_the_effect() {
    for (fault, code, status) in
        [("503", 503, "Initiated"), ("504_after_effect", 504, "Canceled"), ("404_html", 404, "Initiated")]
    {
        let (setup, id, answer) = canceled_under(cancel_faults(fault)).await;
        assert_eq!(answer.unwrap().status(), code, "{fault}");
        assert_eq!(status_of(&setup.sandbox, id), status, "{fault}");
    }
}

#[tokio::test]
async fn retry_after_is_written_as_set() {
    let date = "Fri, 17 Mar 2030 17:46:40 GMT";
    let cases = [
        (RetryAfterForm::Seconds, Some("7")),
        (RetryAfterForm::HttpDate, Some("Sun, 17 Mar 2030 17:46:47 GMT")),
        (RetryAfterForm::None, None),
        (RetryAfterForm::Garbage, Some("in a while")),
    ];
    for (form, wanted) in cases {
        let retry_after = RetryAfter { form, seconds: 7, ..RetryAfter::default() };
        let (_setup, _, answer) = canceled_under(Faults { retry_after, ..cancel_faults("429") }).await;
        let answer = answer.unwrap();
        assert_eq!(answer.headers().get("retry-after").map(|value| value.to_str().unwrap()), wanted);
        let dated = answer.headers()["date"] == date.replace("Fri", "Sun");
        assert_eq!(dated, form == RetryAfterForm::HttpDate);
    }
}

#[tokio::test]
async fn resets_and_timeouts_come_before_or_after_the_effect() {
    let cases = [
        ("reset", "Initiated"),
        ("reset_after_effect", "Canceled"),
        ("timeout", "Initiated"),
        ("timeout_after_effect", "Canceled"),
    ];
    for (fault, status) in cases {
        let setup = Setup::with(cancel_faults(fault)).await;
        let (id, token) = (setup.session(), setup.token().await);
        let url = setup.url(&format!("/api/v2/sessions/{id}/cancel"));
        let request = setup.client.post(url).bearer_auth(token).timeout(Duration::from_millis(300));
        let error = request.send().await.unwrap_err();
        assert_eq!(error.is_timeout(), fault.starts_with("timeout"), "{fault}: {error:?}");
        setup.sandbox.wait_for_requests(|counts| counts.finished(Endpoint::Cancel) == 1).await;
        let last = setup.sandbox.requests().pop().unwrap();
        let wanted = if error.is_timeout() { Answered::Timeout } else { Answered::Reset };
        assert_eq!((last.answered, status_of(&setup.sandbox, id).as_str()), (wanted, status), "{fault}");
        assert_eq!(setup.sandbox.counts().in_flight, 0);
    }
}

#[tokio::test]
async fn a_reset_is_seen_as_one() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let setup = Setup::with(cancel_faults("reset")).await;
    let mut stream = tokio::net::TcpStream::connect(setup.sandbox.address()).await.unwrap();
    let request = format!("POST /api/v2/sessions/{}/cancel HTTP/1.1\r\nhost: x\r\n\r\n", setup.session());
    stream.write_all(request.as_bytes()).await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn bodies_are_slow_cut_or_huge() {
    let (setup, _, answer) = canceled_under(Faults { slow_body_ms: 60_000, ..cancel_faults("slow_body") }).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status().as_u16(), setup.sandbox.counts().in_flight), (200, 1));
    drop(answer);
    setup.sandbox.wait_for_requests(|counts| counts.in_flight == 0).await;

    let (_setup, _, answer) = canceled_under(cancel_faults("cut_body")).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.content_length().unwrap() > 80);
    assert!(answer.bytes().await.is_err());

    let (_setup, _, answer) = canceled_under(cancel_faults("huge_body")).await;
    assert!(answer.unwrap().bytes().await.unwrap().len() > 64 * 1024);
}

#[tokio::test]
async fn odd_bodies_confirm_nothing() {
    for name in [
        "empty",
        "html",
        "no_fields",
        "wrong_status",
        "other_session",
        "no_session_id",
        "invalid_json",
        "array",
        "null",
    ] {
        let (setup, id, answer) = canceled_under(cancel_faults(&format!("body_{name}"))).await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200, "{name}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
        let confirmed = body["sessionId"] == json!(id) && body["status"] == "Canceled";
        assert!(!confirmed, "{name}: {body}");
        assert_eq!(status_of(&setup.sandbox, id), "Canceled", "{name}");
    }
    let (setup, id, answer) = canceled_under(cancel_faults("body_empty_before_effect")).await;
    assert_eq!((answer.unwrap().status().as_u16(), status_of(&setup.sandbox, id).as_str()), (200, "Initiated"));
}

#[tokio::test]
async fn status_fails_in_the_same_ways() {
    let status =
        EndpointFaults::first(["404_html", "500", "body_other_session"].map(|name| name.parse::<Fault>().unwrap()));
    let setup = Setup::with(Faults { status, ..Faults::default() }).await;
    let id = setup.session();
    assert_eq!(setup.status(id).await.unwrap().status(), 404);
    assert_eq!(setup.status(id).await.unwrap().status(), 500);
    assert_ne!(setup.status_now(id).await["sessionId"], json!(id));
    assert_eq!(setup.status_now(id).await["sessionId"], json!(id));
    setup.sandbox.set_faults(Faults { status_needs_token: true, ..Faults::default() }).unwrap();
    assert_eq!(setup.status(id).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_redirect_that_is_followed_is_seen() {
    let (setup, _, answer) = canceled_under(cancel_faults("307")).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 307);
    let target = answer.headers()["location"].to_str().unwrap().to_owned();
    setup.client.post(setup.url(&target)).send().await.unwrap();
    assert_eq!(setup.sandbox.counts().arrived(Endpoint::Elsewhere), 1);
}

#[tokio::test]
async fn authorize_answers_as_set() {
    let garbage = EndpointFaults::first(["429", "body_html"].map(|name| name.parse::<Fault>().unwrap()));
    let setup = Setup::with(Faults { authorize: garbage, ..Faults::default() }).await;
    assert_eq!(setup.authorize("demo-secret").await.unwrap().status(), 429);
    assert!(setup.authorize("demo-secret").await.unwrap().json::<Value>().await.is_err());
    for (expires_in, wanted) in
        [(ExpiresIn::Number, json!(30)), (ExpiresIn::Text, json!("30")), (ExpiresIn::Absent, Value::Null)]
    {
        setup.sandbox.set_faults(Faults { expires_in, token_seconds: 30, ..Faults::default() }).unwrap();
        let answer: Value = setup.authorize("demo-secret").await.unwrap().json().await.unwrap();
        assert_eq!(answer["expires_in"], wanted);
    }
}

#[tokio::test]
async fn a_refusal_repeats_the_token_only_when_told_to() {
    for echo_token in [true, false] {
        let setup = Setup::with(Faults { echo_token, ..cancel_faults("500") }).await;
        let token = setup.token().await;
        let body = setup.cancel(setup.session(), &token).await.unwrap().text().await.unwrap();
        assert_eq!(body.contains(&token), echo_token);
    }
}

#[tokio::test]
async fn a_canceled_session_is_spelled_as_set() {
    let (_setup, _, answer) = canceled_under(Faults { spelling: Spelling::Cancelled, ..Faults::default() }).await;
    assert_eq!(answer.unwrap().json::<Value>().await.unwrap()["status"], "Cancelled");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_answers_in_any_order() {
    let mut cancel = EndpointFaults::default();
    cancel.shares.extend([(Kind::Code(503).into(), 0.3), (Kind::Code(429).into(), 0.3)]);
    let faults = Faults { cancel, ..Faults::default() };
    let ids: Vec<Uuid> = (1..=40).map(Uuid::from_u128).collect();
    let mut seen = Vec::new();
    for reversed in [false, true] {
        let setup = Setup::with(faults.clone()).await;
        setup
            .sandbox
            .seed(ids.iter().map(|id| NewSession { session_id: Some(*id), ..NewSession::default() }).collect())
            .unwrap();
        let token = setup.token().await;
        let mut order = ids.clone();
        if reversed {
            order.reverse();
        }
        let mut codes = Vec::new();
        for id in order {
            codes.push((id, setup.cancel(id, &token).await.unwrap().status().as_u16()));
        }
        codes.sort_unstable();
        seen.push(codes);
    }
    assert_eq!(seen[0], seen[1]);
    for code in [200, 429, 503] {
        assert!(seen[0].iter().any(|(_, met)| *met == code), "{code} is missing");
    }
}
