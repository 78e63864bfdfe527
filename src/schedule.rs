//! From cron to tick, on tokio-cron-scheduler, and nothing else.
//!
//! A tick carries nothing and runs nothing: it is offered to a channel of one, so that overlap, missed ticks and
//! shutdown are decided by who receives it. Patterns are in UTC, always: the scheduler freezes another zone's offset
//! when a job is made and is then an hour off after a clock change.

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use uuid::Uuid;

use crate::config;

/// The schedule could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the schedule \"{pattern}\" (schedule.sweep) could not be started: {source}")]
pub struct Error {
    pattern: String,
    source: JobSchedulerError,
}

/// A running schedule. Ticks stop when it is dropped.
pub struct Schedule {
    ticks: mpsc::Receiver<()>,
    // Its jobs end with it.
    forecast: Forecast,
}

/// Tells when the next tick will be. Cheap to clone.
#[derive(Clone)]
pub struct Forecast {
    scheduler: JobScheduler,
    job: Uuid,
}

impl Forecast {
    /// When the next tick will be; none where that is not known.
    pub async fn next(&mut self) -> Option<DateTime<Utc>> {
        self.scheduler.next_tick_for_job(self.job).await.ok().flatten()
    }
}

impl Schedule {
    /// Starts to tick.
    pub async fn start(settings: &config::Schedule) -> Result<Self, Error> {
        let (offer, ticks) = mpsc::channel(1);
        let failed = |source| Error { pattern: settings.sweep.clone(), source };
        let job = Job::new(settings.sweep.as_str(), move |_, _| {
            // A full channel means that a tick is waiting already: missed ticks are not piled up.
            offer.try_send(()).ok();
        })
        .map_err(failed)?;
        let scheduler = JobScheduler::new().await.map_err(failed)?;
        let job = scheduler.add(job).await.map_err(failed)?;
        scheduler.start().await.map_err(failed)?;
        Ok(Self { ticks, forecast: Forecast { scheduler, job } })
    }

    /// Tells when ticks will be.
    #[must_use]
    pub fn forecast(&self) -> Forecast {
        self.forecast.clone()
    }

    /// Waits for the next tick.
    pub async fn tick(&mut self) {
        if self.ticks.recv().await.is_none() {
            // The scheduler is gone: there are no ticks any more, which is not the same as a tick.
            std::future::pending::<()>().await;
        }
    }
}
