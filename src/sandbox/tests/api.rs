//! The API when nothing goes wrong.

use super::*;

#[tokio::test]
async fn a_session_is_created_looked_at_and_canceled() {
    let setup = Setup::with(Faults::default()).await;
    let token = setup.token().await;
    let wanted = json!({
        "referenceId": "order-1", "type": "EFT", "direction": "DEBIT", "amount": 12.5, "payor": {},
        "options": {"guarantee": {"enable": true}},
    });
    let create = setup.client.post(setup.url("/api/v2/sessions")).bearer_auth(&token).json(&wanted);
    let created = create.send().await.unwrap();
    assert_eq!(created.status(), 201);
    let created: Value = created.json().await.unwrap();
    let id: Uuid = created["sessionId"].as_str().unwrap().parse().unwrap();
    let session = |status, details| json!({"sessionId": id, "referenceId": "order-1", "status": status, "statusDetails": details});
    assert_eq!(created, session("Initiated", "EFT0101"));
    assert_eq!(setup.status_now(id).await["amount"], json!(12.5));
    let canceled = setup.cancel(id, &token).await.unwrap();
    assert_eq!(canceled.status(), 200);
    assert_eq!(canceled.json::<Value>().await.unwrap(), session("Canceled", "EFT0501"));
    assert_eq!(setup.status_now(id).await["status"], "Canceled");
}

#[tokio::test]
async fn wrong_credentials_get_no_token() {
    let setup = Setup::with(Faults::default()).await;
    assert_eq!(setup.authorize("wrong").await.unwrap().status(), 401);
    let form = [("grant_type", "password")];
    let request = setup.client.post(setup.url("/api/v1/authorize")).basic_auth("demo", Some("demo-secret")).form(&form);
    assert_eq!(request.send().await.unwrap().status(), 401);
    setup.sandbox.set_client_secret("new".into());
    assert_eq!(setup.authorize("demo-secret").await.unwrap().status(), 401);
    assert_eq!(setup.authorize("new").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_cancel_without_a_good_token_changes_nothing() {
    let setup = Setup::with(Faults::default()).await;
    let (id, token) = (setup.session(), setup.token().await);
    let bare = setup.client.post(setup.url(&format!("/api/v2/sessions/{id}/cancel"))).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert_eq!(setup.cancel(id, "made-up").await.unwrap().status(), 401);
    setup.sandbox.revoke_tokens();
    assert_eq!(setup.cancel(id, &token).await.unwrap().status(), 401);
    assert_eq!(status_of(&setup.sandbox, id), "Initiated");
    assert_eq!(setup.cancel(id, &setup.token().await).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_token_dies_earlier_than_it_says() {
    let setup = Setup::with(Faults { token_dies_after_seconds: Some(0.0), ..Faults::default() }).await;
    let (id, token) = (setup.session(), setup.token().await);
    assert_eq!(setup.cancel(id, &token).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_single_use_token_serves_one_cancel() {
    let setup = Setup::with(Faults { token_use: TokenUse::Single, ..Faults::default() }).await;
    let (first, second, token) = (setup.session(), setup.session(), setup.token().await);
    assert_eq!(setup.cancel(first, &token).await.unwrap().status(), 200);
    assert_eq!(setup.cancel(second, &token).await.unwrap().status(), 401);
    assert_eq!(setup.cancel(second, &setup.token().await).await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_unknown_session_is_a_problem_in_json() {
    let setup = Setup::with(Faults::default()).await;
    let answer = setup.cancel(Uuid::new_v4(), &setup.token().await).await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    assert_eq!(answer.json::<Value>().await.unwrap()["status"], 404);
    assert_eq!(setup.status(Uuid::new_v4()).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_session_that_ended_is_refused_as_set() {
    let setup = Setup::with(Faults::default()).await;
    let (id, token) = (setup.session(), setup.token().await);
    setup.sandbox.set_status(id, "Completed", Some("EFT0302"));
    let cases = [
        (400, None, "application/problem+json"),
        (200, None, "application/json"),
        (409, Some(TerminalBody::Html), "text/html; charset=utf-8"),
        (500, Some(TerminalBody::Session), "application/json"),
        (404, Some(TerminalBody::Empty), "application/json"),
    ];
    for (terminal_code, terminal_body, content_type) in cases {
        setup.sandbox.set_faults(Faults { terminal_code, terminal_body, ..Faults::default() }).unwrap();
        let answer = setup.cancel(id, &token).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (terminal_code, &content_type.parse().unwrap())
        );
        assert_eq!(answer.bytes().await.unwrap().is_empty(), terminal_body == Some(TerminalBody::Empty));
    }
    assert_eq!(setup.status_now(id).await["statusDetails"], "EFT0302");
}

#[tokio::test]
async fn an_open_session_ends_by_itself_and_a_canceled_one_does_not() {
    let setup = Setup::with(Faults::default()).await;
    let becomes = |after_ms| Some(Becomes { status: "Settling".to_owned(), status_details: None, after_ms });
    let new = |after_ms| NewSession { becomes: becomes(after_ms), ..NewSession::default() };
    let ids = setup.sandbox.seed(vec![new(0), new(3_600_000)]).unwrap();
    assert_eq!(status_of(&setup.sandbox, ids[0]), "Settling");
    setup.cancel(ids[1], &setup.token().await).await.unwrap();
    let due = NewSession { becomes: becomes(0), ..NewSession::default() };
    setup.sandbox.update(ids[1], due).unwrap();
    assert_eq!(status_of(&setup.sandbox, ids[1]), "Canceled");
    let expiring = NewSession { expires_after_ms: Some(0), ..NewSession::default() };
    let id = setup.sandbox.seed(vec![expiring]).unwrap()[0];
    assert_eq!(setup.status_now(id).await["statusDetails"], "EFT0601");
}
