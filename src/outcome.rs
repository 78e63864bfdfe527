//! What one attempt came to, and what follows from it.
//!
//! The only place that decides between done, retry and failed. It never sends, stores or waits.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::session::State;

/// How an attempt ended, in the words of the audit table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 200, this session, `Canceled`.
    Canceled,
    /// The provider says it had ended; the session's status tells how.
    AlreadyTerminal,
    /// Cancel and status both say 404 in JSON.
    NotFound,
    /// 401.
    Unauthorized,
    /// 429.
    RateLimited,
    /// 5xx, 408 or 425.
    ServerError,
    /// No answer in time.
    Timeout,
    /// No connection, a reset, or TLS.
    NetworkError,
    /// An answer that neither confirms nor denies.
    InvalidResponse,
    /// Another 4xx, and the session is not in a final status.
    Rejected,
    /// The process ended while the request may have been under way.
    Interrupted,
}

impl Outcome {
    /// Every outcome, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Canceled,
        Self::AlreadyTerminal,
        Self::NotFound,
        Self::Unauthorized,
        Self::RateLimited,
        Self::ServerError,
        Self::Timeout,
        Self::NetworkError,
        Self::InvalidResponse,
        Self::Rejected,
        Self::Interrupted,
    ];

    /// The outcome as stored and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Canceled => "canceled",
            Self::AlreadyTerminal => "already_terminal",
            Self::NotFound => "not_found",
            Self::Unauthorized => "unauthorized",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::NetworkError => "network_error",
            Self::InvalidResponse => "invalid_response",
            Self::Rejected => "rejected",
            Self::Interrupted => "interrupted",
        }
    }

    /// Whether the attempt uses up the session's budget when it has to be repeated.
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(
            self,
            Self::ServerError
                | Self::Timeout
                | Self::NetworkError
                | Self::InvalidResponse
                | Self::Rejected
                | Self::Interrupted
        )
    }

    /// Whether the request can have had an effect although its answer did not confirm one.
    #[must_use]
    pub fn may_have_had_effect(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::NetworkError | Self::ServerError | Self::InvalidResponse | Self::Interrupted
        )
    }
}

/// What the provider said of a session, word for word but cleaned and bounded, with every secret taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// `status`, in the provider's spelling.
    pub session_status: Option<String>,
    /// `statusDetails`.
    pub status_details: Option<String>,
    /// `amount`, as a decimal number in text.
    pub amount: Option<String>,
}

impl Said {
    /// The same without what a database may refuse: a status that is one of the documented words is kept, for what it
    /// says of money must not be lost.
    #[must_use]
    pub fn without_outside_texts(self) -> Self {
        const KNOWN: [&str; 5] = ["Completed", "Failed", "Canceled", "Cancelled", "Expired"];
        let session_status = self.session_status.filter(|status| KNOWN.contains(&status.as_str()));
        Self { session_status, ..Self::default() }
    }
}

/// One finished attempt: a cancel request was begun, and this is what came of it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the answer to the cancel request; none where no answer came.
    pub http_status: Option<u16>,
    /// What the provider said of this session.
    pub said: Said,
    /// One line for people; none where all went well.
    pub error: Option<String>,
    /// How long the provider asked to be left alone (Retry-After of a 429 or 503), cut to the setting.
    pub retry_after: Option<Duration>,
    /// Status was asked and did not answer: nothing is known of the session, so it is not given up on this.
    pub status_unanswered: bool,
    /// The token sent with it had not been accepted before.
    pub fresh_token: bool,
    /// The id of the cancel request in the log.
    pub request_id: Uuid,
    /// When the cancel request was begun.
    pub started: Instant,
    /// When the attempt was over.
    pub finished: Instant,
}

/// What becomes of a session after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It has ended, in one of the good states.
    Done(State),
    /// It is tried again after this pause.
    Retry {
        /// From the end of the attempt.
        after: Duration,
        /// Whether the attempt uses up budget.
        counted: bool,
    },
    /// It is given up.
    Failed,
}

/// What `disposition` needs to know beside the outcome.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Counted attempts before this one.
    pub counted: u32,
    /// `[retry] max_attempts`.
    pub max_attempts: u32,
    /// The pause of the exponential backoff for this attempt.
    pub backoff: Duration,
    /// The pause that the provider asked for.
    pub retry_after: Option<Duration>,
    /// Uncounted results in a row before this one: the first two are repeated at once, later ones after a pause.
    pub uncounted_running: u32,
    /// Status was asked and did not answer.
    pub status_unanswered: bool,
    /// The attempt before this one was of a kind that counts and did not, because the provider was away.
    pub after_outage: bool,
    /// The attempt was made to find out whether sending works again, so it does not count against the session.
    pub probe: bool,
}

/// Fresh tokens that one session may ask for at once before its retries are spaced out.
const AT_ONCE: u32 = 2;

/// Decides what follows from an outcome.
#[must_use]
pub fn disposition(outcome: Outcome, now: Circumstances) -> Disposition {
    let pause = now.backoff.max(now.retry_after.unwrap_or_default());
    let uncounted = |after| Disposition::Retry { after, counted: false };
    match outcome {
        Outcome::Canceled => Disposition::Done(State::Canceled),
        Outcome::AlreadyTerminal => Disposition::Done(State::AlreadyTerminal),
        Outcome::NotFound if now.probe => uncounted(pause),
        Outcome::NotFound => Disposition::Failed,
        Outcome::Unauthorized if now.uncounted_running < AT_ONCE && !now.probe => uncounted(Duration::ZERO),
        Outcome::Unauthorized => uncounted(pause),
        Outcome::RateLimited => uncounted(now.retry_after.unwrap_or(now.backoff)),
        Outcome::ServerError
        | Outcome::Timeout
        | Outcome::NetworkError
        | Outcome::InvalidResponse
        | Outcome::Rejected
        | Outcome::Interrupted => {
            if now.probe {
                uncounted(pause)
            } else if !is_last(now.counted, now.max_attempts) {
                Disposition::Retry { after: pause, counted: true }
            } else if now.status_unanswered {
                // A session is failed on the provider's word alone, and there was none.
                uncounted(pause)
            } else if now.after_outage {
                // The budget went in the outage: the first word after it is not the last.
                Disposition::Retry { after: pause, counted: true }
            } else {
                Disposition::Failed
            }
        }
    }
}

/// Whether the attempt after `counted` counted ones is the last that the budget allows.
#[must_use]
pub fn is_last(counted: u32, max_attempts: u32) -> bool {
    counted.saturating_add(1) >= max_attempts
}
