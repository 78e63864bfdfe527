//! What a discovery found, on its way into the ledger: a part of it claimed in the same breath and sent for at once, the
//! rest left to whoever claims it.
//!
//! Nothing is taken on past the limit that was weighed, and nothing is read after the process was asked to stop.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Postgres, Transaction};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::discovery::{PAGE, READING, number};
use super::spans::Batch;
use super::work::Turn;
use super::{Error, Phase, Shared, measures};
use crate::ledger::{Aged, Claiming, Intake};
use crate::session::{Candidate, Claim};
use crate::source::{Page, Skipped, Source};

/// How long at the most sessions are sent for as they are taken on.
const AT_ONCE: Duration = Duration::from_mins(1);
/// How often it is asked meanwhile whether another process has come, to which what is left has to be shown; and whether
/// something else is due, such as a retry.
const BETWEEN: Duration = Duration::from_secs(1);
/// A page that is read within this is of a source whose rows the server can keep for us without taking long.
const QUICK: Duration = Duration::from_millis(250);
/// Skipped rows named in the log of one sweep; the rest is only counted.
const SKIPPED_NAMED: usize = 5;

/// The open discovery of one sweep.
pub(super) struct Discovered {
    /// Reads; none once all is read.
    transaction: Option<Transaction<'static, Postgres>>,
    /// The transaction that reads holds the merchant's table.
    holds_table: bool,
    /// What kept it from being read to its end: said once what was read is taken on.
    failed: Option<Error>,
    source: Arc<Source>,
    sweep: Uuid,
    /// The limit that was weighed.
    most: u64,
    /// Read and not taken on yet.
    candidates: VecDeque<Candidate>,
    read_to_its_end: bool,
    /// The limit was reached although less had been counted: nothing more is taken on.
    overtaken: bool,
    pub(super) skipped: Vec<Skipped>,
    pub(super) skipped_rows: usize,
    /// Sessions taken on past the limit because somebody released them.
    pub(super) released: u64,
    /// Rows of the page at hand that could not be used and are not counted yet.
    uncounted: usize,
}

impl Discovered {
    pub(super) fn new(
        transaction: Transaction<'static, Postgres>,
        source: Arc<Source>,
        sweep: Uuid,
        most: u64,
        first: Page,
    ) -> Self {
        let mut discovered = Self {
            transaction: Some(transaction),
            holds_table: true,
            failed: None,
            source,
            sweep,
            most,
            candidates: VecDeque::new(),
            read_to_its_end: false,
            overtaken: false,
            skipped: Vec::new(),
            skipped_rows: 0,
            released: 0,
            uncounted: 0,
        };
        discovered.note(first);
        discovered
    }

    fn note(&mut self, page: Page) {
        self.candidates.extend(page.candidates);
        self.read_to_its_end = page.is_last;
        self.skipped_rows += page.skipped.len();
        self.uncounted += page.skipped.len();
        self.skipped.extend(page.skipped);
        self.skipped.truncate(SKIPPED_NAMED);
    }

    /// At most so many of the candidates that come next, distinct and ordered by id; none at the end.
    fn take(&mut self, most: usize) -> Vec<Candidate> {
        let most = most.min(PAGE as usize).min(self.candidates.len());
        let mut next: Vec<Candidate> = self.candidates.drain(..most).collect();
        // They may be of two pages.
        next.sort_by_key(|candidate| candidate.session_id);
        next.dedup_by_key(|candidate| candidate.session_id);
        next
    }

    /// Whether sessions may be sent for meanwhile: it holds up nobody.
    pub(super) fn holds_up_nobody(&self) -> bool {
        !self.holds_table
    }

    /// What kept it from being read to its end, once.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    fn is_at_its_end(&self) -> bool {
        self.overtaken || (self.candidates.is_empty() && self.uncounted == 0 && self.read_to_its_end)
    }

    /// Nothing more can be read; what was read is dealt with.
    fn end_with(&mut self, error: Error) {
        (self.transaction, self.holds_table, self.read_to_its_end) = (None, false, true);
        self.failed.get_or_insert(error);
    }
}

impl Shared {
    /// Takes sessions on as fast as they can be sent for, and begins to. What cannot be sent for now is left.
    pub(super) async fn send_for_discovered(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        discovered: &mut Discovered,
    ) -> Result<(), Error> {
        self.progress.enter(Phase::Canceling);
        self.progress.set_read(discovered.candidates.len());
        self.progress.set_working(true);
        let (at_the_latest, mut asked, mut due) = (Instant::now() + AT_ONCE, Instant::now(), false);
        while !discovered.is_at_its_end() {
            if asked.elapsed() >= BETWEEN {
                if !self.ledger.is_alone().await? {
                    return Ok(());
                }
                if let Some(transaction) = &mut discovered.transaction {
                    // The server ends a transaction that is idle for long.
                    self.ledger.try_lock_discovery(transaction).await?;
                }
                (asked, due) = (Instant::now(), true);
            }
            match self.turn(tasks, Some(at_the_latest), !self.recorder.is_failing()).await? {
                Turn::End(_) => return Ok(()),
                Turn::Room(room) if due => {
                    if let Err(error) = self.begin(tasks, room).await {
                        discovered.failed.get_or_insert(error);
                        return Ok(());
                    }
                    due = false;
                }
                Turn::Room(room) => {
                    let (claims, batch) = self.take_on(discovered, Some(room)).await?;
                    self.pursue_all(tasks, &Arc::clone(&discovered.source), claims, &batch).await?;
                }
                Turn::Wait => {
                    self.wait_for_room(tasks, Some(at_the_latest.min(asked + BETWEEN))).await;
                }
            }
        }
        Ok(())
    }

    /// Takes on what is left; of a process that was asked to stop, what it has read. False where that ended before the last
    /// page.
    pub(super) async fn take_rest_on(&self, discovered: &mut Discovered) -> Result<bool, Error> {
        while !discovered.is_at_its_end() {
            if self.stop.is_cancelled() && discovered.candidates.is_empty() {
                return Ok(false);
            }
            self.take_on(discovered, None).await?;
        }
        Ok(!discovered.overtaken)
    }

    async fn read_on(&self, discovered: &mut Discovered) -> Result<(), Error> {
        if let Some(transaction) = &mut discovered.transaction {
            match self.limited(discovered.source.next_page(transaction, PAGE)).await {
                Ok(next) => discovered.note(next.unwrap_or_else(Page::end)),
                Err(error) => discovered.end_with(error),
            }
        }
        if discovered.read_to_its_end {
            self.end_reading(discovered).await?;
        }
        Ok(())
    }

    /// Lets go of the merchant's table: whoever is to change it would wait for us, all who use it for him, and we among them
    /// when we look again before we send. Not where reading is slow, since the server would be busy with it for long.
    ///
    /// False where another process was quicker to take the lock on discovery anew: it finds what is here, or the next sweep
    /// does.
    pub(super) async fn let_go(&self, discovered: &mut Discovered) -> Result<bool, Error> {
        if discovered.read_to_its_end {
            self.end_reading(discovered).await?;
            return Ok(true);
        }
        if self.stop.is_cancelled() {
            return Ok(true);
        }
        // The first page had to wait for what comes before any row.
        let began = Instant::now();
        self.read_on(discovered).await?;
        let Some(transaction) = discovered.transaction.as_mut().filter(|_| began.elapsed() < QUICK) else {
            return Ok(true);
        };
        discovered.holds_table = false;
        match self.limited(discovered.source.let_go(transaction)).await {
            Ok(()) => Ok(self.ledger.try_lock_discovery(transaction).await?.is_some()),
            Err(error) => {
                discovered.end_with(error);
                Ok(true)
            }
        }
    }

    /// Lets go of everything.
    pub(super) async fn end_reading(&self, discovered: &mut Discovered) -> Result<(), Error> {
        if let Some(mut transaction) = discovered.transaction.take() {
            discovered.holds_table = false;
            self.limited(discovered.source.close(&mut transaction)).await?;
            transaction.commit().await.map_err(|error| self.database_failed(READING, error))?;
        }
        Ok(())
    }

    /// Takes the next candidates on; where there is room to send, no more than that, and claims them as one batch.
    async fn take_on(&self, discovered: &mut Discovered, room: Option<usize>) -> Result<(Vec<Claim>, Batch), Error> {
        if discovered.candidates.is_empty() {
            self.read_on(discovered).await?;
        }
        let (sweep, most) = (discovered.sweep, discovered.most);
        let skipped = std::mem::take(&mut discovered.uncounted);
        if skipped > 0 {
            // Before anything is claimed: claims that are lost on the way out would wait for the end of their lease.
            self.ledger.count_skipped(sweep, number(skipped)).await?;
        }
        let candidates = discovered.take(room.unwrap_or(usize::MAX));
        let (mut claims, mut batch) = (Vec::new(), None);
        if !candidates.is_empty() {
            let claiming =
                Claiming { limit: room.unwrap_or_default(), lease: self.lease, aged: self.claimable() == Aged::All };
            let (asked, began) = (Instant::now(), self.spans.now());
            let (intake, claimed) = self.ledger.take_on_claiming(sweep, &candidates, most, claiming).await?;
            measures::claimed(claimed.len(), asked.elapsed());
            batch = self.spans.batch(began, Some(sweep), claimed.len());
            match intake {
                Intake::Taken { sessions, released } => {
                    self.progress.count_discovered(sessions);
                    discovered.released += released;
                }
                Intake::Refused => {
                    discovered.overtaken = true;
                    tracing::info!(
                        event = "discovery.overtaken",
                        sweep.id = %sweep,
                        "the limit was reached after the sessions were counted; the next sweep counts anew"
                    );
                }
            }
            claims = claimed;
        }
        self.progress.set_read(discovered.candidates.len());
        Ok((claims, batch))
    }
}
