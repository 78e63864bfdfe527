//! The conductor: it alone carries values from one stage to the next.
//!
//! A sweep takes no input but the database: what set it off only wakes it. A retry is a row with a later time, never a
//! sleep in memory.

mod aging;
mod ahead;
mod attempt;
mod blast_radius;
mod brakes;
mod discovered;
mod discovery;
mod environment;
mod measures;
mod notified;
mod progress;
mod questions;
mod recorder;
mod sharing;
mod spans;
mod telling;
mod work;

pub use discovery::DryRun;
pub use progress::{Counts, Phase, Progress};
pub use work::End;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backoff::Policy;
use crate::clocks::Clocks;
use crate::config::Config;
use crate::database::{self, Database};
use crate::geft::Client;
use crate::ledger::{Api, Brake, Ledger, Sweep, SweepStatus, Trigger};
use crate::pace::{Pace, Told, Wanted};
use crate::source::Source;
use crate::throttle::{Circuit, Gate, HeldBack, Why};
use crate::wake::Wakes;
use crate::{config, geft, ledger, source, traces};
use notified::Row;
use recorder::Recorder;

/// How long the command `sweep` waits for a provider that is away for a moment, even without `--wait`.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a daemon works at a stretch, so that retries which fall due all the time never keep it from the next tick.
const STRETCH: Duration = Duration::from_secs(10);

/// The shortest wait for something that falls due.
const AT_LEAST: Duration = Duration::from_millis(50);

/// The longest wait while sending is held back: another process may find out before its time that it need not be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A sweep could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The merchant's table.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The client could not be built.
    #[error(transparent)]
    Client(#[from] geft::Error),
    /// Spans cannot be sent.
    #[error(transparent)]
    Traces(#[from] traces::Error),
    /// The database failed between statements.
    #[error("the database failed while {doing}: {}", database::words(source))]
    Database {
        /// What for.
        doing: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// What a dry run found could not be written out.
    #[error("the result could not be written out: {0}")]
    Output(#[source] std::io::Error),
    /// Results could not be written before the process had to end. They are in the log in full.
    #[error(
        "{0} results could not be written to the database before the end; their sessions' leases take care of them"
    )]
    Unwritten(u64),
}

/// How a sweep ended.
#[derive(Debug)]
pub struct Ended {
    /// Its row.
    pub sweep: Sweep,
    /// Why it was cut short, as a sentence; none where it ran to its end.
    pub cut_short: Option<String>,
    /// What holds sending back at its end.
    pub held_back: Option<HeldBack>,
}

/// The conductor of one process. Cheap to clone.
#[derive(Clone)]
pub struct Sweeper {
    shared: Arc<Shared>,
}

/// What the stages of one process share.
struct Shared {
    settings: config::Source,
    lease: Duration,
    per_second: Option<f64>,
    max_discovered: u64,
    database: Database,
    ledger: Ledger,
    client: Client,
    gate: Gate,
    sharing: sharing::Sharing,
    policy: Policy,
    recorder: Recorder,
    ahead: Arc<ahead::Ahead>,
    brakes: brakes::Brakes,
    environment: environment::Environment,
    clocks: Clocks,
    /// When the API was last asked for nothing but the time.
    asked_for_time: Mutex<Option<Instant>>,
    answers: questions::Answers,
    spans: spans::Spans,
    /// The merchant's table as it was last inspected.
    source: Mutex<Option<Arc<Source>>>,
    /// When leases that ran out were last looked for.
    looked_for_expired: Mutex<Option<Instant>>,
    /// When the source's statuses were last counted.
    census: Mutex<Option<Instant>>,
    /// The sweep that results are counted for: the latest of this process.
    current: Arc<Mutex<Option<Uuid>>>,
    /// The latest sweep that a notification set off, and when its row was opened.
    notified: Mutex<Option<(Uuid, Instant)>>,
    wakes: Wakes,
    /// Told when sessions may have been taken on beside the work under way.
    taken_on: tokio::sync::Notify,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

impl Sweeper {
    /// Wires the stages; connects to nothing yet.
    pub fn new(config: &Config, database: Database, ledger: Ledger, stop: CancellationToken) -> Result<Self, Error> {
        measures::register();
        let pace = share_pace(&ledger, config.api.max_requests_per_second);
        let clocks = Clocks::new(config.brakes.clock_tolerance);
        let client = Client::new(&config.api, pace, clocks.clone(), stop.clone())?.reading_again(config.origin.clone());
        let api = Api { origin: config.api.origin(), client_id: config.api.client_id.clone() };
        let spans = spans::Spans::start(&config.telemetry, ledger.instance().name())?;
        let current = Arc::new(Mutex::new(None));
        let progress = Arc::new(Progress::default());
        let ahead: Arc<ahead::Ahead> = Arc::default();
        let (counts, seen) = (Arc::clone(&progress), Arc::clone(&ahead));
        let recorder = Recorder::start(ledger.clone(), Arc::clone(&current), counts, seen, stop.clone());
        let shared = Shared {
            settings: config.source.clone(),
            lease: config.retry.lease,
            per_second: config.api.max_requests_per_second,
            max_discovered: config.brakes.max_discovered,
            database,
            ledger,
            client,
            gate: Gate::new(config.api.max_in_flight, config.api.timeout),
            sharing: sharing::Sharing::default(),
            policy: Policy::new(config.retry.clone()),
            recorder,
            ahead,
            brakes: brakes::Brakes::default(),
            environment: environment::Environment::new(api, config.brakes.unknown_api),
            clocks,
            asked_for_time: Mutex::new(None),
            answers: questions::Answers::default(),
            spans,
            source: Mutex::new(None),
            looked_for_expired: Mutex::new(None),
            census: Mutex::new(None),
            current,
            notified: Mutex::new(None),
            wakes: Wakes::default(),
            taken_on: tokio::sync::Notify::new(),
            progress,
            stop,
        };
        let shared = Arc::new(shared);
        sharing::Sharing::keep_up(&shared);
        Ok(Self { shared })
    }

    /// The counts of what this process does, as it does it.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.shared.progress
    }

    /// What holds sending back; it may be over already, but nothing has been sent since.
    #[must_use]
    pub fn held_back(&self) -> Option<HeldBack> {
        self.shared.gate.held_back()
    }

    /// How the API as a whole is seen.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        self.shared.gate.circuit()
    }

    /// Shows that this process is alive, and how it stands.
    pub async fn show_alive(&self, command: &str) -> Result<(), ledger::Error> {
        let held = self.held_back();
        let held = held.map(|held| (held.why.as_str(), held.until.saturating_duration_since(Instant::now())));
        self.shared.ledger.show_alive(command, held, self.circuit().as_str()).await
    }

    /// Whether the API is none that this database's sessions may be sent to: then not even the source is read.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.shared.environment.is_refused()
    }

    /// Sends the spans that wait to be sent, within a few seconds. For the end of a process: no span is sent after it.
    pub async fn finish_traces(&self) {
        self.shared.spans.finish().await;
    }

    /// The brakes that act as far as this process knows, each with the sentence that says what to do.
    #[must_use]
    pub fn brakes(&self) -> Vec<(&'static str, String)> {
        self.shared.brakes.acting()
    }

    /// Sends these secrets of the API from here on; false where nothing differs.
    pub fn replace_secrets(&self, secrets: config::ApiSecrets) -> Result<bool, Error> {
        let replaced = self.shared.client.replace_secrets(secrets)?;
        if replaced {
            self.shared.gate.try_credentials_again();
        }
        Ok(replaced)
    }

    /// One sweep: discovers, then works until nothing is due, waiting at most `wait` for what falls due later.
    ///
    /// Its row is closed in any case, as far as the database allows.
    pub async fn sweep(&self, trigger: Trigger, wait: Duration) -> Result<Ended, Error> {
        let shared = &self.shared;
        let began = Instant::now();
        let Row { id, goes_on } = shared.begin_row(trigger).await?;
        let span = shared.spans.sweep(id, trigger);
        let worked = self.conduct(id, trigger, wait).await;
        let cut_short = match &worked {
            Ok((_, Some(braked))) => Some(braked.clone()),
            Ok((End::Stopped, _)) => Some("asked to stop".to_owned()),
            Ok((End::Held(held), _)) if held.why != Why::RetryAfter => Some(held.why.sentence().to_owned()),
            Ok((End::Held(_) | End::Idle | End::Refused | End::Unfinished, _)) => {
                shared.gate.refused_from_the_start().then(|| Why::CredentialsRefused.sentence().to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
        let status = if cut_short.is_some() { SweepStatus::Stopped } else { SweepStatus::Finished };
        measures::sweep_ended(status, began.elapsed());
        let closed = shared.ledger.close_sweep(id, status, cut_short.as_deref()).await;
        shared.spans.sweep_ended(span, closed.as_ref().ok());
        let (end, _) = worked?;
        let sweep = closed?;
        if !goes_on {
            telling::sweep_ended(&sweep);
        }
        let held_back = if let End::Held(held) = end { Some(held) } else { None };
        Ok(Ended { sweep, cut_short, held_back })
    }

    /// The work of one sweep: how it ended, and the sentence of a brake that kept something back.
    async fn conduct(&self, id: Uuid, trigger: Trigger, wait: Duration) -> Result<(End, Option<String>), Error> {
        let shared = &self.shared;
        shared.allow_round_locked();
        if !shared.look_at_environment().await? {
            shared.pass_over_wakes();
            return Ok((End::Refused, shared.brakes.sentence(Brake::Environment)));
        }
        let (mut braked, mut begun, mut until) = (None, Instant::now(), None);
        let worked = shared.work_beside(async |tasks| {
            // Boxed, so that the rest of the sweep does not carry it along.
            braked = Box::pin(shared.discover(id, trigger, Some(&mut *tasks))).await?;
            // What was taken on before goes on all the same.
            begun = Instant::now();
            until = (trigger != Trigger::Command).then(|| begun + STRETCH);
            shared.fill(tasks, until).await
        });
        let end = match worked.await {
            (Ok(End::Idle), true) => shared.work(until).await?,
            (end, _) => end?,
        };
        let end = self.work_until_done(end, far(begun, wait), until).await?;
        let braked = match (braked, end) {
            (None, End::Refused) => shared.brakes.sentence(Brake::Environment),
            (None, End::Idle) => shared.held_for_age().await?,
            (braked, _) => braked,
        };
        Ok((end, braked))
    }

    /// Works on what is due now, and returns when nothing is, or before the next tick has waited for long.
    pub async fn work(&self) -> Result<End, Error> {
        self.shared.work(Some(Instant::now() + STRETCH)).await
    }

    /// How long until something is due; none where nothing is open.
    pub async fn next_due(&self) -> Result<Option<Duration>, Error> {
        self.shared.next_due().await
    }

    /// Goes on after work that ended like this: waits for what falls due or is held back until `limit`, and works on it; no
    /// longer than `until`, whatever is due.
    async fn work_until_done(&self, mut end: End, limit: Instant, until: Option<Instant>) -> Result<End, Error> {
        let shared = &self.shared;
        let patience = Instant::now() + PATIENCE;
        loop {
            let due = shared.next_due().await?.map(|due| far(Instant::now(), due));
            let due = due.filter(|due| *due <= limit.max(Instant::now()));
            let next = match end {
                End::Stopped | End::Refused | End::Unfinished => return Ok(end),
                // All that was to be sent by now was sent.
                End::Held(held) if due.is_none() && !held.why.is_trouble() => return Ok(End::Idle),
                End::Held(held) => held_until(held, limit, patience),
                End::Idle => due.filter(|due| *due <= limit),
            };
            let Some(next) = next else { return Ok(end) };
            // What is due may be in another process's hands at this moment: it is not asked for in a tight loop.
            let next = next.max(Instant::now() + AT_LEAST);
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = shared.stop.cancelled() => {}
            }
            end = shared.work(until).await?;
        }
    }
}

/// When to look again at what holds sending back; none where that cannot be over by `limit`, or by `patience` where the
/// provider is away.
fn held_until(held: HeldBack, limit: Instant, patience: Instant) -> Option<Instant> {
    let longest = if held.why.is_outage() { limit.max(patience) } else { limit };
    // Another process may find out any time that the API is back.
    let in_time = held.until <= longest || (held.why == Why::ApiDown && Instant::now() < limit);
    (!held.why.is_trouble() && in_time).then(|| held.until.min(Instant::now() + LOOK_AGAIN))
}

/// A moment after `from`; a wait that no clock can count stands for a century.
fn far(from: Instant, wait: Duration) -> Instant {
    from.checked_add(wait).unwrap_or(from + Duration::from_hours(24 * 36_500))
}

/// The rate limit of all processes together, handed out to this one by a task that ends with its last user.
fn share_pace(ledger: &Ledger, per_second: Option<f64>) -> Pace {
    let Some(per_second) = per_second else { return Pace::unlimited() };
    let (pace, turns) = Pace::limited(per_second);
    let ledger = ledger.clone();
    tokio::spawn(turns.serve(async move |wanted: Wanted| {
        match ledger.reserve_slots(wanted.span, wanted.ahead).await {
            Ok(slots) => Some(Told { clock: slots.clock, first: slots.first, given: slots.reserved }),
            // Said by whoever needs the database next; until then nothing is sent.
            Err(error) => {
                tracing::debug!(event = "pace.not_reserved", error.message = %error, "no share of the rate limit");
                None
            }
        }
    }));
    pace
}
