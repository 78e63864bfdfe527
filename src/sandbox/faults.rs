//! The whole fault setting: what goes wrong, how often, and how the provider is taken to behave.
//!
//! Data and its validation. It draws nothing and answers nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// How the sandbox behaves; the default is a provider without fault.
///
/// JSON of the same names is what `PUT /sandbox/faults` takes; what is left out has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// On every endpoint, beside what the endpoint has of its own.
    pub everywhere: EndpointFaults,
    /// On `POST /api/v1/authorize`.
    pub authorize: EndpointFaults,
    /// On `POST /api/v2/sessions`.
    pub create: EndpointFaults,
    /// On `POST /api/v2/sessions/{id}/cancel`.
    pub cancel: EndpointFaults,
    /// On `GET /api/v2/sessions/{id}/status`.
    pub status: EndpointFaults,
    /// What Retry-After a 429 or 503 carries.
    pub retry_after: RetryAfter,
    /// Milliseconds between two bytes of a slow body.
    pub slow_body_ms: u64,
    /// The code for canceling a session that has ended.
    pub terminal_code: u16,
    /// The body of that answer; left out: the session for a 2xx, else problem details.
    pub terminal_body: Option<TerminalBody>,
    /// How a canceled session's status is spelled.
    pub spelling: Spelling,
    /// Whether a token serves more than one cancel.
    pub token_use: TokenUse,
    /// The life of a token as stated in `expires_in`.
    pub token_seconds: u64,
    /// Its life in truth; left out: as stated.
    pub token_dies_after_seconds: Option<f64>,
    /// How `expires_in` is written.
    pub expires_in: ExpiresIn,
    /// Whether status demands a token.
    pub status_needs_token: bool,
    /// Whether refusals repeat the Authorization header, as careless servers do.
    pub echo_token: bool,
    /// Where the provider's clock, which `Date` tells, stands when this setting is made, in seconds since 1970; it goes on
    /// from there. Left out: it is right.
    pub clock_unix_seconds: Option<i64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            everywhere: EndpointFaults::default(),
            authorize: EndpointFaults::default(),
            create: EndpointFaults::default(),
            cancel: EndpointFaults::default(),
            status: EndpointFaults::default(),
            retry_after: RetryAfter::default(),
            slow_body_ms: 200,
            terminal_code: 400,
            terminal_body: None,
            spelling: Spelling::default(),
            token_use: TokenUse::default(),
            token_seconds: 599,
            token_dies_after_seconds: None,
            expires_in: ExpiresIn::default(),
            status_needs_token: false,
            echo_token: false,
            clock_unix_seconds: None,
        }
    }
}

/// What goes wrong on one endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointFaults {
    /// The wait before each answer, in milliseconds.
    pub latency_ms: u64,
    /// Up to so many milliseconds more, drawn evenly.
    pub jitter_ms: u64,
    /// What the first requests meet, in order: the first of each session, or of the endpoint where there is no session.
    pub first: Vec<Fault>,
    /// The share of requests, 0 to 1, that meet each fault after that. Together at most 1.
    pub shares: BTreeMap<Fault, f64>,
}

impl EndpointFaults {
    /// Every request meets this fault.
    #[must_use]
    pub fn always(fault: impl Into<Fault>) -> Self {
        Self { shares: BTreeMap::from([(fault.into(), 1.0)]), ..Self::default() }
    }

    /// The first requests meet these faults, later ones none.
    #[must_use]
    pub fn first(faults: impl IntoIterator<Item = impl Into<Fault>>) -> Self {
        Self { first: faults.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

/// Faults of one session, in place of the endpoint's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionFaults {
    /// When it is canceled.
    pub cancel: Option<EndpointFaults>,
    /// When its status is asked.
    pub status: Option<EndpointFaults>,
}

/// What Retry-After a 429 or 503 carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryAfter {
    /// How it is written.
    pub form: RetryAfterForm,
    /// How long the client is asked to wait.
    pub seconds: u32,
    /// The answer's `Date` as seconds since 1970, from which an HTTP date is counted.
    pub date_unix_seconds: i64,
}

impl Default for RetryAfter {
    fn default() -> Self {
        // A fixed date far from any clock: who reads an HTTP date against its own clock instead of `Date` is found out.
        Self { form: RetryAfterForm::Seconds, seconds: 1, date_unix_seconds: 1_900_000_000 }
    }
}

/// How Retry-After is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfterForm {
    /// As a number of seconds.
    Seconds,
    /// As an HTTP date, with a `Date` beside it.
    HttpDate,
    /// Not at all.
    None,
    /// As words that mean nothing.
    Garbage,
}

/// The body of the answer to canceling a session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalBody {
    /// RFC 9457 problem details.
    Problem,
    /// The session as it is.
    Session,
    /// A web page.
    Html,
    /// No byte.
    Empty,
}

/// How a canceled session's status is spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Spelling {
    /// As on the GEFT pages.
    #[default]
    Canceled,
    /// As on the EFT v2 pages.
    Cancelled,
}

/// Whether a token serves more than one cancel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenUse {
    /// Until it expires.
    #[default]
    Shared,
    /// It is refused after one cancel.
    Single,
}

/// How `expires_in` is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresIn {
    /// As a number.
    #[default]
    Number,
    /// As a number in quotes.
    Text,
    /// Not at all.
    Absent,
}

/// The setting contradicts itself.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFaults {
    /// A share is no share.
    #[error("`{scope}.shares.{fault}` is {share}: a share is a number from 0 to 1")]
    Share {
        /// The endpoint.
        scope: &'static str,
        /// The fault.
        fault: Fault,
        /// What was given.
        share: f64,
    },
    /// More than all requests would fail.
    #[error("the shares of `everywhere` and `{scope}` sum up to {sum}: together they are at most 1")]
    Sum {
        /// The endpoint.
        scope: &'static str,
        /// What they sum up to.
        sum: f64,
    },
    /// The code is none.
    #[error("`terminal_code` is {0}: write a code from 200 to 599")]
    TerminalCode(u16),
    /// The life is none.
    #[error("`token_dies_after_seconds` is {0}: write a number from 0 to a billion")]
    TokenLife(f64),
    /// The stated life is out of range.
    #[error("`token_seconds` is {0}: write a number from 0 to a billion")]
    TokenSeconds(u64),
    /// The date cannot be written.
    #[error("`{setting}` is {seconds}: write the seconds since 1970 of a year before 9999")]
    Date {
        /// The name of the setting.
        setting: &'static str,
        /// What was given.
        seconds: i64,
    },
}

/// 9998-12-31: the last year that an HTTP date can write, less room for the longest Retry-After.
const LAST_DATE: i64 = 249_000_000_000;
/// Thirty years: more than any clock here will see, and no overflow.
const LONGEST_LIFE: u64 = 1_000_000_000;
/// Shares such as ten times 0.1 do not sum up to 1 exactly.
const ROUNDING: f64 = 1e-9;

impl Faults {
    /// Refuses what cannot be done.
    pub fn check(&self) -> Result<(), InvalidFaults> {
        let everywhere = sum("everywhere", &self.everywhere)?;
        let scopes = [
            ("authorize", &self.authorize),
            ("create", &self.create),
            ("cancel", &self.cancel),
            ("status", &self.status),
        ];
        for (scope, faults) in scopes {
            let sum = everywhere + sum(scope, faults)?;
            if sum > 1.0 + ROUNDING {
                return Err(InvalidFaults::Sum { scope, sum });
            }
        }
        if !(200..600).contains(&self.terminal_code) {
            return Err(InvalidFaults::TerminalCode(self.terminal_code));
        }
        if let Some(seconds) = self.token_dies_after_seconds.filter(|seconds| !(0.0..1e9).contains(seconds)) {
            return Err(InvalidFaults::TokenLife(seconds));
        }
        if self.token_seconds > LONGEST_LIFE {
            return Err(InvalidFaults::TokenSeconds(self.token_seconds));
        }
        let dates = [
            ("retry_after.date_unix_seconds", Some(self.retry_after.date_unix_seconds)),
            ("clock_unix_seconds", self.clock_unix_seconds),
        ];
        match dates.into_iter().find(|(_, date)| date.is_some_and(|seconds| !(0..LAST_DATE).contains(&seconds))) {
            Some((setting, seconds)) => Err(InvalidFaults::Date { setting, seconds: seconds.unwrap_or_default() }),
            None => Ok(()),
        }
    }
}

impl SessionFaults {
    /// Refuses what cannot be done.
    pub fn check(&self) -> Result<(), InvalidFaults> {
        for (scope, faults) in [("cancel", &self.cancel), ("status", &self.status)] {
            let sum = faults.as_ref().map_or(Ok(0.0), |faults| sum(scope, faults))?;
            if sum > 1.0 + ROUNDING {
                return Err(InvalidFaults::Sum { scope, sum });
            }
        }
        Ok(())
    }
}

fn sum(scope: &'static str, faults: &EndpointFaults) -> Result<f64, InvalidFaults> {
    match faults.shares.iter().find(|(_, share)| !(0.0..=1.0).contains(*share)) {
        Some((fault, share)) => Err(InvalidFaults::Share { scope, fault: *fault, share: *share }),
        None => Ok(faults.shares.values().sum()),
    }
}
