//! The task that writes: gathers entries for some milliseconds and writes each kind in one statement.
//!
//! A batch that the database refuses for its data is split down to the row at fault, which never holds up the others.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::ahead::Ahead;
use super::super::{Progress, measures, telling};
use super::ending::Ending;
use super::{BATCH, Entry, Released, State, Told};
use crate::ledger::{AttemptResult, Error, Ledger, Recorded};
use crate::session::Claim;

/// How long entries are gathered while more answers are awaited.
const GATHER: Duration = Duration::from_millis(50);
/// The first and the longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a process that is to end goes on trying to write a batch, and each that comes after one was given up: all of
/// them must be told of before a service manager loses its patience.
const LAST_TRIES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(1));
/// So long after the first was given up, each that is left is tried for this long alone.
const HURRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_millis(250));

type LastMoment = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Writer {
    ledger: Ledger,
    sweep: Arc<Mutex<Option<Uuid>>>,
    progress: Arc<Progress>,
    ahead: Arc<Ahead>,
    state: Arc<State>,
    stop: CancellationToken,
    /// Comes when the batch at hand must be given up; none when it came.
    end: Option<LastMoment>,
    /// When the first batch was given up since one was written.
    gave_up: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        ledger: Ledger,
        sweep: Arc<Mutex<Option<Uuid>>>,
        progress: Arc<Progress>,
        ahead: Arc<Ahead>,
        state: Arc<State>,
        stop: CancellationToken,
    ) -> Self {
        Self { ledger, sweep, progress, ahead, state, stop, end: None, gave_up: None }
    }

    pub(super) async fn run(mut self, mut received: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(BATCH);
        while received.recv_many(&mut batch, BATCH).await > 0 {
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH && self.ahead.is_awaited() {
                let room = BATCH - batch.len();
                match tokio::time::timeout_at(until.into(), received.recv_many(&mut batch, room)).await {
                    Ok(more) if more > 0 => {}
                    _ => break,
                }
            }
            let stop = self.stop.clone();
            let last_tries = self.last_tries();
            self.end = Some(Box::pin(async move {
                stop.cancelled().await;
                tokio::time::sleep(last_tries).await;
            }));
            self.state.begin_batch();
            self.write(std::mem::take(&mut batch)).await;
            self.state.end_batch();
            self.progress.beat();
        }
    }

    async fn write(&mut self, batch: Vec<Entry>) {
        let (mut results, mut again, mut released) = (Vec::new(), Vec::new(), Vec::new());
        let (mut settled, mut asked) = (Vec::new(), Vec::new());
        let mut sessions = HashSet::new();
        for entry in batch {
            match entry {
                // Two results of one session, the older one late, go one after the other.
                Entry::Record(result, told) if sessions.insert(result.claim.session_id) => {
                    results.push((*result, told));
                }
                Entry::Record(result, told) => again.push((*result, told)),
                Entry::Settle(one, told) => settled.push((*one, told)),
                Entry::EndAsked(one, told) => asked.push((*one, told)),
                Entry::Release(one) => released.push(*one),
            }
        }
        self.write_results(results).await;
        for result in again {
            self.write_results(vec![result]).await;
        }
        self.write_endings(settled).await;
        self.write_endings(asked).await;
        self.write_released(released).await;
    }

    async fn write_results(&mut self, results: Vec<(AttemptResult, Told)>) {
        let mut batches: Vec<(Vec<AttemptResult>, Vec<Told>)> = vec![results.into_iter().unzip()];
        while let Some((mut results, mut told)) = batches.pop().filter(|(results, _)| !results.is_empty()) {
            let (ledger, sweep) = (self.ledger.clone(), self.sweep());
            match self.until_taken(|| record(&ledger, sweep, &results)).await {
                Some(Ok(recorded)) => self.tell_recorded(&results, told, &recorded),
                Some(Err(_)) if results.len() > 1 => {
                    let half = results.len() / 2;
                    batches.push((results.split_off(half), told.split_off(half)));
                    batches.push((results, told));
                }
                Some(Err(error)) => self.write_without_texts(results, told, &error).await,
                None => self.give_up(&results),
            }
        }
    }

    /// One row that the database refuses: without the texts from outside, so that the attempt itself is on record.
    async fn write_without_texts(&mut self, results: Vec<AttemptResult>, told: Vec<Told>, refusal: &Error) {
        for (result, told) in results.into_iter().zip(told) {
            telling::refused(&result, refusal);
            let plain = [result.clone().without_outside_texts()];
            let (ledger, sweep) = (self.ledger.clone(), self.sweep());
            match self.until_taken(|| record(&ledger, sweep, &plain)).await {
                Some(Ok(recorded)) => self.tell_recorded(&[result], vec![told], &recorded),
                Some(Err(_)) | None => self.give_up(&[result]),
            }
        }
    }

    fn tell_recorded(&self, results: &[AttemptResult], told: Vec<Told>, recorded: &Recorded) {
        for (result, told) in results.iter().zip(told) {
            let session = result.claim.session_id.uuid();
            if recorded.late.contains(&session) {
                telling::late(result);
            }
            let is_written = recorded.written.contains(&session);
            if is_written {
                self.progress.count_attempt(result.disposition);
                telling::recorded(result);
            }
            told.send(is_written).ok();
        }
    }

    fn give_up(&self, results: &[AttemptResult]) {
        results.iter().for_each(telling::unwritten);
        self.state.unwritten.fetch_add(u64::try_from(results.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn give_up_endings(&self, endings: &[impl Ending]) {
        endings.iter().for_each(Ending::tell_unwritten);
        self.state.unwritten.fetch_add(u64::try_from(endings.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    async fn write_endings<End: Ending>(&mut self, endings: Vec<(End, Told)>) {
        let mut batches = vec![endings];
        while let Some(mut batch) = batches.pop().filter(|batch| !batch.is_empty()) {
            let mut values: Vec<End> = batch.iter().map(|(one, _)| one.clone()).collect();
            values.sort_unstable_by_key(|one| one.names().session_id);
            let (ledger, sweep) = (self.ledger.clone(), self.sweep());
            match self.until_taken(|| End::write(&ledger, sweep, &values)).await {
                Some(Ok(ended)) => tell_ended(batch, &ended),
                Some(Err(_)) if batch.len() > 1 => {
                    batches.push(batch.split_off(batch.len() / 2));
                    batches.push(batch);
                }
                Some(Err(error)) => self.end_without_texts(batch, &error).await,
                None => self.give_up_endings(&values),
            }
        }
    }

    /// One session that the database refuses to end so: without the texts from outside, or it would be asked for ever.
    async fn end_without_texts<End: Ending>(&mut self, batch: Vec<(End, Told)>, refusal: &Error) {
        for (one, told) in batch {
            telling::refused_end(one.names(), one.state(), one.said(), refusal);
            let plain = [one.without_outside_texts()];
            let (ledger, sweep) = (self.ledger.clone(), self.sweep());
            match self.until_taken(|| End::write(&ledger, sweep, &plain)).await {
                Some(Ok(ended)) => tell_ended(vec![(one, told)], &ended),
                Some(Err(error)) => telling::not_settled(one.names(), &error),
                None => self.give_up_endings(&[one]),
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
            let done = self.until_taken(|| ledger.release(&claims, pause)).await;
            if done.is_none() {
                // Their requests were never begun, but nobody can know that now.
                self.state.unwritten.fetch_add(u64::try_from(group.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
            for Released { told, .. } in group {
                told.send(matches!(done, Some(Ok(_)))).ok();
            }
        }
    }

    /// Tries until the database takes the statement or refuses its values; none where the process had to end first.
    async fn until_taken<T, Written: Future<Output = Result<T, Error>>>(
        &mut self,
        statement: impl Fn() -> Written,
    ) -> Option<Result<T, Error>> {
        let mut pause = PAUSE.0;
        loop {
            let end = self.end.as_mut()?;
            let error = tokio::select! {
                biased;
                done = statement() => match done {
                    Err(error) if !error.is_about_data() => error,
                    done => {
                        self.note_taken();
                        return Some(done);
                    }
                },
                () = end => {
                    self.give_batch_up();
                    return None;
                }
            };
            self.note_failing(&error);
            let end = self.end.as_mut()?;
            let stopping = self.stop.is_cancelled();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = end => self.give_batch_up(),
                // The last tries begin at once, whatever the pause was.
                () = self.stop.cancelled(), if !stopping => pause = PAUSE.0,
            }
            self.progress.beat();
            pause = (pause * 2).min(if self.stop.is_cancelled() { PAUSE.0 } else { PAUSE.1 });
        }
    }

    fn last_tries(&self) -> Duration {
        match self.gave_up {
            None => LAST_TRIES.0,
            Some(at) if at.elapsed() < HURRY.0 => LAST_TRIES.1,
            Some(_) => HURRY.1,
        }
    }

    fn give_batch_up(&mut self) {
        self.end = None;
        self.gave_up.get_or_insert_with(Instant::now);
    }

    fn note_taken(&mut self) {
        self.gave_up = None;
        if self.state.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(event = "ledger.writing_again", "the database takes results again");
        }
    }

    /// Said once, not at every try.
    fn note_failing(&self, error: &Error) {
        if !self.state.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                event = "ledger.not_writing",
                error.message = %error,
                "the database does not take results; nothing new is claimed until it does"
            );
        }
    }

    fn sweep(&self) -> Option<Uuid> {
        *self.sweep.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn record(ledger: &Ledger, sweep: Option<Uuid>, results: &[AttemptResult]) -> Result<Recorded, Error> {
    let began = Instant::now();
    let recorded = ledger.record(sweep, results).await?;
    measures::recorded(results.len(), began.elapsed());
    Ok(recorded)
}

fn tell_ended(batch: Vec<(impl Ending, Told)>, ended: &HashSet<Uuid>) {
    for (one, told) in batch {
        told.send(ended.contains(&one.names().session_id.uuid())).ok();
    }
}
