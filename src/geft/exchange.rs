//! One request and its answer, within a time limit and at the pace allowed.
//!
//! Never repeats, never sleeps, and never judges what an answer means.

use std::error::Error as _;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use reqwest::header::{AGE, CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};
use tokio::time::timeout_at;
use url::Url;
use uuid::Uuid;

use super::{connection, measures, retry_after, wire};
use crate::clocks::Clocks;
use crate::config;
use crate::pace::Pace;
use crate::session::{Names, TraceContext};

/// Tells the provider which trace a request belongs to.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Answers are a few hundred bytes; more than this is not read.
pub(super) const LONGEST_BODY: usize = 64 * 1024;

/// What is asked of the provider.
#[derive(Clone, Copy, Debug)]
pub(super) enum Endpoint {
    Authorize,
    Cancel(Names),
    Status(Names),
}

impl Endpoint {
    fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Cancel(_) => "cancel",
            Self::Status(_) => "status",
        }
    }

    fn path(self) -> String {
        match self {
            Self::Authorize => "/api/v1/authorize".to_owned(),
            Self::Cancel(names) => format!("/api/v2/sessions/{}/cancel", names.session_id),
            Self::Status(names) => format!("/api/v2/sessions/{}/status", names.session_id),
        }
    }

    /// What the session is found by; none where it is about none.
    fn names(self) -> Option<Names> {
        match self {
            Self::Authorize => None,
            Self::Cancel(names) | Self::Status(names) => Some(names),
        }
    }
}

/// Why there is no answer; the text is not yet cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request was not begun: the limit on requests a second left no room before the deadline.
    NoTurn,
    /// Sent, perhaps, but not answered in full in time.
    Timeout(Duration),
    /// No connection, a reset, TLS or a breach of the protocol.
    Network(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTurn => formatter.write_str("had no turn to send before the deadline"),
            Self::Timeout(limit) if limit.subsec_millis() == 0 => {
                write!(formatter, "timed out after {} s", limit.as_secs())
            }
            Self::Timeout(limit) => write!(formatter, "timed out after {:.1} s", limit.as_secs_f64()),
            Self::Network(text) => write!(formatter, "failed: {text}"),
        }
    }
}

/// An answer's body.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// More than is read.
    TooLong,
    /// It did not come in full.
    Broken(Failure),
}

/// An answer whose head came.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    /// Of a 429 or 503 alone, cut to the setting.
    pub(super) retry_after: Option<Duration>,
    pub(super) says_json: bool,
    pub(super) body: Body,
}

impl Answer {
    pub(super) fn new(code: u16, headers: &HeaderMap, body: Body, max_retry_after: Duration) -> Self {
        let pause = || retry_after::pause(text(headers, &RETRY_AFTER), text(headers, &DATE), max_retry_after);
        Self {
            code,
            retry_after: matches!(code, 429 | 503).then(pause).flatten(),
            says_json: text(headers, &CONTENT_TYPE).is_some_and(is_json_type),
            body,
        }
    }

    /// The body as a JSON object, where it is one and came in full.
    pub(super) fn object(&self) -> Option<wire::Object<'_>> {
        wire::Object::read(self.bytes()?)
    }

    /// The body, where it came in full.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Whole(bytes) => Some(bytes),
            Body::TooLong | Body::Broken(_) => None,
        }
    }

    /// The code and what the body tells people, not yet cleaned.
    pub(super) fn describe(&self) -> String {
        match self.object().and_then(|object| object.words()) {
            Some(words) => format!("answered {}: {words}", self.code),
            None => format!("answered {}", self.code),
        }
    }
}

/// The way to the provider.
pub(super) struct Exchange {
    http: reqwest::Client,
    /// Those of the settings, sent with every request.
    headers: Mutex<HeaderMap>,
    base: Url,
    /// Of the base, without a slash at its end.
    base_path: String,
    pace: Pace,
    clocks: Clocks,
    timeout: Duration,
    max_retry_after: Duration,
}

impl Exchange {
    pub(super) fn new(api: &config::Api, pace: Pace, clocks: Clocks) -> Result<Self, connection::Error> {
        Ok(Self {
            http: connection::client(api)?,
            headers: Mutex::new(connection::headers(&api.headers)?),
            base: api.base_url.clone(),
            base_path: api.base_url.path().trim_end_matches('/').to_owned(),
            pace,
            clocks,
            timeout: api.timeout,
            max_retry_after: api.max_retry_after,
        })
    }

    pub(super) fn post(&self, endpoint: Endpoint) -> RequestBuilder {
        self.http.post(self.url(endpoint)).headers(self.headers_locked().clone())
    }

    pub(super) fn get(&self, endpoint: Endpoint) -> RequestBuilder {
        self.http.get(self.url(endpoint)).headers(self.headers_locked().clone())
    }

    /// The base, which was read once, with the path alone set anew.
    fn url(&self, endpoint: Endpoint) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{}", self.base_path, endpoint.path()));
        url
    }

    /// Sends these with every request from here on.
    pub(super) fn replace_headers(&self, headers: HeaderMap) {
        *self.headers_locked() = headers;
    }

    fn headers_locked(&self) -> MutexGuard<'_, HeaderMap> {
        self.headers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this request's turn; false where it does not come before `until`.
    pub(super) async fn turn(&self, until: Instant) -> bool {
        let asked = Instant::now();
        let had = timeout_at(until.into(), self.pace.permit()).await.is_ok();
        measures::waited(asked.elapsed());
        had && Instant::now() < until
    }

    /// Sends at once. All is over after `[api] timeout`, and before `deadline`. The log names the request by `id`.
    pub(super) async fn send(
        &self,
        id: Uuid,
        endpoint: Endpoint,
        request: RequestBuilder,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let names = endpoint.names();
        let trace = names.and_then(|names| names.trace);
        let request = match trace {
            Some(trace) => request.header(TRACEPARENT, trace.traceparent()),
            None => request,
        };
        let started = Instant::now();
        let limit = self.timeout.min(deadline.saturating_duration_since(started));
        let answer = self.answer(request, started, limit).await;
        let code = match &answer {
            Ok(answer) => answer.code.to_string(),
            Err(Failure::Timeout(_)) => "timeout".to_owned(),
            Err(_) => "network_error".to_owned(),
        };
        let took = started.elapsed();
        let endpoint = endpoint.name();
        tracing::debug!(
            event = "api.request",
            session.id = names.map(|names| tracing::field::display(names.session_id)),
            sweep.id = names.map(|names| tracing::field::display(names.sweep_id)),
            attempt.number = names.and_then(|names| names.attempt),
            claim.id = names.and_then(|names| names.claim).map(tracing::field::display),
            trace.id = trace.map(TraceContext::trace_id),
            request.id = %id,
            request.endpoint = endpoint,
            request.code = code,
            request.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "a request to the provider ended"
        );
        measures::requested(endpoint, code, took);
        answer
    }

    async fn answer(&self, request: RequestBuilder, started: Instant, limit: Duration) -> Result<Answer, Failure> {
        let until = (started + limit).into();
        let sent = timeout_at(until, request.send()).await.map_err(|_| Failure::Timeout(limit))?;
        let mut response = sent.map_err(|error| Failure::Network(chain(error)))?;
        self.clocks.observe(told_time(response.headers()), started);
        let body = match timeout_at(until, read(&mut response)).await {
            Ok(body) => body,
            Err(_) => Body::Broken(Failure::Timeout(limit)),
        };
        Ok(Answer::new(response.status().as_u16(), response.headers(), body, self.max_retry_after))
    }
}

async fn read(response: &mut Response) -> Body {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > LONGEST_BODY => return Body::TooLong,
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Body::Whole(bytes),
            Err(error) => return Body::Broken(Failure::Network(chain(error))),
        }
    }
}

/// What the provider's clock said when it answered. An answer out of a cache tells when somebody else was answered.
pub(super) fn told_time(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let date = text(headers, &DATE).filter(|_| !headers.contains_key(AGE))?;
    httpdate::parse_http_date(date.trim()).ok().map(DateTime::from)
}

fn text<'headers>(headers: &'headers HeaderMap, name: &HeaderName) -> Option<&'headers str> {
    headers.get(name)?.to_str().ok()
}

/// `application/json`, `application/problem+json` and their like.
fn is_json_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

/// The error with its causes, but without the address: the setting is known, and a proxy's may hold a password.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn json_types_are_known_by_their_essence() {
        for json in ["application/json", "Application/Problem+JSON; charset=utf-8", "text/json"] {
            assert!(is_json_type(json), "{json}");
        }
        for other in ["text/html", "application/jsonp", "", "application/x; a=/json"] {
            assert!(!is_json_type(other), "{other}");
        }
    }

    #[test]
    fn the_time_is_told_by_a_date_that_can_be_read_and_comes_from_no_cache() {
        let told = |headers: &[(HeaderName, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            told_time(&headers.collect())
        };
        let noon = "Sun, 06 Nov 1994 12:00:00 GMT";
        assert_eq!(told(&[(DATE, noon)]).map(|at| at.to_rfc3339()).as_deref(), Some("1994-11-06T12:00:00+00:00"));
        assert_eq!(told(&[(DATE, noon), (AGE, "3600")]), None);
        for other in ["", "soon", "1994-11-06T12:00:00Z", "Sun, 06 Nov 0000 12:00:00 GMT"] {
            assert_eq!(told(&[(DATE, other)]), None, "{other}");
        }
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn time_limits_read_as_seconds() {
        assert_eq!(Failure::Timeout(Duration::from_secs(10)).to_string(), "timed out after 10 s");
        assert_eq!(Failure::Timeout(Duration::from_millis(2540)).to_string(), "timed out after 2.5 s");
    }
}
