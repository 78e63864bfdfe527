//! What holds whatever the provider answers: asserted here, and held by the tests and the fuzz targets against answers
//! made up at random.
//!
//! Sends nothing, and is compiled for those two alone.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use url::form_urlencoded;
use uuid::Uuid;

use super::exchange::{Answer, Body, LONGEST_BODY, told_time};
use super::redaction::{ERROR_LENGTH, Redaction, STATUS_LENGTH};
use super::token::Tokens;
use super::wire::{Grant, LONGEST_TOKEN};
use super::{Client, classify};
use crate::clocks::{Clocks, Reading, Verdict};
use crate::config::{Api, TokenUse};
use crate::outcome::{Attempt, Outcome};
use crate::pace::Pace;
use crate::session::SessionId;

/// The session that is asked about.
const SESSION: &str = "0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a01";
/// The client secret and the value of a header, with characters that encodings differ in.
const SECRETS: [&str; 2] = ["s3cr/t+ \u{dc}~\"\\", "key=with&blanks /\u{ff}"];

const LONGEST_PAUSE: Duration = Duration::from_mins(15);
const LONGEST_LIFE: Duration = Duration::from_hours(24 * 365);

/// Settings that nothing can be sent with.
pub(super) fn api() -> Api {
    Api {
        base_url: "http://127.0.0.1:9".parse().unwrap(),
        client_id: "client".into(),
        client_secret: "client-secret".into(),
        ca_file: None,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(3),
        max_in_flight: 4,
        max_requests_per_second: None,
        max_retry_after: LONGEST_PAUSE,
        token_use: TokenUse::Auto,
        headers: Vec::new(),
    }
}

/// Clocks that nobody has compared.
pub(super) fn clocks() -> Clocks {
    Clocks::new(Duration::from_mins(2))
}

/// A client that has secrets to lose.
pub(crate) struct Promises {
    client: Client,
    /// In lower case, as far as ASCII goes.
    echoes: Vec<String>,
}

impl Promises {
    /// Builds the client; that takes longer than a check.
    pub(crate) fn new() -> Self {
        let mut api = api();
        api.client_secret = SECRETS[0].into();
        api.headers = vec![("x-api-key".into(), SECRETS[1].into())];
        let client = Client::new(&api, Pace::unlimited(), clocks(), CancellationToken::new()).unwrap();
        let basic = BASE64_STANDARD.encode(format!("client:{}", SECRETS[0]));
        let echoes = SECRETS.iter().flat_map(|secret| echoes(secret)).chain([basic]);
        Self { client, echoes: echoes.map(|echo| echo.to_ascii_lowercase()).collect() }
    }

    /// One attempt, whose cancel and status are answered so (see [`answer`]).
    pub(crate) fn attempt(&self, cancel: &[u8], status: &[u8]) {
        let (session, cancel, status) = (SESSION.parse().unwrap(), answer(cancel), answer(status));
        let reading = classify::cancel(session, Ok(cancel.clone()));
        let is_confirmed = |answer, words| answer_is(session, answer, words);
        let is_canceled = is_confirmed(&cancel, &["canceled", "cancelled"]);
        assert_eq!(reading.outcome == Outcome::Canceled, is_canceled, "{reading:?}");
        assert_eq!(reading.ask, !is_canceled && !matches!(cancel.code, 401 | 408 | 425 | 429 | 500..=599));
        let told = reading.ask.then(|| self.client.told(session, Ok(status.clone())));
        let attempt = self.client.attempt(reading, told.clone(), false, Uuid::nil(), Instant::now());
        let is_final = is_confirmed(&status, &["completed", "failed", "canceled", "cancelled", "expired"]);
        assert_eq!(attempt.outcome == Outcome::AlreadyTerminal, told.is_some() && is_final, "{attempt:?}");
        if attempt.outcome == Outcome::NotFound {
            assert_eq!((cancel.code, status.code), (404, 404));
        }
        assert_eq!(attempt.http_status, Some(cancel.code));
        assert!(attempt.retry_after.is_none_or(|pause| pause <= LONGEST_PAUSE));
        self.is_fit(&attempt);
    }

    /// All texts that are stored and shown.
    fn is_fit(&self, attempt: &Attempt) {
        let said = &attempt.said;
        for (text, longest) in [
            (&attempt.error, ERROR_LENGTH),
            (&said.session_status, STATUS_LENGTH),
            (&said.status_details, STATUS_LENGTH),
        ] {
            let Some(text) = text else { continue };
            assert!(!text.is_empty() && text.chars().count() <= longest, "{text:?}");
            assert!(!text.contains(char::is_control), "{text:?}");
            let lower = text.to_ascii_lowercase();
            assert!(!self.echoes.iter().any(|echo| lower.contains(echo)), "{text:?}");
        }
        if let Some(amount) = &said.amount {
            let is_of_a_number = |character: char| character.is_ascii_digit() || ".-".contains(character);
            assert!(amount.len() <= 40 && amount.chars().all(is_of_a_number), "{amount:?}");
        }
    }
}

/// What authorize grants can be sent and is remembered, so that it never comes out.
pub(crate) fn authorize(text: &[u8]) {
    let answer = answer(text);
    let Ok(grant) = Grant::read(answer.bytes().unwrap_or_default()) else { return };
    let token = grant.access_token.expose_secret();
    assert!(grant.life <= LONGEST_LIFE && token.len() <= LONGEST_TOKEN);
    assert!(Tokens::new(TokenUse::Auto).issue(&grant, Instant::now()).is_ok(), "{token:?}");
    let redaction = Redaction::new(&api());
    redaction.remember(&grant.access_token);
    let cleaned = redaction.error(&format!("a {token} b {}", answer.describe()));
    // Shorter ones are not looked for, and the mark that stands for a secret is none.
    assert!(token.len() < 4 || "[redacted]".contains(&token.to_lowercase()) || !cleaned.contains(token), "{cleaned}");
}

/// The pause that an answer asks for, what it says of its body, and the time that it tells.
pub(crate) fn head(text: &[u8]) {
    let (answer, headers) = (answer(text), headers(text));
    let (clocks, now) = (clocks(), Instant::now());
    clocks.note_database(Reading { stood_at: DateTime::UNIX_EPOCH, asked: now, answered: now });
    clocks.observe(told_time(&headers), now);
    assert!(!matches!(clocks.verdict(), Verdict::Disagree(_)), "one answer alone convicts a clock");
    if let Some(pause) = answer.retry_after {
        assert!(matches!(answer.code, 429 | 503) && !pause.is_zero() && pause <= LONGEST_PAUSE, "{pause:?}");
    }
    if answer.says_json {
        let of_a_type = headers.get(CONTENT_TYPE).unwrap().to_str().unwrap().to_ascii_lowercase();
        assert!(of_a_type.split(';').next().unwrap().contains("json"), "{of_a_type}");
    }
}

/// The ways in which a secret is echoed, found out apart from the code under test.
fn echoes(secret: &str) -> [String; 5] {
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let base64 = BASE64_STANDARD.encode(secret);
    [secret.to_owned(), form.replace('+', "%20"), form, BASE64_URL_SAFE_NO_PAD.encode(secret), base64]
}

/// Whether a 200 says of this session, and of no other, that its status is one of these words.
fn answer_is(session: SessionId, answer: &Answer, words: &[&str]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Session {
        session_id: String,
        status: String,
    }
    let text = answer.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    let json = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A field that stands there twice is refused by the derived code.
    let Ok(Session { session_id, status }) = serde_json::from_str(json) else { return false };
    json.trim_start().starts_with('{')
        && answer.code == 200
        && session_id.parse() == Ok(session)
        && words.contains(&status.to_ascii_lowercase().as_str())
}

/// An answer as text: its code, a line for each header, an empty line, and the body. What makes no sense is left out.
fn answer(text: &[u8]) -> Answer {
    let code = text.split(|byte| *byte == b'\n').next().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
    let (_, body) = parts(text);
    let body = if body.len() > LONGEST_BODY { Body::TooLong } else { Body::Whole(body.to_vec()) };
    let code = code.filter(|code| (100..1000).contains(code)).unwrap_or(200);
    Answer::new(code, &headers(text), body, LONGEST_PAUSE)
}

fn headers(text: &[u8]) -> HeaderMap {
    let lines = parts(text).0.split(|byte| *byte == b'\n');
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    };
    lines.filter_map(header).collect()
}

/// Head and body.
fn parts(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.windows(2).position(|bytes| bytes == b"\n\n");
    end.map_or((text, &[]), |end| (&text[..end], &text[end + 2..]))
}

#[cfg(test)]
mod tests;
