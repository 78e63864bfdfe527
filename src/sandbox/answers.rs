//! What the provider says, as data: a code, some headers, a body.
//!
//! Wire shapes only; when each is sent is decided elsewhere.

use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::fault::OddBody;
use super::faults::{RetryAfter, RetryAfterForm};
use super::state::Session;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
/// Session objects are around 150 bytes; a careful client stops reading at 64 KiB.
const PADDING: usize = 128 * 1024;

/// An answer before it is sent.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) headers: Vec<(HeaderName, String)>,
    pub(super) body: Content,
}

/// What an answer holds.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// An object of the API.
    Object(Value),
    /// RFC 9457 problem details.
    Problem(Value),
    /// Anything else: type and text.
    Text(&'static str, String),
}

impl Answer {
    pub(super) fn object(code: StatusCode, object: Value) -> Self {
        Self { code, headers: Vec::new(), body: Content::Object(object) }
    }

    /// The session as every endpoint but status shows it.
    pub(super) fn session(code: StatusCode, session: &Session) -> Self {
        let mut object = json!(session);
        if let Some(fields) = object.as_object_mut() {
            fields.remove("amount");
        }
        Self::object(code, object)
    }

    pub(super) fn problem(code: StatusCode, detail: &str) -> Self {
        let title = code.canonical_reason().unwrap_or("Error");
        let problem = json!({"type": "about:blank", "title": title, "status": code.as_u16(), "detail": detail});
        Self { code, headers: Vec::new(), body: Content::Problem(problem) }
    }

    pub(super) fn html(code: StatusCode) -> Self {
        let reason = code.canonical_reason().unwrap_or("Error");
        let page =
            format!("<!DOCTYPE html><html><head><title>{reason}</title></head><body><h1>{reason}</h1></body></html>");
        Self { code, headers: Vec::new(), body: Content::Text(HTML, page) }
    }

    pub(super) fn empty(code: StatusCode) -> Self {
        Self { code, headers: Vec::new(), body: Content::Text(JSON, String::new()) }
    }

    /// Adds a field; an answer without an object stays as it is.
    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        if let Content::Object(Value::Object(fields)) | Content::Problem(Value::Object(fields)) = &mut self.body {
            fields.insert(field.to_owned(), value.into());
        }
        self
    }

    /// The same with more than 64 KiB of padding.
    pub(super) fn padded(mut self) -> Self {
        let padding = "x".repeat(PADDING);
        match &mut self.body {
            Content::Text(_, text) => text.push_str(&padding),
            Content::Object(_) | Content::Problem(_) => return self.with("padding", padding),
        }
        self
    }

    /// The same code with a body that confirms nothing. Only objects of the API are replaced: refusals stay what they are.
    pub(super) fn oddly(mut self, odd: OddBody) -> Self {
        if let Content::Object(object) = self.body {
            self.body = odd_content(odd, object);
        }
        self
    }

    /// The type of the content and its bytes.
    pub(super) fn content(&self) -> (&'static str, Vec<u8>) {
        match &self.body {
            Content::Object(object) => (JSON, object.to_string().into_bytes()),
            Content::Problem(problem) => (PROBLEM, problem.to_string().into_bytes()),
            Content::Text(kind, text) => (kind, text.clone().into_bytes()),
        }
    }
}

fn odd_content(odd: OddBody, mut object: Value) -> Content {
    let mut with = |field: &str, value: Option<Value>| {
        if let Some(fields) = object.as_object_mut() {
            fields.remove(field);
            fields.extend(value.map(|value| (field.to_owned(), value)));
        }
        Content::Object(object.clone())
    };
    match odd {
        OddBody::Empty => Content::Text(JSON, String::new()),
        OddBody::Html => Content::Text(HTML, "<!DOCTYPE html><html><body>Please log in</body></html>".to_owned()),
        OddBody::NoFields => Content::Object(json!({})),
        OddBody::WrongStatus => with("status", Some(json!("InProgress"))),
        OddBody::OtherSession => with("sessionId", Some(json!(Uuid::new_v4()))),
        OddBody::NoSessionId => with("sessionId", None),
        OddBody::InvalidJson => Content::Text(JSON, r#"{"sessionId": "#.to_owned()),
        OddBody::Array => Content::Object(json!([object])),
        OddBody::Null => Content::Object(Value::Null),
    }
}

/// The headers of a 429 or 503.
pub(super) fn retry_after(setting: &RetryAfter) -> Vec<(HeaderName, String)> {
    use axum::http::header::{DATE, RETRY_AFTER};
    match setting.form {
        RetryAfterForm::None => Vec::new(),
        RetryAfterForm::Seconds => vec![(RETRY_AFTER, setting.seconds.to_string())],
        RetryAfterForm::Garbage => vec![(RETRY_AFTER, "in a while".to_owned())],
        RetryAfterForm::HttpDate => {
            let date = DateTime::from_timestamp(setting.date_unix_seconds, 0).unwrap_or_default();
            let until = date + TimeDelta::seconds(i64::from(setting.seconds));
            vec![(DATE, http_date(date)), (RETRY_AFTER, http_date(until))]
        }
    }
}

/// The `Date` of a clock that stood so, that long ago.
pub(super) fn date(unix_seconds: i64, ago: Duration) -> String {
    let stood = DateTime::from_timestamp(unix_seconds, 0).unwrap_or_default();
    http_date(stood + TimeDelta::from_std(ago).unwrap_or_default())
}

fn http_date(date: DateTime<Utc>) -> String {
    date.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The header that names the type of a body.
pub(super) const TYPE: HeaderName = CONTENT_TYPE;
