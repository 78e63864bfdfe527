//! What this process has done so far, for a progress bar and for the health check.
//!
//! The truth is in the ledger; these counts only spare asking it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::outcome::Disposition;
use crate::session::State;

/// What a sweep is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// Reading the merchant's table.
    Discovering,
    /// Sending cancel requests.
    Canceling,
}

/// Counts since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Candidates that were read and are not taken on yet.
    pub read: u64,
    /// Sessions taken on.
    pub discovered: u64,
    /// Sessions canceled.
    pub canceled: u64,
    /// Sessions that had ended before.
    pub already_terminal: u64,
    /// Attempts that will be repeated.
    pub retried: u64,
    /// Sessions given up.
    pub failed: u64,
    /// Sessions that the source no longer names.
    pub withdrawn: u64,
}

/// The counts while they grow.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    discovered: AtomicU64,
    canceled: AtomicU64,
    already_terminal: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
    withdrawn: AtomicU64,
    phase: Mutex<Phase>,
    working: AtomicBool,
    /// The counts when the work under way began.
    base: Mutex<Counts>,
    /// When something last moved; none before anything did.
    moved: Mutex<Option<Instant>>,
}

impl Counts {
    /// Sessions that have come to their end.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.canceled + self.already_terminal + self.failed + self.withdrawn
    }
}

impl Progress {
    /// The counts as they are now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            read: read(&self.read),
            discovered: read(&self.discovered),
            canceled: read(&self.canceled),
            already_terminal: read(&self.already_terminal),
            retried: read(&self.retried),
            failed: read(&self.failed),
            withdrawn: read(&self.withdrawn),
        }
    }

    /// What is being done now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether sessions are pursued, now or until all that was due is dealt with.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.working.load(Ordering::Relaxed)
    }

    pub(super) fn set_read(&self, candidates: usize) {
        self.read.store(u64::try_from(candidates).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The counts when the work under way began, or the latest: from the moment that something was due until nothing is.
    #[must_use]
    pub fn base(&self) -> Counts {
        *self.base.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that work may begin: what comes to an end from here on belongs to it. What was not finished goes on.
    pub(super) fn begin(&self) {
        if !self.is_working() {
            *self.base.lock().unwrap_or_else(PoisonError::into_inner) = self.counts();
        }
    }

    pub(super) fn set_working(&self, working: bool) {
        self.working.store(working, Ordering::Relaxed);
    }

    /// Whether nothing has moved for longer than `patience`; a loop that never began is not wedged.
    #[must_use]
    pub fn is_wedged(&self, patience: Duration) -> bool {
        self.still_for().is_some_and(|still| still > patience)
    }

    /// Shows that the loop moves: it went round, or an attempt came to its end.
    pub fn beat(&self) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long nothing has moved; none before anything did.
    #[must_use]
    pub fn still_for(&self) -> Option<Duration> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).map(|moved| moved.elapsed())
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.beat();
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub(super) fn count_discovered(&self, number: u64) {
        self.beat();
        self.discovered.fetch_add(number, Ordering::Relaxed);
    }

    pub(super) fn count_attempt(&self, disposition: Disposition) {
        let count = match disposition {
            Disposition::Done(State::Canceled) => &self.canceled,
            Disposition::Done(State::Withdrawn) => &self.withdrawn,
            Disposition::Failed | Disposition::Done(State::Failed) => &self.failed,
            Disposition::Retry { .. } | Disposition::Done(State::Pending | State::InFlight) => &self.retried,
            Disposition::Done(State::AlreadyTerminal) => &self.already_terminal,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
