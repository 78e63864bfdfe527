//! The recorder: gathers what attempts came to for some milliseconds and writes it in one transaction.
//!
//! It never loses a result: while the database does not take it, it tries again, and whoever waits for it claims
//! nothing new. Only a process that has to end gives up, and then says every result in full.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Progress, telling};
use crate::ledger::{AttemptResult, Error, Ledger, Recorded, Settled};
use crate::session::Claim;

/// How long results are gathered.
const GATHER: Duration = Duration::from_millis(5);
/// Results in one transaction at the most.
const BATCH: usize = 500;
/// The first and the longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a process that is to end goes on trying.
const LAST_TRIES: Duration = Duration::from_secs(5);

type Told = oneshot::Sender<bool>;

enum Entry {
    Record(Box<AttemptResult>, Told),
    Settle(Box<Settled>, Told),
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
    unwritten: Arc<AtomicU64>,
}

impl Recorder {
    /// Starts the task that writes. It ends with the last way to it.
    pub(super) fn start(
        ledger: Ledger,
        sweep: Arc<Mutex<Option<Uuid>>>,
        progress: Arc<Progress>,
        stop: CancellationToken,
    ) -> Self {
        let (entries, received) = mpsc::channel(BATCH);
        let unwritten = Arc::new(AtomicU64::new(0));
        let writer = Writer { ledger, sweep, progress, stop, unwritten: Arc::clone(&unwritten), failing: false };
        tokio::spawn(writer.run(received));
        Self { entries, unwritten }
    }

    /// Records a result. True when it stands in the ledger.
    pub(super) async fn record(&self, result: AttemptResult) -> bool {
        self.hand_in(|told| Entry::Record(Box::new(result), told)).await
    }

    /// Ends a session for which no request was sent. True when it stands in the ledger.
    pub(super) async fn settle(&self, settled: Settled) -> bool {
        self.hand_in(|told| Entry::Settle(Box::new(settled), told)).await
    }

    /// Gives a claim back.
    pub(super) async fn release(&self, claim: Claim, pause: Option<Duration>) {
        self.hand_in(|told| Entry::Release(Box::new(Released { claim, pause, told }))).await;
    }

    /// How many results were given up on since the last call.
    pub(super) fn take_unwritten(&self) -> u64 {
        self.unwritten.swap(0, Ordering::Relaxed)
    }

    async fn hand_in(&self, entry: impl FnOnce(Told) -> Entry) -> bool {
        let (tell, told) = oneshot::channel();
        self.entries.send(entry(tell)).await.is_ok() && told.await.unwrap_or(false)
    }
}

struct Writer {
    ledger: Ledger,
    sweep: Arc<Mutex<Option<Uuid>>>,
    progress: Arc<Progress>,
    stop: CancellationToken,
    unwritten: Arc<AtomicU64>,
    /// The database did not take the last write: said once, not at every try.
    failing: bool,
}

impl Writer {
    async fn run(mut self, mut received: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(BATCH);
        while received.recv_many(&mut batch, BATCH).await > 0 {
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                match tokio::time::timeout_at(until.into(), received.recv_many(&mut batch, room)).await {
                    Ok(more) if more > 0 => {}
                    _ => break,
                }
            }
            self.write(std::mem::take(&mut batch)).await;
            self.progress.beat();
        }
    }

    async fn write(&mut self, batch: Vec<Entry>) {
        let (mut results, mut settled, mut released) = (Vec::new(), Vec::new(), Vec::new());
        for entry in batch {
            match entry {
                Entry::Record(result, told) => results.push((*result, told)),
                Entry::Settle(one, told) => settled.push((*one, told)),
                Entry::Release(one) => released.push(*one),
            }
        }
        self.write_results(results).await;
        self.write_settled(settled).await;
        self.write_released(released).await;
    }

    /// Results whose values the database refuses are split down to the row at fault.
    async fn write_results(&mut self, results: Vec<(AttemptResult, Told)>) {
        let mut batches = vec![results];
        while let Some(mut batch) = batches.pop() {
            let values: Vec<AttemptResult> = batch.iter().map(|(result, _)| result.clone()).collect();
            let (ledger, sweep) = (self.ledger.clone(), self.sweep());
            match self.until_taken(|| ledger.record(sweep, &values), values.len()).await {
                Some(Ok(recorded)) => tell_recorded(batch, &recorded),
                Some(Err(_)) if batch.len() > 1 => {
                    batches.push(batch.split_off(batch.len() / 2));
                    batches.push(batch);
                }
                Some(Err(error)) => self.write_without_texts(batch, &error).await,
                None => values.iter().for_each(telling::unwritten),
            }
        }
    }

    /// One row that the database refuses: without the texts from outside, so that the attempt itself is on record.
    async fn write_without_texts(&mut self, batch: Vec<(AttemptResult, Told)>, refusal: &Error) {
        for (result, told) in batch {
            telling::refused(&result, refusal);
            let plain = [result.clone().without_outside_texts()];
            let (ledger, sweep) = (self.ledger.clone(), self.sweep());
            match self.until_taken(|| ledger.record(sweep, &plain), 1).await {
                Some(Ok(recorded)) => tell_recorded(vec![(result, told)], &recorded),
                Some(Err(_)) | None => telling::unwritten(&result),
            }
        }
    }

    async fn write_settled(&mut self, settled: Vec<(Settled, Told)>) {
        let mut batches = vec![settled];
        while let Some(mut batch) = batches.pop().filter(|batch| !batch.is_empty()) {
            let mut values: Vec<Settled> = batch.iter().map(|(one, _)| one.clone()).collect();
            values.sort_unstable_by_key(|one| one.claim.session_id);
            let (ledger, sweep) = (self.ledger.clone(), self.sweep());
            match self.until_taken(|| ledger.settle(sweep, &values), values.len()).await {
                Some(Ok(ended)) => {
                    for (one, told) in batch {
                        told.send(ended.contains(&one.claim.session_id.uuid())).ok();
                    }
                }
                Some(Err(_)) if batch.len() > 1 => {
                    batches.push(batch.split_off(batch.len() / 2));
                    batches.push(batch);
                }
                Some(Err(error)) => self.settle_without_texts(batch, &error).await,
                None => {}
            }
        }
    }

    /// One session that the database refuses to end so: without the texts from outside, or it would be asked for ever.
    async fn settle_without_texts(&mut self, batch: Vec<(Settled, Told)>, refusal: &Error) {
        for (one, told) in batch {
            telling::refused_settled(&one, refusal);
            let plain = [Settled { said: one.said.clone().without_outside_texts(), ..one.clone() }];
            let (ledger, sweep) = (self.ledger.clone(), self.sweep());
            match self.until_taken(|| ledger.settle(sweep, &plain), 1).await {
                Some(Ok(ended)) => {
                    told.send(ended.contains(&one.claim.session_id.uuid())).ok();
                }
                Some(Err(error)) => tracing::error!(
                    event = "session.not_settled",
                    session_id = %one.claim.session_id,
                    %error,
                    "a session could not be ended; its lease takes care of it"
                ),
                None => {}
            }
        }
    }

    async fn write_released(&mut self, released: Vec<Released>) {
        let (at_once, later): (Vec<_>, Vec<_>) = released.into_iter().partition(|one| one.pause.is_none());
        let mut groups = vec![at_once];
        groups.extend(later.into_iter().map(|one| vec![one]));
        for group in groups {
            let Some(pause) = group.first().map(|one| one.pause) else { continue };
            let claims: Vec<Claim> = group.iter().map(|one| one.claim.clone()).collect();
            let ledger = self.ledger.clone();
            let done = self.until_taken(|| ledger.release(&claims, pause), claims.len()).await;
            for Released { told, .. } in group {
                told.send(matches!(done, Some(Ok(_)))).ok();
            }
        }
    }

    /// Tries until the database takes the statement or refuses its values; none where the process had to end first.
    async fn until_taken<T, Written: Future<Output = Result<T, Error>>>(
        &mut self,
        statement: impl Fn() -> Written,
        number: usize,
    ) -> Option<Result<T, Error>> {
        let mut pause = PAUSE.0;
        let mut last_tries: Option<Instant> = None;
        loop {
            let error = match statement().await {
                Err(error) if !error.is_about_data() => error,
                done => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!(event = "ledger.writing_again", "the database takes results again");
                    }
                    return Some(done);
                }
            };
            if !std::mem::replace(&mut self.failing, true) {
                tracing::error!(
                    event = "ledger.not_writing",
                    %error,
                    "the database does not take results; nothing new is claimed until it does"
                );
            }
            if self.stop.is_cancelled() && last_tries.get_or_insert_with(Instant::now).elapsed() > LAST_TRIES {
                self.unwritten.fetch_add(u64::try_from(number).unwrap_or(u64::MAX), Ordering::Relaxed);
                return None;
            }
            self.progress.beat();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(if self.stop.is_cancelled() { PAUSE.0 } else { PAUSE.1 });
        }
    }

    fn sweep(&self) -> Option<Uuid> {
        *self.sweep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell_recorded(batch: Vec<(AttemptResult, Told)>, recorded: &Recorded) {
    for (result, told) in batch {
        let session = result.claim.session_id.uuid();
        if recorded.late.contains(&session) {
            telling::late(&result);
        }
        told.send(recorded.written.contains(&session)).ok();
    }
}
