//! Discovery: pages of candidates from the source into the ledger, by one process at a time.
//!
//! The merchant's table is read in a read-only transaction that also holds the lock. What is found is weighed as a whole,
//! and then taken on page by page beside it. A process that is alone sends for what it takes on at once; others find the
//! rest as soon as it is read.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::blast_radius::Weighed;
use super::discovered::Discovered;
use super::{Error, Phase, Shared, Sweeper, telling};
use crate::ledger::{self, Brake, Trigger};
use crate::session::Candidate;
use crate::source::{self, Fate, Page, Source};

pub(super) const READING: &str = "reading the source";
/// Rows read at a time.
pub(super) const PAGE: u32 = 1_000;
/// How far a sweep that reads only changes goes back behind the last one: a change is seen that was committed late.
const OVERLAP: TimeDelta = TimeDelta::minutes(15);
/// How often the whole lookback is read, whatever changed, and its statuses are counted.
const FULL_PASS: Duration = Duration::from_hours(1);

/// Receives what a dry run finds, page by page.
pub trait DryRun {
    /// Sessions that would be canceled.
    fn candidates(&mut self, candidates: &[Candidate]) -> std::io::Result<()>;
    /// Rows that could not be used.
    fn skipped(&mut self, number: u64) -> std::io::Result<()>;
}

impl Shared {
    /// Finds what is to be canceled and takes it on. Where another process does so just now, there is nothing to do. Gives
    /// the sentence of the brake where there was too much to take on, and nothing was.
    pub(super) async fn discover(
        self: &Arc<Self>,
        sweep: Uuid,
        trigger: Trigger,
        tasks: &mut JoinSet<()>,
    ) -> Result<Option<String>, Error> {
        self.progress.enter(Phase::Discovering);
        let done = self.discover_locked(sweep, tasks).await;
        self.progress.set_read(0);
        self.progress.enter(Phase::Canceling);
        let braked = done?;
        let due =
            self.census.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|taken| taken.elapsed() >= FULL_PASS);
        if trigger == Trigger::Command || due {
            self.ledger.forget_intakes().await?;
            self.take_census(sweep).await?;
        }
        Ok(braked)
    }

    /// Locks: discovery, all processes together, in the transaction that reads.
    async fn discover_locked(self: &Arc<Self>, sweep: Uuid, tasks: &mut JoinSet<()>) -> Result<Option<String>, Error> {
        let mut transaction = self.begin_reading().await?;
        let locked = self.ledger.try_lock_discovery(&mut transaction).await?;
        let standing = self.ledger.discovery_standing(&mut transaction).await?;
        self.note_brake(Brake::BlastRadius, standing.braked.as_deref());
        let Some(read_to) = locked else {
            tracing::debug!(event = "discovery.elsewhere", "another process discovers just now");
            return Ok(None);
        };
        let source = self.inspect(&mut transaction).await?;
        let since = self.changes_since(&source).await?;
        self.limited(source.open(&mut transaction, Some(ledger::NOT_TAKEN_ON), since)).await?;
        let first = self.limited(source.next_page(&mut transaction, PAGE)).await?.unwrap_or_else(Page::end);
        let whole = first.is_last.then(|| number(first.candidates.len()));
        let most = match self.weigh(&mut transaction, &source, since, Some(&standing), whole).await? {
            Weighed::Within { most } => most,
            Weighed::Beyond(sentence) => {
                self.apply_brake(Brake::BlastRadius, &sentence).await?;
                return Ok(Some(sentence));
            }
        };
        self.lift_brake(Brake::BlastRadius).await?;
        let mut discovered = Discovered::new(transaction, Arc::clone(&source), sweep, most, first);
        self.end_reading(&mut discovered).await?;
        if standing.is_alone {
            self.send_for_discovered(tasks, &mut discovered).await?;
        }
        let to_its_end = self.take_rest_on(&mut discovered).await?;
        telling::skipped(discovered.skipped_rows, &discovered.skipped);
        telling::released(sweep, discovered.released);
        if to_its_end && source.tracks_changes() {
            self.ledger.note_discovery(&source.fingerprint(), read_to, since.is_none()).await?;
        }
        Ok(None)
    }

    /// One snapshot for all that is read: what is counted is what the pages then have.
    async fn begin_reading(&self) -> Result<Transaction<'static, Postgres>, Error> {
        let begin = self.database.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        begin.await.map_err(|error| self.database_failed(READING, error))
    }

    /// From when on changes are to be read; none where everything within the lookback is.
    async fn changes_since(&self, source: &Source) -> Result<Option<DateTime<Utc>>, Error> {
        if !source.tracks_changes() {
            return Ok(None);
        }
        let progress = self.ledger.discovery_progress(&source.fingerprint()).await?;
        let recent = progress.filter(|progress| progress.full_pass_age_s < FULL_PASS.as_secs_f64());
        Ok(recent.map(|progress| progress.changes_read_to - OVERLAP))
    }

    /// Counts the statuses that nobody mapped and the rows dated in the future: they are left alone, and said so.
    async fn take_census(&self, sweep: Uuid) -> Result<(), Error> {
        let mut connection = self.acquire("counting the source's statuses").await?;
        let source = self.inspected().await?;
        let census = self.limited(source.census(&mut connection)).await?;
        let left_alone = census.statuses.iter().filter(|status| status.fate == Fate::LeftAlone);
        for status in left_alone.clone() {
            tracing::info!(
                event = "source.status_left_alone",
                status = status.status,
                rows = status.rows,
                "a status that is in neither list is left alone"
            );
        }
        if census.in_future > 0 {
            tracing::warn!(
                event = "source.dated_ahead",
                rows = census.in_future,
                "source rows are dated in the future and are not aged"
            );
        }
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let left_alone = left_alone.map(|status| status.rows).sum();
        Ok(self.ledger.note_census(sweep, left_alone, census.in_future).await?)
    }

    /// The source as it was last inspected; inspected now where it never was.
    pub(super) async fn inspected(&self) -> Result<Arc<Source>, Error> {
        let known = self.source.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(source) = known {
            return Ok(source);
        }
        let mut connection = self.acquire("inspecting the source").await?;
        self.inspect(&mut connection).await
    }

    async fn inspect(&self, connection: &mut PgConnection) -> Result<Arc<Source>, Error> {
        let source = Arc::new(self.limited(Source::inspect(&self.settings, connection)).await?);
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&source));
        Ok(source)
    }

    pub(super) async fn acquire(&self, doing: &'static str) -> Result<PoolConnection<Postgres>, Error> {
        self.database.pool().acquire().await.map_err(|error| self.database_failed(doing, error))
    }

    /// Waits for the source no longer than a server that is there can take.
    pub(super) async fn limited<T>(&self, reading: impl Future<Output = Result<T, source::Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.database.patience(), reading).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(self.database_failed(READING, sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }

    pub(super) fn database_failed(&self, doing: &'static str, source: sqlx::Error) -> Error {
        self.database.note_failure(&source);
        Error::Database { doing, source }
    }
}

impl Sweeper {
    /// Tells what a sweep would cancel now, and changes nothing; gives the sentence of the brake where it would take on too
    /// much, and so nothing. `schema_there`: whether the ledger can be asked what has been dealt with.
    pub async fn dry_run(&self, schema_there: bool, found: &mut impl DryRun) -> Result<Option<String>, Error> {
        let shared = &self.shared;
        let mut transaction = shared.begin_reading().await?;
        let standing =
            if schema_there { Some(shared.ledger.discovery_standing(&mut transaction).await?) } else { None };
        let source = shared.inspect(&mut transaction).await?;
        source.open(&mut transaction, schema_there.then_some(ledger::DUE_OR_NOT_TAKEN_ON), None).await?;
        while let Some(page) = source.next_page(&mut transaction, PAGE).await? {
            let skipped = number(page.skipped.len());
            found.candidates(&page.candidates).and_then(|()| found.skipped(skipped)).map_err(Error::Output)?;
        }
        Ok(match shared.weigh(&mut transaction, &source, None, standing.as_ref(), None).await? {
            Weighed::Within { .. } => None,
            Weighed::Beyond(sentence) => Some(sentence),
        })
    }
}

pub(super) fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
