//! How an answer leaves: disturbed by its fault, at once, in drops, or cut short.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue, LOCATION};
use axum::http::{Response as HttpResponse, StatusCode};
use axum::response::Response;
use futures_util::stream;
use uuid::Uuid;

use super::answers::{self, Answer};
use super::exchange::Exchange;
use super::fault::Kind;
use super::faults::Faults;

/// How long a cut answer rests before it is cut, so that what was sent leaves the machine.
const REST: Duration = Duration::from_millis(10);

/// The answer under a fault.
pub(super) fn disturb(kind: Kind, answer: Answer, faults: &Faults, session_id: Option<Uuid>) -> Answer {
    match kind {
        Kind::None | Kind::Timeout | Kind::Reset | Kind::SlowBody | Kind::CutBody => answer,
        Kind::HugeBody => answer.padded(),
        Kind::Body(odd) => answer.oddly(odd),
        Kind::NotFoundHtml => Answer::html(StatusCode::NOT_FOUND),
        Kind::Code(code) => coded(code, faults, session_id),
    }
}

fn coded(code: u16, faults: &Faults, session_id: Option<Uuid>) -> Answer {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = Answer::problem(code, "The sandbox was told to answer so.");
    if code.is_redirection() {
        let session = session_id.map(|id| format!("/{id}")).unwrap_or_default();
        answer.headers.push((LOCATION, format!("/moved{session}")));
    }
    if matches!(code, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        answer.headers.extend(answers::retry_after(&faults.retry_after));
    }
    answer
}

/// No answer: what a handler gives back when its connection is gone.
pub(super) fn nothing() -> Response {
    Response::new(Body::empty())
}

/// Sends the answer. A request whose body takes its time is under way until the last byte.
pub(super) fn send(kind: Kind, answer: Answer, exchange: Exchange) -> Response {
    let (content_type, bytes) = answer.content();
    let bytes = Bytes::from(bytes);
    let length = bytes.len();
    let clock = exchange.faults.clock_unix_seconds.map(|seconds| answers::date(seconds, exchange.api.set_ago()));
    let body = match kind {
        Kind::SlowBody => in_drops(bytes, Duration::from_millis(exchange.faults.slow_body_ms), exchange),
        Kind::CutBody => cut(bytes.slice(..length / 2), exchange),
        _ => Body::from(bytes),
    };
    let mut response = HttpResponse::new(body);
    *response.status_mut() = answer.code;
    let headers = response.headers_mut();
    headers.insert(answers::TYPE, HeaderValue::from_static(content_type));
    if kind == Kind::CutBody {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length.max(1)));
    }
    // Without one, the server adds the date of this machine.
    for (name, value) in clock.map(|date| (DATE, date)).into_iter().chain(answer.headers) {
        insert(headers, name, &value);
    }
    response
}

fn insert(headers: &mut axum::http::HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn in_drops(bytes: Bytes, pause: Duration, exchange: Exchange) -> Body {
    Body::from_stream(stream::unfold((bytes, exchange), move |(mut bytes, exchange)| async move {
        if bytes.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let drop = bytes.split_to(1);
        Some((Ok::<_, std::io::Error>(drop), (bytes, exchange)))
    }))
}

fn cut(half: Bytes, exchange: Exchange) -> Body {
    Body::from_stream(stream::unfold((Some(half), exchange), |(half, exchange)| async move {
        if let Some(half) = half {
            return Some((Ok(half), (None, exchange)));
        }
        tokio::time::sleep(REST).await;
        Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)), (None, exchange)))
    }))
}
