//! The loop of `run`: a sweep at each tick and at each wake, what falls due between the ticks, and an orderly end.
//!
//! It never exits for a database or an API that is away: it says so once and goes on when they come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::health::{Health, Part};
use crate::ledger::{self, Ledger, Schema, Trigger};
use crate::schedule::Schedule;
use crate::sweep::{Error, Sweeper};
use crate::systemd::Manager;

/// The first and the longest pause between two tries to reach the database.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// How often the database is asked for what falls due, at the least: others can put rows there.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The shortest wait for something that falls due.
const AT_LEAST: Duration = Duration::from_millis(50);
/// How often the process shows that it is alive.
const ALIVE: Duration = Duration::from_secs(5);
/// The pause after the merchant's table turned out not to fit the settings.
const UNFIT: Duration = Duration::from_secs(10);
/// A database that served for this long was well in between.
const STEADY: Duration = Duration::from_secs(30);
/// How long saying goodbye to the database may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// The process ended without having been able to put everything in order.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer at the end: what this process held is taken over when its lease ends")]
pub struct Untidy;

/// The daemon, wired.
pub struct Daemon {
    /// Its health.
    pub health: Arc<Health>,
    /// The conductor.
    pub sweeper: Sweeper,
    /// The ledger.
    pub ledger: Ledger,
    /// `[database] auto_migrate`
    pub auto_migrate: bool,
    /// Is told when it is ready.
    pub manager: Manager,
    /// Asked to stop.
    pub stop: CancellationToken,
}

impl Daemon {
    /// Runs until asked to stop.
    pub async fn run(&self, mut schedule: Schedule) -> Result<(), Untidy> {
        let alive = tokio::spawn(show_alive(self.sweeper.clone(), self.ledger.clone(), Arc::clone(&self.health)));
        let mut tidy = true;
        let mut pause = PAUSE.0;
        while self.prepare().await {
            self.manager.ready();
            let began = Instant::now();
            tidy = self.serve(&mut schedule).await;
            // A database that answers and yet fails at once must not be asked in a tight loop.
            pause = if began.elapsed() > STEADY { PAUSE.0 } else { (pause * 2).min(UNFIT) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => break,
            }
        }
        alive.abort();
        let goodbye = tokio::time::timeout(GOODBYE, self.say_goodbye()).await;
        if tidy && matches!(goodbye, Ok(Ok(()))) { Ok(()) } else { Err(Untidy) }
    }

    /// A connection that broke while nobody used it shows only now; the second try has a new one.
    async fn say_goodbye(&self) -> Result<(), ledger::Error> {
        match self.ledger.say_goodbye().await {
            Ok(()) => Ok(()),
            Err(_) => self.ledger.say_goodbye().await,
        }
    }

    /// Waits until the database answers, the schema fits and no right in it is missing; false where the process is to stop first.
    async fn prepare(&self) -> bool {
        let mut pause = PAUSE.0;
        loop {
            self.sweeper.progress().beat();
            let ready = tokio::select! {
                ready = self.is_ready() => ready,
                () = self.stop.cancelled() => return false,
            };
            if ready {
                return true;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return false,
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn is_ready(&self) -> bool {
        let schema = match self.ledger.schema().await {
            Ok(schema) => schema,
            Err(error) => {
                note_failure(&self.health, &error);
                return false;
            }
        };
        self.health.well(Part::Database);
        if matches!(schema, Schema::Missing | Schema::Behind { .. }) && self.auto_migrate {
            match self.ledger.migrate().await {
                Ok(done) => tracing::info!(
                    event = "schema.migrated",
                    schema.from = done.from,
                    schema.to = done.to,
                    "the schema is up to date"
                ),
                Err(error) => {
                    self.health.ill(Part::Schema, &error.to_string());
                    return false;
                }
            }
        } else if !schema.is_usable() {
            self.health.ill(Part::Schema, &schema.mend());
            return false;
        }
        if let Err(error) = self.ledger.prove_rights().await {
            note_failure(&self.health, &error);
            return false;
        }
        self.health.well(Part::Schema);
        true
    }

    /// Sweeps and works until the process is to stop, the database fails or a right is missing. False where results were left
    /// unwritten.
    async fn serve(&self, schedule: &mut Schedule) -> bool {
        let mut wake = Instant::now();
        // What runs beside this may have been refused something.
        while !self.health.is_ill(Part::Schema) {
            self.sweeper.progress().beat();
            let trigger = tokio::select! {
                biased;
                () = self.stop.cancelled() => return true,
                () = schedule.tick() => Some(Trigger::Schedule),
                () = self.sweeper.woken() => Some(Trigger::Notify),
                () = tokio::time::sleep_until(wake.into()) => None,
            };
            let done = match trigger {
                Some(trigger) => self.sweeper.sweep(trigger, Duration::ZERO).await.map(|_| {
                    // A sweep has read the source; working on what is due need not have.
                    if !self.sweeper.is_refused() {
                        self.health.well(Part::Source);
                    }
                }),
                None => self.sweeper.work().await.map(drop),
            };
            let next = match done {
                Ok(()) => self.next_wake().await,
                Err(error) => Err(error),
            };
            wake = match next {
                Ok(next) => {
                    if !self.sweeper.is_refused() {
                        self.health.reached(Part::Source);
                    }
                    next
                }
                // Whether the database itself is away shows elsewhere; reading the source again can wait.
                Err(Error::Source(error)) => {
                    self.health.ill(Part::Source, &error.to_string());
                    Instant::now() + UNFIT
                }
                Err(Error::Ledger(error)) => {
                    note_failure(&self.health, &error);
                    return true;
                }
                Err(error) => {
                    self.health.ill(Part::Database, &error.to_string());
                    return !matches!(error, Error::Unwritten(_));
                }
            };
        }
        true
    }

    /// When there is something to do at the latest, the next tick aside.
    async fn next_wake(&self) -> Result<Instant, Error> {
        let now = Instant::now();
        let due = self.sweeper.next_due().await?.map_or(now + LOOK_AGAIN, |due| now + due.min(LOOK_AGAIN));
        let held = self.sweeper.held_back().map_or(due, |held| held.until.min(now + LOOK_AGAIN));
        // What is due may be in another process's hands at this moment: it is not asked for in a tight loop.
        Ok(due.max(held).max(now + AT_LEAST))
    }
}

/// Notes what is wrong with the database, or in it.
fn note_failure(health: &Health, error: &ledger::Error) {
    if let ledger::Error::Rights(_) = error {
        health.well(Part::Database);
        health.ill(Part::Schema, &error.to_string());
    } else {
        health.ill(Part::Database, &error.to_string());
    }
}

/// Shows again and again that the process is alive, and finds out whether the database is, and whether it refused anything.
async fn show_alive(sweeper: Sweeper, ledger: Ledger, health: Arc<Health>) {
    let mut interval = tokio::time::interval(ALIVE);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if health.trouble(Part::Schema).is_some() {
            // Shown as soon as there is a place to show it.
            interval.reset_after(PAUSE.0);
            continue;
        }
        let shown = async {
            sweeper.show_alive("run").await?;
            ledger.prove_rights().await
        };
        match shown.await {
            Ok(()) => health.well(Part::Database),
            Err(error) => note_failure(&health, &error),
        }
    }
}
