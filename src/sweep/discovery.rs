//! Discovery: pages of candidates from the source into the ledger, by one process at a time.
//!
//! The merchant's table is read in a read-only transaction that also holds the lock. What is found is weighed as a whole;
//! then the table is let go, and what was found is taken on page by page. A process that is alone sends for what it takes
//! on at once; others find the rest as soon as it is read.

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
use crate::wake::Look;

pub(super) const READING: &str = "reading the source";
/// Rows read at a time.
pub(super) const PAGE: u32 = 1_000;
/// How far a sweep that reads only changes goes back behind the last one: a change is seen that was committed late.
const OVERLAP: TimeDelta = TimeDelta::minutes(15);
/// How much more than that a look may go back before it is noted again how far changes were read.
const UNNOTED: TimeDelta = TimeDelta::minutes(1);
/// How often the whole lookback is read, whatever changed, and its statuses are counted.
const FULL_PASS: Duration = Duration::from_hours(1);

/// Receives what a dry run finds, page by page.
pub trait DryRun {
    /// Sessions that would be canceled.
    fn candidates(&mut self, candidates: &[Candidate]) -> std::io::Result<()>;
    /// Rows that could not be used.
    fn skipped(&mut self, number: u64) -> std::io::Result<()>;
}

/// Who has looked at the source.
enum Looked {
    /// Another process does just now.
    Elsewhere,
    /// We have: the sentence of the brake that kept everything back, and whether only what changed was read.
    Here { braked: Option<String>, of_changes: bool },
}

impl Shared {
    /// Finds what is to be canceled and takes it on. Where another process does so just now, there is nothing to do. Gives
    /// the sentence of the brake where there was too much to take on, and nothing was.
    ///
    /// Where `tasks` is given and no other process is alive, sessions are sent for as they are taken on.
    pub(super) async fn discover(
        self: &Arc<Self>,
        sweep: Uuid,
        trigger: Trigger,
        tasks: Option<&mut JoinSet<()>>,
    ) -> Result<Option<String>, Error> {
        let mut look = self.wakes.begin_look();
        self.progress.enter(Phase::Discovering);
        let done = self.discover_locked(sweep, trigger, &mut look, tasks).await;
        self.progress.set_read(0);
        self.progress.enter(Phase::Canceling);
        let (braked, of_changes) = match done? {
            // What is to be found may have been said after that process began to look.
            Looked::Elsewhere => (None, false),
            Looked::Here { braked, of_changes } => {
                look.end();
                (braked, of_changes)
            }
        };
        // A census reads the whole lookback, so it belongs to a pass that does.
        if !of_changes && self.is_census_due_locked(trigger) {
            self.ledger.forget_intakes().await?;
            self.take_census(sweep).await?;
        }
        Ok(braked)
    }

    /// Nothing that is to happen at once waits for a census.
    fn is_census_due_locked(&self, trigger: Trigger) -> bool {
        let taken = *self.census.lock().unwrap_or_else(PoisonError::into_inner);
        match trigger {
            Trigger::Command => true,
            Trigger::Schedule => taken.is_none_or(|taken| taken.elapsed() >= FULL_PASS),
            Trigger::Notify => false,
        }
    }

    /// Locks: discovery, all processes together, in the transaction that reads, and anew in the one after it.
    async fn discover_locked(
        self: &Arc<Self>,
        sweep: Uuid,
        trigger: Trigger,
        look: &mut Look,
        tasks: Option<&mut JoinSet<()>>,
    ) -> Result<Looked, Error> {
        let mut transaction = self.begin_reading().await?;
        let locked = self.ledger.try_lock_discovery(&mut transaction).await?;
        let standing = self.ledger.discovery_standing(&mut transaction).await?;
        self.note_brake(Brake::BlastRadius, standing.braked.as_deref());
        let Some(read_to) = locked else {
            return Ok(elsewhere(sweep));
        };
        let source = self.inspect(&mut transaction).await?;
        let since = self.changes_since(&source, trigger).await?;
        self.limited(source.open(&mut transaction, Some(ledger::NOT_TAKEN_ON), since)).await?;
        let first = self.limited(source.next_page(&mut transaction, PAGE)).await?.unwrap_or_else(Page::end);
        let whole = first.is_last.then(|| number(first.candidates.len()));
        let most = match self.weigh(&mut transaction, &source, since, Some(&standing), whole).await? {
            Weighed::Within { most } => most,
            Weighed::Beyond(sentence) => {
                self.apply_brake(Brake::BlastRadius, &sentence).await?;
                return Ok(Looked::Here { braked: Some(sentence), of_changes: since.is_some() });
            }
        };
        self.lift_brake(Brake::BlastRadius).await?;
        let mut discovered = Discovered::new(transaction, Arc::clone(&source), sweep, most, first);
        if !self.let_go(&mut discovered).await? {
            self.end_reading(&mut discovered).await.ok();
            return Ok(elsewhere(sweep));
        }
        if let Some(tasks) = tasks.filter(|_| discovered.holds_up_nobody())
            && self.ledger.is_alone().await?
        {
            look.goes_on_beside_work();
            self.send_for_discovered(tasks, &mut discovered).await?;
        }
        let to_its_end = self.take_rest_on(&mut discovered).await?;
        // Where it was not read to its end; it goes with its connection where that fails.
        self.end_reading(&mut discovered).await.ok();
        telling::skipped(sweep, discovered.skipped_rows, &discovered.skipped);
        telling::released(sweep, discovered.released);
        if let Some(error) = discovered.take_failure() {
            return Err(error);
        }
        if to_its_end && source.tracks_changes() && is_worth_noting(trigger, since, read_to) {
            self.ledger.note_discovery(&source.fingerprint(), read_to, since.is_none()).await?;
        }
        Ok(Looked::Here { braked: None, of_changes: since.is_some() })
    }

    /// One snapshot for all that is read: what is counted is what the pages then have.
    async fn begin_reading(&self) -> Result<Transaction<'static, Postgres>, Error> {
        let begin = self.database.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        begin.await.map_err(|error| self.database_failed(READING, error))
    }

    /// From when on changes are to be read; none where everything within the lookback is. Nothing that is to happen at once
    /// waits for a full pass that is due: the next sweep of the schedule makes it.
    async fn changes_since(&self, source: &Source, trigger: Trigger) -> Result<Option<DateTime<Utc>>, Error> {
        if !source.tracks_changes() {
            return Ok(None);
        }
        let progress = self.ledger.discovery_progress(&source.fingerprint()).await?;
        let in_haste = trigger == Trigger::Notify;
        let recent = progress.filter(|progress| in_haste || progress.full_pass_age_s < FULL_PASS.as_secs_f64());
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
                sweep.id = %sweep,
                source.status = status.status,
                source.rows = status.rows,
                "a status that is in neither list is left alone"
            );
        }
        if census.in_future > 0 {
            tracing::warn!(
                event = "source.dated_ahead",
                sweep.id = %sweep,
                source.rows = census.in_future,
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
            Ok(Err(refused)) if refused.is_refusal() => {
                self.ledger.refused().await?;
                Err(refused.into())
            }
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

fn elsewhere(sweep: Uuid) -> Looked {
    tracing::debug!(event = "discovery.elsewhere", sweep.id = %sweep, "another process discovers just now");
    Looked::Elsewhere
}

/// How far changes were read. What is to happen at once waits for no commit that it can do without: the next look only reads
/// a little more.
fn is_worth_noting(trigger: Trigger, since: Option<DateTime<Utc>>, read_to: DateTime<Utc>) -> bool {
    trigger != Trigger::Notify || since.is_none_or(|since| read_to - since > OVERLAP + UNNOTED)
}

pub(super) fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
