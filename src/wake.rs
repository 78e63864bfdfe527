//! Wakes: that somebody said in the database that there is something to look for, and when it is time to look.
//!
//! A wake carries nothing: neither what changed nor how much. It is kept until a look at the source that began after it has
//! ended well; the schedule is the safety net for one that was never heard.

mod listener;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

pub use listener::listen;

/// The shortest and the longest pause after a look; between the two it is as long as the look took, so that a flood of
/// wakes keeps the database busy for half of the time at the most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(30));
/// The pause after a look that failed, or that another process was faster with.
const AGAIN: Duration = Duration::from_secs(1);

/// What was heard and not answered yet. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Wakes(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    heard: bool,
    not_before: Option<Instant>,
}

impl Wakes {
    /// There may be something to look for.
    pub fn offer(&self) {
        self.0.send_modify(|state| state.heard = true);
    }

    /// Waits until there is something to look for and the pause after the last look is over. Takes nothing away.
    pub async fn due(&self) {
        let mut state = self.0.subscribe();
        loop {
            let pause = match state.wait_for(|state| state.heard).await {
                Ok(state) => state.not_before.filter(|end| Instant::now() < *end),
                // We hold the sender ourselves.
                Err(_) => return std::future::pending().await,
            };
            let Some(end) = pause else { return };
            tokio::time::sleep_until(end.into()).await;
        }
    }

    /// What was heard so far is answered by the look that begins now; where that fails, it counts as heard again.
    #[must_use]
    pub fn begin_look(&self) -> Look {
        let mut heard = false;
        self.0.send_modify(|state| heard = std::mem::take(&mut state.heard));
        Look { wakes: self.clone(), begun: Instant::now(), took: None, heard }
    }
}

/// A look under way.
#[derive(Debug)]
pub struct Look {
    wakes: Wakes,
    begun: Instant,
    /// How long it took, where that is known before its end.
    took: Option<Duration>,
    heard: bool,
}

impl Look {
    /// From now on it is not the database that it takes its time with.
    pub fn goes_on_beside_work(&mut self) {
        self.took = Some(self.begun.elapsed());
    }

    /// It has seen everything that was said before it began.
    pub fn end(mut self) {
        self.heard = false;
        let pause = self.took.unwrap_or_else(|| self.begun.elapsed()).clamp(PAUSE.0, PAUSE.1);
        self.wakes.0.send_modify(|state| state.not_before = Some(Instant::now() + pause));
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        if self.heard {
            self.wakes.0.send_modify(|state| *state = State { heard: true, not_before: Some(Instant::now() + AGAIN) });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// Whether it is time to look within so many milliseconds.
    async fn is_due_within(wakes: &Wakes, ms: u64) -> bool {
        timeout(Duration::from_millis(ms), wakes.due()).await.is_ok()
    }

    #[tokio::test]
    async fn the_first_of_a_burst_is_due_at_once_and_one_look_answers_all_before_it() {
        let wakes = Wakes::default();
        assert!(!is_due_within(&wakes, 20).await, "nothing was heard");
        for _ in 0..1_000 {
            wakes.offer();
        }
        wakes.due().await;
        wakes.begin_look().end();
        assert!(!is_due_within(&wakes, 100).await, "all of it was answered");
    }

    #[tokio::test]
    async fn what_is_said_during_a_look_is_due_after_a_pause() {
        let wakes = Wakes::default();
        wakes.offer();
        let look = wakes.begin_look();
        wakes.offer();
        look.end();
        let ended = Instant::now();
        wakes.due().await;
        assert!(ended.elapsed() + Duration::from_millis(1) >= PAUSE.0);
    }

    #[tokio::test]
    async fn a_look_that_fails_answers_nothing_and_is_not_repeated_at_once() {
        let wakes = Wakes::default();
        wakes.offer();
        let failed = Instant::now();
        drop(wakes.begin_look());
        wakes.due().await;
        assert!(failed.elapsed() >= AGAIN);
        drop(wakes.begin_look());
        wakes.begin_look().end();
        assert!(!is_due_within(&wakes, 1_500).await, "another look has answered it");
    }

    #[tokio::test]
    async fn a_look_that_nobody_asked_for_asks_for_none_when_it_fails() {
        let wakes = Wakes::default();
        drop(wakes.begin_look());
        assert!(!is_due_within(&wakes, 1_200).await);
    }
}
