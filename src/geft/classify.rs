//! What an answer to a cancel means, and when the status endpoint has to be asked.
//!
//! Pure. It never believes a body that names another session, and never guesses from a body's words.

use std::time::Duration;

use super::StatusAnswer;
use super::exchange::{Answer, Body, Failure};
use super::wire::{self, Names};
use crate::outcome::{Outcome, Said};
use crate::session::SessionId;

/// What the answer to a cancel came to, before status is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// What the attempt comes to where status adds nothing.
    pub(super) outcome: Outcome,
    /// Status must be asked.
    pub(super) ask: bool,
    /// The provider said in JSON that it does not know the session.
    pub(super) unknown: bool,
    /// The code, where an answer came.
    pub(super) code: Option<u16>,
    /// What the body says of this very session, not yet cleaned.
    pub(super) said: Said,
    /// What happened, not yet cleaned.
    pub(super) words: String,
    pub(super) retry_after: Option<Duration>,
}

/// Reads the answer to a cancel.
pub(super) fn cancel(session: SessionId, answer: Result<Answer, Failure>) -> Reading {
    match answer {
        Err(failure) => unanswered(&failure),
        Ok(Answer { code, body: Body::Broken(failure), .. }) if !is_told_by_code(code) => unanswered(&failure),
        Ok(answer) => answered(session, &answer),
    }
}

fn unanswered(failure: &Failure) -> Reading {
    let outcome = match failure {
        Failure::Timeout(_) => Outcome::Timeout,
        Failure::NoTurn | Failure::Network(_) => Outcome::NetworkError,
    };
    let words = failure.to_string();
    Reading { outcome, ask: false, unknown: false, code: None, said: Said::default(), words, retry_after: None }
}

fn answered(session: SessionId, answer: &Answer) -> Reading {
    let about = about(session, answer);
    let unknown = is_unknown(answer, about.names);
    let confirmed = answer.code == 200 && about.said.session_status.as_deref().is_some_and(is_canceled);
    let outcome = match answer.code {
        _ if confirmed => Outcome::Canceled,
        401 => Outcome::Unauthorized,
        429 => Outcome::RateLimited,
        408 | 425 | 500..=599 => Outcome::ServerError,
        404 if !unknown => Outcome::InvalidResponse,
        400..=499 => Outcome::Rejected,
        _ => Outcome::InvalidResponse,
    };
    Reading {
        outcome,
        ask: matches!(outcome, Outcome::InvalidResponse | Outcome::Rejected),
        unknown,
        code: Some(answer.code),
        said: about.said,
        // Of what was confirmed there is nothing to explain.
        words: if confirmed { String::new() } else { format!("{}{}", answer.describe(), flaw(answer, about.names)) },
        retry_after: answer.retry_after,
    }
}

/// Codes that say all by themselves: the body is read for people alone.
fn is_told_by_code(code: u16) -> bool {
    matches!(code, 401 | 408 | 425 | 429 | 500..=599)
}

/// What a person must know beside the code.
fn flaw(answer: &Answer, names: Names) -> &'static str {
    match (names, &answer.body) {
        (Names::Another, _) => " for another session",
        (_, Body::TooLong) => " with more than 64 KiB",
        (Names::Nobody, _) if answer.code == 200 => " without naming the session",
        _ => "",
    }
}

struct About {
    names: Names,
    said: Said,
}

fn about(session: SessionId, answer: &Answer) -> About {
    let Some(object) = answer.object() else {
        return About { names: Names::Nobody, said: Said::default() };
    };
    match object.names(session) {
        Names::ThisSession => About { names: Names::ThisSession, said: object.said() },
        names => About { names, said: Said::default() },
    }
}

/// A 404 in JSON: an object, or any JSON that is declared as such. Without, some server in between may have answered.
fn is_unknown(answer: &Answer, names: Names) -> bool {
    answer.code == 404
        && names != Names::Another
        && (answer.object().is_some() || (answer.says_json && answer.bytes().is_some_and(wire::is_json)))
}

/// Reads the answer to a status request.
pub(super) fn status(session: SessionId, answer: Result<Answer, Failure>) -> StatusAnswer {
    let answer = match answer {
        Err(failure) => return StatusAnswer::NoAnswer { error: failure.to_string(), retry_after: None },
        Ok(answer) => answer,
    };
    if let Body::Broken(failure) = &answer.body {
        return StatusAnswer::NoAnswer { error: failure.to_string(), retry_after: answer.retry_after };
    }
    let about = about(session, &answer);
    match (answer.code, about.said.session_status.as_deref()) {
        (200, Some(status)) if is_final(status) => StatusAnswer::Final(about.said),
        (200, Some(_)) => StatusAnswer::Open(about.said),
        _ if is_unknown(&answer, about.names) => StatusAnswer::NotFound,
        _ => {
            let error = format!("{}{}", answer.describe(), flaw(&answer, about.names));
            StatusAnswer::NoAnswer { error, retry_after: answer.retry_after }
        }
    }
}

/// The outcome of the attempt once status was asked.
pub(super) fn settle(reading: &Reading, status: &StatusAnswer) -> Outcome {
    match status {
        StatusAnswer::Final(_) => Outcome::AlreadyTerminal,
        StatusAnswer::NotFound if reading.unknown => Outcome::NotFound,
        StatusAnswer::NotFound | StatusAnswer::Open(_) | StatusAnswer::NoAnswer { .. } => reading.outcome,
    }
}

/// Both spellings are published.
fn is_canceled(status: &str) -> bool {
    ["canceled", "cancelled"].iter().any(|word| status.eq_ignore_ascii_case(word))
}

/// A status that is not known is not final: new ones may appear at any time.
fn is_final(status: &str) -> bool {
    is_canceled(status) || ["completed", "failed", "expired"].iter().any(|word| status.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests;
