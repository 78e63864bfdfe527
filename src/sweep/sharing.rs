//! What holds sending back, between this process and all others: carried from the gate into the ledger and back.
//!
//! It costs no round trip for a request. A process that cannot reach the database holds itself all the same.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Notify};

use super::{Error, Shared, measures, telling};
use crate::ledger::Hold;
use crate::throttle::{Change, Known, Pass, Verdict, Why};

/// The shortest time between two looks at what the others found out.
const BETWEEN: Duration = Duration::from_millis(250);
/// How often it is looked whether there is something to exchange, while nothing is sent.
const IDLE: Duration = Duration::from_secs(1);
/// How long the end of work may wait for the others to be told.
const LAST_WORD: Duration = Duration::from_secs(2);

/// When what holds sending back was last exchanged, and the way to have that done soon.
#[derive(Default)]
pub(super) struct Sharing {
    last: Mutex<Option<Instant>>,
    news: Arc<Notify>,
}

impl Sharing {
    /// Starts the task that exchanges while there is something to send. It ends with the conductor.
    pub(super) fn keep_up(shared: &Arc<Shared>) {
        let (shared, news) = (Arc::downgrade(shared), Arc::clone(&shared.sharing.news));
        tokio::spawn(keep_up(shared, news));
    }

    /// Something is about to be sent: from now on it exchanges.
    pub(super) fn begin(&self) {
        self.news.notify_one();
    }
}

async fn keep_up(shared: Weak<Shared>, news: Arc<Notify>) {
    let mut pause = BETWEEN;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = news.notified() => {}
        }
        let Some(shared) = shared.upgrade() else { return };
        measures::circuit(shared.gate.circuit());
        measures::held_back(shared.gate.held_back());
        let is_needed = shared.ahead.is_awaited() || shared.gate.is_busy() || shared.gate.has_changed();
        pause = if is_needed { BETWEEN } else { IDLE };
        if is_needed && let Err(error) = shared.share_holds().await {
            // Said by whoever needs the database next.
            tracing::debug!(event = "holds.not_shared", error.message = %error, "what holds sending back could not be exchanged");
        }
    }
}

impl Shared {
    /// Tells the others what was found out here, and learns what they found out; what was learned just now is not asked
    /// for again.
    pub(super) async fn share_holds(&self) -> Result<(), Error> {
        let mut last = self.sharing.last.lock().await;
        if !self.gate.has_changed() && last.is_some_and(|last| last.elapsed() < BETWEEN) {
            return Ok(());
        }
        let mut changes = self.gate.changes().into_iter();
        while let Some(change) = changes.next() {
            if let Err(error) = self.tell_others(change).await {
                self.gate.share_again(change.why);
                changes.for_each(|change| self.gate.share_again(change.why));
                return Err(error);
            }
        }
        let known: Vec<Known> = self.ledger.holds().await?.iter().filter_map(known).collect();
        *last = Some(Instant::now());
        telling::verdict(self.gate.learn(&known), None);
        Ok(())
    }

    async fn tell_others(&self, Change { why, hold }: Change) -> Result<(), Error> {
        match hold {
            Some((left, times_found)) => self.ledger.note_hold(why.as_str(), left, times_found).await?,
            None => self.ledger.end_hold(why.as_str()).await?,
        }
        Ok(())
    }

    /// Says what changed at the gate, here and to the others.
    pub(super) fn tell(&self, verdict: Verdict, error: Option<&str>) {
        telling::verdict(verdict, error);
        if self.gate.has_changed() {
            self.sharing.news.notify_one();
        }
    }

    /// Sees to it that the others know before nobody may be there any more to tell them.
    pub(super) async fn have_last_word(self: &Arc<Self>) {
        let shared = Arc::clone(self);
        // A task of its own: whoever stops waiting for it does not lose what it is about to tell.
        let telling = tokio::spawn(async move {
            // Whoever tells the others just now has written it by then.
            drop(shared.sharing.last.lock().await);
            if shared.gate.has_changed() {
                // Where the database is away, the row runs out by itself.
                shared.share_holds().await.ok();
            }
        });
        tokio::time::timeout(LAST_WORD, telling).await.ok();
    }

    /// Whether an attempt may be made: one that finds out whether the API is back is made by one process at a time.
    pub(super) async fn may_begin(&self, pass: &Pass<'_>) -> bool {
        let why = pass.finds_out();
        // What holds this process alone is no other's to find out.
        if let Some(why) = why.filter(|why| why.is_outage() && why.is_shared())
            && !self.ledger.win_hold(why.as_str(), self.lease).await.is_ok_and(|won| won)
        {
            pass.leave_to_another(BETWEEN);
            return false;
        }
        if why == Some(Why::CredentialsRefused) {
            // It may be that they were replaced meanwhile.
            self.client.read_secrets_again();
        }
        if let Some(why) = why
            && pass.begin()
        {
            telling::half_open(why);
        }
        true
    }
}

fn known(hold: &Hold) -> Option<Known> {
    // A later version may have reasons that this one does not know.
    let why = Why::ALL.into_iter().find(|why| why.is_shared() && why.as_str() == hold.why)?;
    Some(Known { why, left: hold.left, times_found: hold.times_found, ours: hold.ours })
}
