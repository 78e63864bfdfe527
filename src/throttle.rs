//! When not to send at all: what holds the whole process back, how sending starts again, and how many may be under way.
//!
//! It looks at answers and never at sessions' budgets; it neither sends nor stores.

mod evidence;
mod gate;
mod outage;
mod path;
mod sharing;
mod state;

pub use gate::{Entry, Gate, Pass};
pub use sharing::{Change, Known};
pub use state::{HeldBack, Verdict};

use std::fmt;

/// Why nothing is sent just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The provider asked to be left alone (429, or 503 with Retry-After).
    RetryAfter,
    /// No token can be had: the authorize endpoint does not answer.
    NoToken,
    /// The API as a whole does not answer: failures are spread over many sessions.
    ApiDown,
    /// The API answers other processes and not this one, whose own way to it must be broken.
    OwnPath,
    /// The credentials are refused. A matter for the operator.
    CredentialsRefused,
    /// So many answers are 404 that the address must be wrong. A matter for the operator.
    WrongAddress,
}

impl Why {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::RetryAfter, Self::NoToken, Self::ApiDown, Self::OwnPath, Self::CredentialsRefused, Self::WrongAddress];

    /// The short name in JSON and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RetryAfter => "retry_after",
            Self::NoToken => "no_token",
            Self::ApiDown => "api_down",
            Self::OwnPath => "own_path",
            Self::CredentialsRefused => "credentials_refused",
            Self::WrongAddress => "wrong_address",
        }
    }

    /// Whether only the operator can mend it, so that one attempt per cool-down finds out whether they have.
    #[must_use]
    pub fn is_trouble(self) -> bool {
        matches!(self, Self::CredentialsRefused | Self::WrongAddress)
    }

    /// Whether the provider is away, for all or for this process, so that one attempt per cool-down finds out whether it
    /// is back.
    #[must_use]
    pub fn is_outage(self) -> bool {
        matches!(self, Self::NoToken | Self::ApiDown | Self::OwnPath)
    }

    /// Whether requests are not answered properly, whatever the session.
    fn is_down(self) -> bool {
        matches!(self, Self::ApiDown | Self::OwnPath)
    }

    /// Whether the others are told of it.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Self::RetryAfter | Self::NoToken | Self::ApiDown)
    }

    /// Where two hold sending back at once, the weightier one is told.
    fn weight(self) -> u8 {
        match self {
            Self::RetryAfter => 0,
            Self::NoToken => 1,
            Self::OwnPath => 2,
            Self::ApiDown => 3,
            Self::CredentialsRefused | Self::WrongAddress => 4,
        }
    }

    /// What it means and what to do, as a sentence without its full stop.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::RetryAfter => "the provider asked to be left alone for a while",
            Self::NoToken => {
                "the provider's authorize endpoint gives no token: see whether api.base_url can be reached"
            }
            Self::ApiDown => {
                "the provider does not answer properly, whatever the session: see whether api.base_url can be reached, and ask the provider"
            }
            Self::OwnPath => {
                "this process alone cannot reach the API, others can: see its machine's way to api.base_url (name resolution, proxy, firewall)"
            }
            Self::CredentialsRefused => {
                "the provider refuses the credentials: see api.client_id and api.client_secret (or api.client_secret_file)"
            }
            Self::WrongAddress => "the provider answers 404 for too many sessions: see api.base_url",
        }
    }
}

/// How the API as a whole is seen, in the words of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// It is there.
    Closed,
    /// It is away; nothing is sent.
    Open,
    /// One attempt is under way to find out whether it is back.
    HalfOpen,
}

impl Circuit {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The state in JSON, metrics and the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
