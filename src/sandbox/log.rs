//! What was asked and what was answered: the last million requests, and exact counts.
//!
//! It never holds a token, only the number under which it was issued.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Serialize, Serializer};
use uuid::Uuid;

/// Requests kept; older ones are dropped, and stay counted.
const KEPT: usize = 1_000_000;

/// What a request was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /api/v1/authorize`
    Authorize,
    /// `POST /api/v2/sessions`
    Create,
    /// `POST /api/v2/sessions/{id}/cancel`
    Cancel,
    /// `GET /api/v2/sessions/{id}/status`
    Status,
    /// Any other address, a followed redirect among them.
    Elsewhere,
}

impl Endpoint {
    /// The name as shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Create => "create",
            Self::Cancel => "cancel",
            Self::Status => "status",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    /// An answer with this code was begun.
    Code(u16),
    /// The connection was reset.
    Reset,
    /// Nothing: the client gave up first.
    Timeout,
}

impl fmt::Display for Answered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "{code}"),
            Self::Reset => formatter.write_str("reset"),
            Self::Timeout => formatter.write_str("timeout"),
        }
    }
}

impl Serialize for Answered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Code(code) => serializer.serialize_u16(*code),
            Self::Reset | Self::Timeout => serializer.collect_str(self),
        }
    }
}

/// What a request changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing.
    #[default]
    None,
    /// A token was issued.
    TokenIssued,
    /// A session was created.
    SessionCreated,
    /// A session was canceled.
    Canceled,
}

/// One request that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// 1, 2, 3 … in the order in which requests were over.
    pub sequence: u64,
    /// When it arrived, in milliseconds since the start of the sandbox.
    pub arrived_ms: u64,
    /// When it was over, in milliseconds since the start of the sandbox.
    pub finished_ms: u64,
    /// What it was for.
    pub endpoint: Endpoint,
    /// The session in its address; none where there is no such id, or no UUID.
    pub session_id: Option<Uuid>,
    /// What came back.
    pub answered: Answered,
    /// What it changed.
    pub effect: Effect,
    /// The number of the token sent with it, or issued by it; none where there is none of this sandbox.
    pub token_number: Option<u64>,
    /// The header `traceparent` as it came.
    pub traceparent: Option<String>,
    /// Requests under way when it arrived, itself among them.
    pub in_flight: u32,
    /// Requests under way for the same session at the same endpoint when it arrived, itself among them; 0 without a session.
    pub same_session_in_flight: u32,
}

/// How many requests there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests that arrived, by endpoint.
    pub arrived: BTreeMap<Endpoint, u64>,
    /// Requests that are over, by endpoint and by what came back.
    pub answered: BTreeMap<Endpoint, BTreeMap<String, u64>>,
    /// Requests that wait at a hold now, by endpoint.
    pub held: BTreeMap<Endpoint, u64>,
    /// Requests under way now.
    pub in_flight: u32,
    /// The most that were under way at once.
    pub max_in_flight: u32,
    /// Cancels that arrived while another for the same session was under way.
    pub overlapping_cancels: u64,
}

impl Counts {
    /// Requests that arrived at an endpoint.
    #[must_use]
    pub fn arrived(&self, endpoint: Endpoint) -> u64 {
        self.arrived.get(&endpoint).copied().unwrap_or_default()
    }

    /// Requests that are over at an endpoint, whatever came back.
    #[must_use]
    pub fn finished(&self, endpoint: Endpoint) -> u64 {
        self.answered.get(&endpoint).map_or(0, |answers| answers.values().sum())
    }

    /// Requests at an endpoint to which this came back.
    #[must_use]
    pub fn answered(&self, endpoint: Endpoint, answered: Answered) -> u64 {
        self.answered.get(&endpoint).and_then(|answers| answers.get(&answered.to_string())).copied().unwrap_or_default()
    }

    /// Requests that wait at a hold of an endpoint now.
    #[must_use]
    pub fn held(&self, endpoint: Endpoint) -> u64 {
        self.held.get(&endpoint).copied().unwrap_or_default()
    }
}

/// A page of the log.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// Requests in the order in which they were over.
    pub requests: Vec<Request>,
    /// What to ask `after` for the next page.
    pub next_after: u64,
}

#[derive(Debug, Default)]
struct Entries {
    kept: VecDeque<Request>,
    written: u64,
    arrived: BTreeMap<Endpoint, u64>,
    answered: BTreeMap<(Endpoint, Answered), u64>,
    in_flight: u32,
    max_in_flight: u32,
    overlapping_cancels: u64,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Entries>);

impl Log {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an arrival; gives the requests now under way.
    pub(super) fn arrive(&self, endpoint: Endpoint, overlaps: bool) -> u32 {
        let mut entries = self.lock();
        *entries.arrived.entry(endpoint).or_default() += 1;
        entries.overlapping_cancels += u64::from(overlaps && endpoint == Endpoint::Cancel);
        entries.in_flight += 1;
        entries.max_in_flight = entries.max_in_flight.max(entries.in_flight);
        entries.in_flight
    }

    /// Writes a request down; its sequence number is given here.
    pub(super) fn finish(&self, mut request: Request) -> u64 {
        let mut entries = self.lock();
        entries.written += 1;
        entries.in_flight = entries.in_flight.saturating_sub(1);
        *entries.answered.entry((request.endpoint, request.answered)).or_default() += 1;
        request.sequence = entries.written;
        if entries.kept.len() >= KEPT {
            entries.kept.pop_front();
        }
        entries.kept.push_back(request);
        entries.written
    }

    /// Requests after this sequence number, at most `limit`.
    pub(super) fn page(&self, after: u64, limit: usize) -> Page {
        let entries = self.lock();
        let start = entries.kept.partition_point(|request| request.sequence <= after);
        let requests: Vec<Request> = entries.kept.range(start..).take(limit).cloned().collect();
        let next_after = requests.last().map_or(after, |request| request.sequence);
        Page { requests, next_after }
    }

    /// The counts, but for what is held: the gates know that.
    pub(super) fn counts(&self) -> Counts {
        let entries = self.lock();
        let mut answered: BTreeMap<Endpoint, BTreeMap<String, u64>> = BTreeMap::new();
        for ((endpoint, answer), count) in &entries.answered {
            answered.entry(*endpoint).or_default().insert(answer.to_string(), *count);
        }
        Counts {
            arrived: entries.arrived.clone(),
            answered,
            held: BTreeMap::new(),
            in_flight: entries.in_flight,
            max_in_flight: entries.max_in_flight,
            overlapping_cancels: entries.overlapping_cancels,
        }
    }

    /// Forgets requests and counts; what is under way stays counted as such, and sequence numbers go on.
    pub(super) fn reset(&self) {
        let mut entries = self.lock();
        let (written, in_flight) = (entries.written, entries.in_flight);
        *entries = Entries { written, in_flight, max_in_flight: in_flight, ..Entries::default() };
    }
}
