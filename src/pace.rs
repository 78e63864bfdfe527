//! How many requests leave a second, all processes together: every request to the provider asks here first.
//!
//! It does not know what a request is for, and it never looks at answers.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// For how long a process takes its share at a time; what it cannot use by then is lost to all.
const SHARE: Duration = Duration::from_millis(250);
/// A moment that is further gone than this is not used any more: catching up would put more than the limit into a second.
const TOO_LATE: Duration = Duration::from_millis(20);
/// The pause after a reservation failed.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The right to send: cheap to clone, shared by everything that sends.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// None: no limit.
    queue: Option<mpsc::UnboundedSender<oneshot::Sender<()>>>,
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
        (Self { queue: Some(queue) }, Turns { waiting, per_second })
    }

    /// Waits for the next request's turn. Where the turns are handed out no more, it waits for ever: callers have a
    /// deadline, and nothing is sent beyond the limit.
    pub async fn permit(&self) {
        let Some(queue) = &self.queue else { return };
        let (turn, told) = oneshot::channel();
        if queue.send(turn).is_err() || told.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Hands the turns out, in the order in which they were asked for.
#[derive(Debug)]
pub struct Turns {
    waiting: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    per_second: f64,
}

impl Turns {
    /// Serves until nobody can ask any more.
    ///
    /// `reserve` takes a number of moments, `1 / per_second` apart, for this process alone and tells how far off the
    /// first is; none where it failed, and then it is asked again.
    pub async fn serve(mut self, reserve: impl AsyncFn(u32, f64) -> Option<Duration>) {
        let mut line = Vec::new();
        while self.gather(&mut line).await {
            let number = u32::try_from(line.len()).unwrap_or(u32::MAX);
            if let Some(first) = reserve(number, self.per_second).await {
                self.hand_out(&mut line, Instant::now() + first).await;
            } else {
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }

    /// Waits until somebody is in line, and takes in who else asks by now, up to a share.
    async fn gather(&mut self, line: &mut Vec<oneshot::Sender<()>>) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and validated as at most a million"
        )]
        let share = ((self.per_second * SHARE.as_secs_f64()) as usize).max(1);
        loop {
            line.retain(|turn| !turn.is_closed());
            while line.len() < share {
                match self.waiting.try_recv() {
                    Ok(turn) => line.push(turn),
                    Err(_) => break,
                }
            }
            if !line.is_empty() {
                return true;
            }
            match self.waiting.recv().await {
                Some(turn) => line.push(turn),
                None => return false,
            }
        }
    }

    /// Gives each its moment. Who is left over, because this process was halted meanwhile, stays in line.
    async fn hand_out(&self, line: &mut Vec<oneshot::Sender<()>>, first: Instant) {
        let apart = Duration::from_secs_f64(1.0 / self.per_second);
        let mut moment = first;
        while !line.is_empty() {
            tokio::time::sleep_until(moment).await;
            if moment.elapsed() > TOO_LATE {
                return;
            }
            // Who has given up meanwhile leaves its moment unused: to shift the others would send them too early.
            line.remove(0).send(()).ok();
            moment += apart;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_evenly_spaced_and_reserved_by_the_share() {
        let (pace, turns) = Pace::limited(100.0);
        let reserved = Mutex::new(Vec::new());
        let start = Instant::now();
        let asking = async {
            let asked = (0..50).map(async |_| {
                pace.permit().await;
                start.elapsed()
            });
            let moments = futures_util::future::join_all(asked).await;
            drop(pace);
            moments
        };
        let serving = turns.serve(async |number, per_second| {
            let taken: u32 = reserved.lock().unwrap().iter().sum();
            reserved.lock().unwrap().push(number);
            Some(Duration::from_secs_f64(f64::from(taken) / per_second).saturating_sub(start.elapsed()))
        });
        let (moments, ()) = tokio::join!(asking, serving);
        assert!(reserved.lock().unwrap().iter().all(|number| *number <= 25), "{reserved:?}");
        for (position, moment) in (0_u64..).zip(moments) {
            let due = Duration::from_millis(10 * position);
            assert!(moment >= due && moment <= due + Duration::from_millis(5), "{position}: {moment:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_halted_does_not_catch_up() {
        let (pace, turns) = Pace::limited(100.0);
        let mut asked: Vec<_> = (0..25).map(|_| Box::pin(pace.permit())).collect();
        for permit in &mut asked {
            assert!(futures_util::poll!(permit).is_pending());
        }
        let mut serving = Box::pin(turns.serve(async |_, _| Some(Duration::ZERO)));
        assert!(futures_util::poll!(&mut serving).is_pending());
        // Time for twenty turns passes at once.
        tokio::time::advance(Duration::from_millis(200)).await;
        assert!(futures_util::poll!(&mut serving).is_pending());
        let mut left = 0;
        for permit in &mut asked {
            left += u32::from(futures_util::poll!(permit).is_ready());
        }
        assert!(left <= 4, "{left} left within a moment");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_leaves_while_no_share_can_be_reserved() {
        let (pace, turns) = Pace::limited(100.0);
        let serving = tokio::spawn(turns.serve(async |_, _| None));
        let permit = tokio::time::timeout(Duration::from_mins(1), pace.permit()).await;
        assert!(permit.is_err());
        serving.abort();
    }
}
