//! The words of the domain: which session, why it is canceled, who may send for it now, and where that is traced.
//!
//! Pure data. Nothing here asks a clock, a database or the network.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A payment session at the provider, shown as the provider writes it: lower case, with hyphens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Uuid);

impl SessionId {
    /// The id as the database's own type.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for SessionId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    /// Reads any usual spelling of a UUID, in either letter case, with blanks around it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text.trim()).map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

/// Why a session is to be canceled: one of the two constants, or what the source query said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// The merchant marked the session as abandoned.
    pub const ABANDONED: &str = "abandoned";
    /// The session is open and older than `[source] max_age`.
    pub const AGED: &str = "aged";

    /// A reason in the words of the source.
    #[must_use]
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// The words, as stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is canceled for its age alone, so that the clocks have a say in it.
    #[must_use]
    pub fn is_age(&self) -> bool {
        self.0 == Self::AGED
    }
}

/// A session that the source names for cancellation, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The session.
    pub session_id: SessionId,
    /// The id in the spelling of the merchant's column, so that its index serves when we look again.
    pub source_key: String,
    /// The merchant's own reference, where there is one.
    pub reference_id: Option<String>,
    /// Why it is to be canceled.
    pub reason: Reason,
    /// The merchant's status; none where a source query gives no such column.
    pub source_status: Option<String>,
    /// When the merchant created it; none where a source query gives no such column.
    pub source_created_at: Option<DateTime<Utc>>,
}

/// Where something stands in a trace: what the provider, the audit row and the log are told, so that they can be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: u128,
    /// The span in it.
    pub span: u64,
    /// Whether its spans are kept.
    pub sampled: bool,
}

impl TraceContext {
    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The value of the header `traceparent`, as in the W3C's Trace Context.
    #[must_use]
    pub fn traceparent(self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The right to make one attempt on one session until the lease ends.
///
/// It exists in the database before it exists here: whoever holds one may send.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The random mark under which the ledger holds the session for us; one a batch.
    pub token: Uuid,
    /// The session.
    pub session_id: SessionId,
    /// The id in the spelling of the merchant's column.
    pub source_key: String,
    /// Why it is to be canceled.
    pub reason: Reason,
    /// The sweep that took it on.
    pub sweep_id: Uuid,
    /// The number that this attempt has: 1, 2, 3 …
    pub attempt: i32,
    /// Counted attempts before this one, since the session was taken on or requeued.
    pub counted: u32,
    /// Uncounted results in a row just before this attempt.
    pub uncounted_running: u32,
    /// An earlier attempt can have had an effect at the provider.
    pub may_have_had_effect: bool,
    /// The attempt before this one was of a kind that counts and did not: the provider was away.
    pub after_outage: bool,
    /// The attempt before this one ended with its process.
    pub after_interruption: bool,
    /// When the claim was made, or read back, by the database's clock.
    pub claimed_at: DateTime<Utc>,
    /// When the claim was known to be ours, by the monotonic clock: what has passed since, added to `claimed_at`, is
    /// never ahead of the database's clock.
    pub answered_at: Instant,
    /// The moment by which the attempt must be over, by the monotonic clock: the lease less a margin.
    pub deadline: Instant,
    /// The span of the attempt, once it has begun and where traces are on.
    pub trace: Option<TraceContext>,
}

impl Claim {
    /// What the attempt is found by.
    #[must_use]
    pub fn names(&self) -> Names {
        Names {
            session_id: self.session_id,
            sweep_id: self.sweep_id,
            attempt: Some(self.attempt),
            claim: Some(self.token),
            trace: self.trace,
        }
    }
}

/// What the log lines of a session are found by, the same as in its audit rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// The session.
    pub session_id: SessionId,
    /// The sweep that took it on.
    pub sweep_id: Uuid,
    /// The number of the attempt; none where no attempt is under way.
    pub attempt: Option<i32>,
    /// The mark of the claim; none where the session is not claimed.
    pub claim: Option<Uuid>,
    /// Where it stands in a trace; none where nothing is traced.
    pub trace: Option<TraceContext>,
}

/// Where a session taken on stands in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting for its next attempt.
    Pending,
    /// Held by a process under a lease.
    InFlight,
    /// The provider confirmed our cancellation.
    Canceled,
    /// The provider says it had ended before.
    AlreadyTerminal,
    /// Given up: its budget is spent, or the provider does not know it.
    Failed,
    /// The source no longer names it.
    Withdrawn,
}

impl State {
    /// Every state, in the order in which a session passes through them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::InFlight, Self::Canceled, Self::AlreadyTerminal, Self::Failed, Self::Withdrawn];

    /// Whether the session has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InFlight)
    }

    /// The state as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InFlight => "in_flight",
            Self::Canceled => "canceled",
            Self::AlreadyTerminal => "already_terminal",
            Self::Failed => "failed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_trace_is_written_as_the_standard_has_it() {
        let mut context = TraceContext { trace: 0xabc, span: 0xd, sampled: true };
        assert_eq!(context.trace_id(), "00000000000000000000000000000abc");
        assert_eq!(context.traceparent(), "00-00000000000000000000000000000abc-000000000000000d-01");
        context.sampled = false;
        assert!(context.traceparent().ends_with("-00"));
    }
}
