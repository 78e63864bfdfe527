//! The provider: one cancel request in, one [`Attempt`](crate::outcome::Attempt) out.
//!
//! Answers are data, not errors. This room never sleeps, never sends a cancel twice, and never lets a secret into a text.
//!
//! `client` makes the attempt with a token of `token` and the `credentials`, through `exchange` on the `connection`; `wire` reads the body,
//! `classify` says what it means, `redaction` and `text` make its words fit to be stored.

mod classify;
mod client;
mod connection;
mod credentials;
mod exchange;
mod measures;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "a broken promise is a panic")]
pub(crate) mod promises;
mod redaction;
mod retry_after;
mod text;
mod token;
mod wire;

use std::time::Duration;

pub use self::client::Client;
pub use self::connection::{Error, client as http_client};
use crate::outcome::Said;

/// No cancel request left the machine: there is nothing to audit, and the claim is given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotBegun {
    /// Too little of the lease was left to send and to ask status after it.
    #[error("too little time was left")]
    TooLate,
    /// Sending was held back while this request waited for a token or for its turn.
    #[error("sending is held back")]
    HeldBack,
    /// Authorize refused the client id and secret.
    #[error("{error}")]
    CredentialsRefused {
        /// One line, cleaned.
        error: String,
    },
    /// Authorize gave no token, for another reason than the credentials.
    #[error("{error}")]
    AuthorizeUnavailable {
        /// One line, cleaned.
        error: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
}

/// What the status endpoint says of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusAnswer {
    /// It has ended.
    Final(Said),
    /// It has not, or its status is not known to be final.
    Open(Said),
    /// 404 in JSON.
    NotFound,
    /// No answer about this session.
    NoAnswer {
        /// One line, cleaned.
        error: String,
        /// How long the provider asked to be left alone.
        retry_after: Option<Duration>,
    },
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio_util::sync::CancellationToken;
    use uuid::Uuid;

    use crate::pace::Pace;
    use crate::session::Names;

    /// The conductor spawns attempts.
    #[test]
    fn attempts_can_be_made_on_any_thread() {
        fn is_send(_: impl Send) {}
        let api = super::promises::api();
        let client =
            super::Client::new(&api, Pace::unlimited(), super::promises::clocks(), CancellationToken::new()).unwrap();
        let session_id = "0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a01".parse().unwrap();
        let names = Names { session_id, sweep_id: Uuid::nil(), attempt: None, claim: None, trace: None };
        is_send(client.cancel(names, Instant::now(), false, || true));
        is_send(client.status(names, Instant::now(), || true));
        is_send(client.authorize());
    }
}
