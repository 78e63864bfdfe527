//! How many requests leave a second, all processes together: every request to the provider asks here first.
//!
//! It does not know what a request is for, it never looks at answers, and it never asks a wall clock: the moments that
//! all processes share come from outside, with the time of the clock that they are told by.

mod clock;
mod share;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use share::Share;

/// For how long a process can hold a moment: what a process that dies has taken is lost to all, and no more.
const LEASE: Duration = Duration::from_millis(500);
/// How much a process takes at a time. Four of them fit into a lease, so four busy processes have one each.
const SHARE: Duration = Duration::from_millis(125);
/// A share that would begin further off than this is refused: it would end after the lease.
const AHEAD: Duration = LEASE.saturating_sub(SHARE);
/// The part of the limit that is handed out.
///
/// A request leaves at its moment or a little later. Moments lie `1 / (PART × limit)` apart; where none is used more
/// than `late` seconds after its time, the requests of any second come from moments within `1 + late` seconds, which are
/// at most `(1 + late) × PART × limit`, rounded up. That is never more than the limit and one while
/// `late ≤ 1 / PART − 1`, here 30 ms; and where the limit is a whole number, the time between two moments longer.
const PART: f64 = 0.97;
/// A moment that is further gone than this is used no more: a process that was halted does not catch up.
const TOO_LATE: Duration = Duration::from_millis(15);
/// How much may be unknown of the shared clock without a loss: a third of those 30 ms. Beyond it, so much of the time
/// taken is left free: then a share that is used too late still ends within its own time.
const BLUR: Duration = Duration::from_millis(10);
/// The pause after a reservation failed. A server that took over without the latest reservations is asked only after
/// their leases.
const AFTER_FAILURE: Duration = LEASE;

/// The right to send: cheap to clone, shared by everything that sends.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// None: no limit.
    queue: Option<mpsc::UnboundedSender<Turn>>,
}

/// Tells one that waits which moment is its own.
type Turn = oneshot::Sender<Instant>;

/// The time that a process wants for itself.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// How long.
    pub span: Duration,
    /// None is given where it would begin further off than this.
    pub ahead: Duration,
    /// The moments in it.
    number: u32,
    /// What is left free behind the last one.
    spare: Duration,
}

/// What whoever keeps the shared time answered. Times are by its clock, since a beginning of its own.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// When it answered.
    pub clock: Duration,
    /// When the time given begins; where none was given, when the next that is free does.
    pub first: Duration,
    /// Whether it was given.
    pub given: bool,
}

impl Pace {
    /// No limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { queue: None }
    }

    /// A limit in requests a second, and what hands the turns out.
    #[must_use]
    pub fn limited(per_second: f64) -> (Self, Turns) {
        let (queue, waiting) = mpsc::unbounded_channel();
        (Self { queue: Some(queue) }, Turns { waiting, share: Share::new(per_second) })
    }

    /// Waits for the next request's turn. Where the turns are handed out no more, it waits for ever: callers have a
    /// deadline, and nothing is sent beyond the limit.
    pub async fn permit(&self) {
        let Some(queue) = &self.queue else { return };
        loop {
            let (turn, told) = oneshot::channel();
            if queue.send(turn).is_err() {
                return std::future::pending().await;
            }
            match told.await {
                Ok(moment) if moment.elapsed() <= TOO_LATE => return,
                // Halted between being told and being here: the moment is gone.
                Ok(_) => {}
                Err(_) => return std::future::pending().await,
            }
        }
    }
}

/// Hands the turns out, in the order in which they were asked for.
#[derive(Debug)]
pub struct Turns {
    waiting: mpsc::UnboundedReceiver<Turn>,
    share: Share,
}

impl Turns {
    /// Serves until nobody can ask any more.
    ///
    /// `reserve` takes time for this process alone; it tells nothing where that failed, and then it is asked again.
    pub async fn serve(self, reserve: impl AsyncFn(Wanted) -> Option<Told>) {
        let Self { mut waiting, mut share } = self;
        let reserve = &reserve;
        // One at the most. The next share is asked for while turns of the last one are handed out.
        let mut asking = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            share.hand_out(now);
            if asking.is_empty()
                && let Some(wanted) = share.wanted(now)
            {
                asking.push(async move { (wanted, now, reserve(wanted).await) });
            }
            let next = share.next(now, asking.is_empty());
            tokio::select! {
                turn = waiting.recv() => match turn {
                    Some(turn) => share.line_up(turn),
                    None => return,
                },
                Some((wanted, asked, told)) = asking.next() => share.take(wanted, asked, told),
                () = until(next) => {}
            }
            while let Ok(turn) = waiting.try_recv() {
                share.line_up(turn);
            }
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
