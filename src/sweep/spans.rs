//! The spans of a sweep: the sweep, each batch that it claims or asks for, and each attempt or question of a batch. What
//! stands in them bears the names of the log.
//!
//! No text from outside stands in them and no secret: ids, numbers, and words of the program's own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use uuid::Uuid;

use crate::config;
use crate::geft::StatusAnswer;
use crate::ledger::{Sweep, Trigger};
use crate::outcome::{Attempt, Outcome};
use crate::session::{Names, TraceContext};
use crate::traces::{self, Span, Traces};

const SWEEP_ID: &str = "sweep.id";

/// Where a sweep's spans are opened.
pub(super) struct Spans {
    traces: Traces,
    /// The span of the sweep that is under way. What is done between sweeps begins traces of its own.
    sweep: Mutex<Option<TraceContext>>,
}

/// A batch, where traces are on. Its span ends with the last of what was begun within it.
pub(super) type Batch = Option<Arc<Span>>;

impl Spans {
    pub(super) fn start(settings: &config::Telemetry, instance: &str) -> Result<Self, traces::Error> {
        Ok(Self { traces: Traces::start(settings, instance)?, sweep: Mutex::default() })
    }

    /// Opens the span of a sweep, and has what follows stand in it.
    pub(super) fn sweep(&self, id: Uuid, trigger: Trigger) -> Option<Span> {
        let mut span = self.traces.open("sweep", None, None)?;
        span.set_text(SWEEP_ID, id.to_string());
        span.set_text("sweep.trigger", trigger.as_str().to_owned());
        self.set_sweep_locked(Some(span.context()));
        Some(span)
    }

    /// Ends the span of a sweep; `closed` is its row where it could be closed.
    pub(super) fn sweep_ended(&self, span: Option<Span>, closed: Option<&Sweep>) {
        let Some(mut span) = span else { return };
        self.set_sweep_locked(None);
        match closed {
            Some(sweep) => span.set_text("sweep.status", sweep.status.clone()),
            None => span.set_failed(),
        }
    }

    /// The moment at which a batch may begin.
    pub(super) fn now(&self) -> Option<SystemTime> {
        self.traces.now()
    }

    /// The span of a batch of so many sessions; none of an empty one.
    pub(super) fn batch(&self, since: Option<SystemTime>, sweep: Option<Uuid>, sessions: usize) -> Batch {
        let since = since.filter(|_| sessions > 0)?;
        let within = *self.sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let mut span = self.traces.open("batch", within, Some(since))?;
        if let Some(sweep) = sweep {
            span.set_text(SWEEP_ID, sweep.to_string());
        }
        span.set_number("batch.sessions", i64::try_from(sessions).unwrap_or(i64::MAX));
        Some(Arc::new(span))
    }

    /// The span of an attempt.
    pub(super) fn attempt(&self, batch: &Batch, names: Names) -> Option<Span> {
        self.of_session("attempt", batch, names)
    }

    /// The span of a question for a session's status where no cancel request is meant.
    pub(super) fn question(&self, batch: &Batch, names: Names) -> Option<Span> {
        self.of_session("question", batch, names)
    }

    /// Sends what waits to be sent.
    pub(super) async fn finish(&self) {
        self.traces.finish().await;
    }

    fn of_session(&self, name: &'static str, batch: &Batch, names: Names) -> Option<Span> {
        let mut span = self.traces.open(name, Some(batch.as_ref()?.context()), None)?;
        span.set_text("session.id", names.session_id.to_string());
        span.set_text(SWEEP_ID, names.sweep_id.to_string());
        if let Some(number) = names.attempt {
            span.set_number("attempt.number", number.into());
        }
        if let Some(claim) = names.claim {
            span.set_text("claim.id", claim.to_string());
        }
        Some(span)
    }

    fn set_sweep_locked(&self, context: Option<TraceContext>) {
        *self.sweep.lock().unwrap_or_else(PoisonError::into_inner) = context;
    }
}

/// What an attempt came to; none where it was given back before its request.
pub(super) fn attempted(span: &mut Option<Span>, attempt: Option<&Attempt>) {
    let Some(span) = span else { return };
    span.set_text("attempt.outcome", attempt.map_or("not_begun", |attempt| attempt.outcome.as_str()).to_owned());
    let Some(attempt) = attempt else { return };
    span.set_text("request.id", attempt.request_id.to_string());
    if let Some(code) = attempt.http_status {
        span.set_number("http.status", code.into());
    }
    if !matches!(attempt.outcome, Outcome::Canceled | Outcome::AlreadyTerminal) {
        span.set_failed();
    }
}

/// What a question came to; none where it was not asked to its end.
pub(super) fn asked(span: &mut Option<Span>, answer: Option<&StatusAnswer>) {
    let Some(span) = span else { return };
    let word = match answer {
        Some(StatusAnswer::Final(_)) => "final",
        Some(StatusAnswer::Open(_)) => "open",
        Some(StatusAnswer::NotFound) => "not_found",
        Some(StatusAnswer::NoAnswer { .. }) => "no_answer",
        None => "not_begun",
    };
    span.set_text("question.answer", word.to_owned());
    if matches!(answer, Some(StatusAnswer::NoAnswer { .. })) {
        span.set_failed();
    }
}
