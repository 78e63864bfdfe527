//! What a notification sets off: a sweep where there is nothing to do, and else a look at the source beside the work under
//! way, so that nobody waits for answers to others.
//!
//! It never learns from a notification what to cancel: discovery finds that as ever, with every brake.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::OptionFuture;
use uuid::Uuid;

use super::{Error, Shared, Sweeper};
use crate::ledger::Trigger;
use crate::wake::Wakes;

/// What notifications set off within this time is one row of `sweeps`, as long as no other sweep comes between: the table
/// does not grow with their number.
const GATHERED: Duration = Duration::from_mins(1);

/// The row of a sweep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) id: Uuid,
    /// Whether an earlier notification opened it.
    pub(super) goes_on: bool,
}

impl Sweeper {
    /// Where it is said that there may be something to look for.
    #[must_use]
    pub fn wakes(&self) -> Wakes {
        self.shared.wakes.clone()
    }

    /// Waits until a wake is to be answered by a sweep.
    pub async fn woken(&self) {
        self.shared.wakes.due().await;
    }
}

impl Shared {
    /// Begins the row of a sweep, or goes on with that of the notifications just before.
    pub(super) async fn begin_row(&self, trigger: Trigger) -> Result<Row, Error> {
        if trigger == Trigger::Notify
            && let Some(id) = self.row_of_notifications_locked()
        {
            tracing::debug!(event = "sweep.resumed", sweep.id = %id, "the sweep of the last notifications goes on");
            return Ok(Row { id, goes_on: true });
        }
        let id = self.ledger.open_sweep(trigger).await?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        if trigger == Trigger::Notify {
            *self.notified.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, Instant::now()));
        }
        tracing::info!(event = "sweep.started", sweep.id = %id, sweep.trigger = trigger.as_str(), "a sweep has begun");
        Ok(Row { id, goes_on: false })
    }

    /// The row that notifications share just now. Locks: the latest of both kinds, one after the other.
    fn row_of_notifications_locked(&self) -> Option<Uuid> {
        let (id, opened) = (*self.notified.lock().unwrap_or_else(PoisonError::into_inner))?;
        (self.current_sweep_locked() == Some(id) && opened.elapsed() < GATHERED).then_some(id)
    }

    /// Answers wakes beside the work under way, for the sweep that it belongs to. A look that has begun is finished; true
    /// where one was under way when the work ended: then there may be more to do.
    pub(super) async fn look_beside<T>(self: &Arc<Self>, mut working: impl Future<Output = T> + Unpin) -> (T, bool) {
        let mut look = None;
        loop {
            // Before the first sweep there is none to count for: it looks itself.
            let sweep = self.current_sweep_locked().filter(|_| look.is_none() && !self.stop.is_cancelled());
            tokio::select! {
                // What begins with a look of its own takes the wakes that were heard before it.
                biased;
                done = &mut working => {
                    let Some(look) = look else { return (done, false) };
                    look.await;
                    return (done, true);
                }
                () = self.wakes.due(), if sweep.is_some() => look = sweep.map(|id| Box::pin(self.answer(id))),
                Some(()) = OptionFuture::from(look.as_mut()), if look.is_some() => look = None,
            }
        }
    }

    async fn answer(self: &Arc<Self>, sweep: Uuid) {
        let answered = async {
            if self.may_send().await? {
                // What a brake keeps back is said where it is noted.
                self.discover(sweep, Trigger::Notify, None).await?;
            } else {
                self.pass_over_wakes();
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = answered.await {
            // The wake stays; who answers it once the work is over says what is wrong.
            tracing::debug!(event = "discovery.failed", error.message = %error, "looking beside the work under way failed");
        }
        self.taken_on.notify_one();
    }

    /// Nothing may be sent to this API: there is nothing to look for until it is accepted, and then the schedule does.
    pub(super) fn pass_over_wakes(&self) {
        self.wakes.begin_look().end();
    }
}
