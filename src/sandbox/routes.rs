//! The endpoints of the GEFT API as geft-api.md has them.
//!
//! What they do when nothing goes wrong, and nothing else.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::{Number, Value, json};
use uuid::Uuid;

use super::answers::Answer;
use super::connection::Grip;
use super::exchange::{Api, Exchange};
use super::faults::{ExpiresIn, Spelling, TerminalBody, TokenUse};
use super::log::{Effect, Endpoint};
use super::state::{Canceling, NewSession, Session};

/// The GEFT API.
pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/api/v1/authorize", post(authorize))
        .route("/api/v2/sessions", post(create))
        .route("/api/v2/sessions/{id}/cancel", post(cancel))
        .route("/api/v2/sessions/{id}/status", get(status))
        .fallback(elsewhere)
        .method_not_allowed_fallback(elsewhere)
}

async fn authorize(
    State(api): State<Arc<Api>>,
    ConnectInfo(grip): ConnectInfo<Grip>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let exchange = Exchange::begin(&api, Endpoint::Authorize, None, &headers);
    let idle = |_: &Exchange| Answer::object(StatusCode::OK, json!({"token_type": "Bearer"}));
    exchange.serve(grip, idle, |exchange| issue(exchange, &headers, &body)).await
}

fn issue(exchange: &mut Exchange, headers: &HeaderMap, body: &[u8]) -> Answer {
    let refusal = |error: &str| Answer::object(StatusCode::UNAUTHORIZED, json!({"error": error}));
    let form =
        headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let mut fields = url::form_urlencoded::parse(body);
    if !form || !fields.any(|(name, value)| name == "grant_type" && value == "client_credentials") {
        return refusal("unsupported_grant_type");
    }
    if !knows(&exchange.api, exchange.authorization.as_deref()) {
        return refusal("invalid_client");
    }
    let faults = &exchange.faults;
    let stated = Duration::from_secs(faults.token_seconds);
    let life =
        faults.token_dies_after_seconds.and_then(|life| Duration::try_from_secs_f64(life).ok()).unwrap_or(stated);
    let expires_in = match faults.expires_in {
        ExpiresIn::Number => Some(json!(faults.token_seconds)),
        ExpiresIn::Text => Some(json!(faults.token_seconds.to_string())),
        ExpiresIn::Absent => None,
    };
    let issued = exchange.api.tokens.issue(life);
    exchange.note(Effect::TokenIssued);
    exchange.note_token(issued.number);
    let answer = Answer::object(StatusCode::OK, json!({"access_token": issued.text, "token_type": "Bearer"}));
    expires_in.into_iter().fold(answer, |answer, expires_in| answer.with("expires_in", expires_in))
}

/// Whether the Basic credentials are the configured ones.
fn knows(api: &Api, authorization: Option<&str>) -> bool {
    let secret = api.client_secret.lock().unwrap_or_else(PoisonError::into_inner);
    let right = format!("{}:{}", api.client_id, secret.expose_secret());
    let sent =
        authorization.and_then(|header| header.strip_prefix("Basic ")).and_then(|sent| STANDARD.decode(sent).ok());
    sent.is_some_and(|sent| sent == right.as_bytes())
}

/// The body of create; what the sandbox has no use for is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    reference_id: String,
    r#type: String,
    direction: String,
    options: Value,
    payor: Value,
    amount: Option<Number>,
}

impl Wanted {
    fn is_geft(&self) -> bool {
        let guarantee = self.options.pointer("/guarantee/enable") == Some(&json!(true));
        self.r#type == "EFT" && self.direction == "DEBIT" && guarantee && self.payor.is_object()
    }
}

async fn create(
    State(api): State<Arc<Api>>,
    ConnectInfo(grip): ConnectInfo<Grip>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let exchange = Exchange::begin(&api, Endpoint::Create, None, &headers);
    let idle = |_: &Exchange| Answer::object(StatusCode::CREATED, json!({"status": "Initiated"}));
    let effect = |exchange: &mut Exchange| {
        if let Some(refused) = refuse_token(exchange, false) {
            return refused;
        }
        let wanted = serde_json::from_slice::<Wanted>(&body).ok().filter(Wanted::is_geft);
        let Some(wanted) = wanted.filter(|wanted| wanted.reference_id.chars().count() <= 100) else {
            return Answer::problem(StatusCode::BAD_REQUEST, "This is no request for a GEFT session.");
        };
        let new =
            NewSession { reference_id: Some(wanted.reference_id), amount: wanted.amount, ..NewSession::default() };
        let session = exchange.api.sessions.insert(new, exchange.api.expire_after);
        exchange.note(Effect::SessionCreated);
        Answer::session(StatusCode::CREATED, &session)
    };
    exchange.serve(grip, idle, effect).await
}

/// The refusal of a request whose token is not accepted; none where it is.
fn refuse_token(exchange: &Exchange, spend: bool) -> Option<Answer> {
    let accepted = exchange.token().is_some_and(|token| exchange.api.tokens.accept(token, spend));
    (!accepted).then(|| Answer::problem(StatusCode::UNAUTHORIZED, "Authentication Required"))
}

fn unknown_session() -> Answer {
    Answer::problem(StatusCode::NOT_FOUND, "Session Not Found")
}

/// The session as it is now.
fn as_it_stands(api: &Api, id: Option<Uuid>, show: impl FnOnce(&Session) -> Answer) -> Answer {
    id.and_then(|id| api.sessions.get(id)).map_or_else(unknown_session, |session| show(&session))
}

async fn cancel(
    State(api): State<Arc<Api>>,
    ConnectInfo(grip): ConnectInfo<Grip>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let id = Uuid::try_parse(&id).ok();
    let exchange = Exchange::begin(&api, Endpoint::Cancel, id, &headers);
    let idle =
        |exchange: &Exchange| as_it_stands(&exchange.api, id, |session| Answer::session(StatusCode::OK, session));
    exchange.serve(grip, idle, |exchange| end(exchange, id)).await
}

fn end(exchange: &mut Exchange, id: Option<Uuid>) -> Answer {
    let single = exchange.faults.token_use == TokenUse::Single;
    if let Some(refused) = refuse_token(exchange, single) {
        return refused;
    }
    let spelling = match exchange.faults.spelling {
        Spelling::Canceled => "Canceled",
        Spelling::Cancelled => "Cancelled",
    };
    match id.map_or(Canceling::Unknown, |id| exchange.api.sessions.cancel(id, spelling)) {
        Canceling::Unknown => unknown_session(),
        Canceling::Ended(session) => ended(exchange, &session),
        Canceling::Done(session) => {
            exchange.note(Effect::Canceled);
            Answer::session(StatusCode::OK, &session)
        }
    }
}

fn ended(exchange: &Exchange, session: &Session) -> Answer {
    let code = StatusCode::from_u16(exchange.faults.terminal_code).unwrap_or(StatusCode::BAD_REQUEST);
    let usual = if code.is_success() { TerminalBody::Session } else { TerminalBody::Problem };
    match exchange.faults.terminal_body.unwrap_or(usual) {
        TerminalBody::Problem => Answer::problem(code, "The session is in a final status."),
        TerminalBody::Session => Answer::session(code, session),
        TerminalBody::Html => Answer::html(code),
        TerminalBody::Empty => Answer::empty(code),
    }
}

async fn status(
    State(api): State<Arc<Api>>,
    ConnectInfo(grip): ConnectInfo<Grip>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let id = Uuid::try_parse(&id).ok();
    let exchange = Exchange::begin(&api, Endpoint::Status, id, &headers);
    let look = move |exchange: &Exchange| {
        as_it_stands(&exchange.api, id, |session| Answer::object(StatusCode::OK, json!(session)))
    };
    let effect = |exchange: &mut Exchange| {
        let refused = if exchange.faults.status_needs_token { refuse_token(exchange, false) } else { None };
        refused.unwrap_or_else(|| look(exchange))
    };
    exchange.serve(grip, look, effect).await
}

async fn elsewhere(State(api): State<Arc<Api>>, ConnectInfo(grip): ConnectInfo<Grip>, headers: HeaderMap) -> Response {
    let exchange = Exchange::begin(&api, Endpoint::Elsewhere, None, &headers);
    let not_found = |_: &Exchange| Answer::html(StatusCode::NOT_FOUND);
    exchange.serve(grip, not_found, |_| Answer::html(StatusCode::NOT_FOUND)).await
}
