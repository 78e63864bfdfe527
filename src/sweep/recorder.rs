//! The recorder: what attempts come to, handed to one task that writes it in batches.
//!
//! It never loses a result: while the database does not take it, it tries again, and nothing new is claimed. Only a
//! process that has to end gives up, and then says every result in full.

mod ending;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::ending::Ending;
use self::writer::Writer;
use super::ahead::Ahead;
use super::{Progress, telling};
use crate::ledger::{AttemptResult, Ended, Ledger, Settled};
use crate::session::Claim;

/// Entries in one transaction, and on the way to it, at the most.
const BATCH: usize = 500;

/// Tells whether an entry stands in the ledger.
type Told = oneshot::Sender<bool>;

enum Entry {
    Record(Box<AttemptResult>, Told),
    Settle(Box<Settled>, Told),
    EndAsked(Box<Ended>, Told),
    Release(Box<Released>),
}

struct Released {
    claim: Claim,
    /// From when on the session is due; none: when it was before.
    pause: Option<Duration>,
    told: Told,
}

/// The way to the recorder.
#[derive(Clone)]
pub(super) struct Recorder {
    entries: mpsc::Sender<Entry>,
    state: Arc<State>,
    stop: CancellationToken,
}

/// What the task that writes tells of itself.
#[derive(Default)]
struct State {
    /// The database did not take the last write.
    failing: AtomicBool,
    /// Results given up on.
    unwritten: AtomicU64,
    pace: Mutex<Pace>,
}

/// How long writing takes.
#[derive(Default)]
struct Pace {
    /// When the batch at hand was begun.
    began: Option<Instant>,
    /// How long the last one took.
    last: Duration,
}

impl State {
    fn begin_batch(&self) {
        self.pace_locked().began = Some(Instant::now());
    }

    fn end_batch(&self) {
        let mut pace = self.pace_locked();
        if let Some(began) = pace.began.take() {
            pace.last = began.elapsed();
        }
    }

    fn pace_locked(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder {
    /// Starts the task that writes. It ends with the last way to it.
    pub(super) fn start(
        ledger: Ledger,
        sweep: Arc<Mutex<Option<Uuid>>>,
        progress: Arc<Progress>,
        ahead: Arc<Ahead>,
        stop: CancellationToken,
    ) -> Self {
        let (entries, received) = mpsc::channel(BATCH);
        let state = Arc::new(State::default());
        let writer = Writer::new(ledger, sweep, progress, ahead, Arc::clone(&state), stop.clone());
        tokio::spawn(writer.run(received));
        Self { entries, state, stop }
    }

    /// Records a result, which is counted and told of once it stands in the ledger.
    pub(super) async fn record(&self, result: Box<AttemptResult>) {
        self.hand_in(|told| Entry::Record(result, told)).await;
    }

    /// Ends a session for which no request was sent. True when it stands in the ledger.
    pub(super) async fn settle(&self, settled: Settled) -> bool {
        self.hand_in(|told| Entry::Settle(Box::new(settled), told)).await
    }

    /// Ends a session that turned out to have ended when it was asked for. True when it stands in the ledger.
    pub(super) async fn end_asked(&self, ended: Ended) -> bool {
        self.hand_in(|told| Entry::EndAsked(Box::new(ended), told)).await
    }

    /// Gives a claim back.
    pub(super) async fn release(&self, claim: Claim, pause: Option<Duration>) {
        self.hand_in(|told| Entry::Release(Box::new(Released { claim, pause, told }))).await;
    }

    /// Whether the database does not take results just now.
    pub(super) fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Relaxed)
    }

    /// Whether a batch is written within `time`: the one at hand so far, and the last.
    pub(super) fn writes_within(&self, time: Duration) -> bool {
        let pace = self.state.pace_locked();
        pace.last.max(pace.began.map_or(Duration::ZERO, |began| began.elapsed())) <= time
    }

    /// How many results were given up on since the last call.
    pub(super) fn take_unwritten(&self) -> u64 {
        self.state.unwritten.swap(0, Ordering::Relaxed)
    }

    async fn hand_in(&self, entry: impl FnOnce(Told) -> Entry) -> bool {
        let (tell, told) = oneshot::channel();
        match self.entries.send(entry(tell)).await {
            Ok(()) => told.await.unwrap_or(false),
            Err(mpsc::error::SendError(entry)) => {
                self.without_writer(&entry);
                false
            }
        }
    }

    /// Without the task that writes nothing may be sent any more: the process ends, and its leases take care.
    fn without_writer(&self, entry: &Entry) {
        match entry {
            Entry::Record(result, _) => telling::unwritten(result),
            Entry::Settle(settled, _) => settled.tell_unwritten(),
            Entry::EndAsked(ended, _) => ended.tell_unwritten(),
            Entry::Release(_) => {}
        }
        self.state.unwritten.fetch_add(1, Ordering::Relaxed);
        self.stop.cancel();
    }
}
