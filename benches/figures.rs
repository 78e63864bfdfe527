//! What was measured, in the words of the JSON that comes out.
//!
//! Raw figures of single runs; medians, ratios and targets are the matter of whoever shows them.

use serde::Serialize;

/// How the provider answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answers {
    /// Every session is canceled.
    Good,
    /// A tenth had ended before, 2 % meet a 500, 1 % are not known.
    Mixed,
}

/// A case: what is asked of both contenders in turn.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Case {
    pub(crate) sessions: usize,
    pub(crate) latency_ms: u64,
    pub(crate) in_flight: usize,
    pub(crate) answers: Answers,
}

/// The bare client: the same HTTP stack, no database.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Limit {
    /// From the first request to the last answer.
    pub(crate) seconds: f64,
    /// Processor time of the client, a session.
    pub(crate) own_cpu_us: f64,
    /// Processor time of the sandbox, a session.
    pub(crate) sandbox_cpu_us: f64,
}

/// One sweep of the real program.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sweep {
    /// From the start of the process to its end.
    pub(crate) seconds: f64,
    /// From the first request to the close of the sweep's row, which comes after the last record.
    pub(crate) window_seconds: f64,
    pub(crate) own_cpu_us: f64,
    pub(crate) postgres_cpu_us: f64,
    pub(crate) sandbox_cpu_us: f64,
    pub(crate) peak_memory_kib: u64,
    pub(crate) wal_bytes: f64,
    pub(crate) transactions: f64,
    pub(crate) fsyncs: f64,
}

/// Both contenders in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    #[serde(flatten)]
    pub(crate) case: Case,
    pub(crate) limit: Limit,
    pub(crate) sweep: Sweep,
}

/// What the sandbox takes at most, from a client that costs next to nothing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SandboxLimit {
    pub(crate) requests_per_second: f64,
    pub(crate) cpu_us: f64,
}

/// Several daemons over one backlog.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScaleOut {
    pub(crate) processes: usize,
    pub(crate) sessions: usize,
    /// From the first request to the last record.
    pub(crate) per_second: f64,
    /// The bare client with as many in flight as all of them together.
    pub(crate) limit_per_second: f64,
    /// Sessions with other than one attempt, and cancel requests beyond one a session.
    pub(crate) not_once: u64,
}

/// A daemon without work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) seconds: f64,
    pub(crate) memory_kib: u64,
    /// Share of one core.
    pub(crate) cpu_share: f64,
}

/// The merchant's commits, with and without the notify trigger.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Writers {
    pub(crate) at_once: usize,
    pub(crate) commits_per_second: f64,
    pub(crate) commits_per_second_with_trigger: f64,
}

/// Everything of one run; what was not asked for is left out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) postgres: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sandbox: Option<SandboxLimit>,
    pub(crate) rounds: Vec<Round>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) round_trips: Option<f64>,
    /// With 1,000,000 rows of history, right after a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) with_history: Option<Sweep>,
    pub(crate) scale_out: Vec<ScaleOut>,
    /// From the start of a process to its first request.
    pub(crate) start_ms: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<Idle>,
    pub(crate) notify: Vec<Writers>,
}
