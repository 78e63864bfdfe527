//! What the service manager is told: readiness, a line of progress, that the loop moves, and the end.
//!
//! Nothing is sent where there is none to tell: `NOTIFY_SOCKET` and `WATCHDOG_USEC` are systemd's own variables. It decides
//! nothing; the health endpoints say the same to others.

mod line;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::ledger::Ledger;
use crate::schedule::Forecast;
use crate::sweep::Sweeper;

/// How often the line of progress is looked at; it is sent where it changed.
const INTERVAL: Duration = Duration::from_secs(1);
/// The watchdog is told so many times within its limit.
const TIMES: u32 = 3;

/// The service manager. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Manager {
    ready: Arc<AtomicBool>,
}

/// What the line of progress is made of.
pub struct Shown {
    /// The daemon's health.
    pub health: Arc<Health>,
    /// What it does.
    pub sweeper: Sweeper,
    /// What is due.
    pub ledger: Ledger,
    /// When it sweeps next.
    pub forecast: Forecast,
    /// How long the loop may stand still before it counts as wedged.
    pub patience: Duration,
    /// Asked to stop.
    pub stop: CancellationToken,
}

impl Manager {
    /// Database and schema can be used. Told once.
    pub fn ready(&self) {
        if !self.ready.swap(true, Ordering::Relaxed) {
            say(&[NotifyState::Ready]);
        }
    }

    /// Settings are read again from here to [`reloaded`](Self::reloaded).
    pub fn reloading(&self) {
        if !self.ready.load(Ordering::Relaxed) {
            // A process that is still starting stays that.
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => say(&[NotifyState::Reloading, now]),
            Err(error) => not_told(&error),
        }
    }

    /// Settings were read again, or stay as they were.
    pub fn reloaded(&self) {
        if self.ready.load(Ordering::Relaxed) {
            say(&[NotifyState::Ready]);
        }
    }

    /// Tells what is going on until the process is asked to stop, and that it is; the watchdog is fed beyond that.
    pub async fn keep_told(&self, shown: Shown) {
        if let Some(limit) = sd_notify::watchdog_enabled() {
            let (sweeper, patience) = (shown.sweeper.clone(), shown.patience);
            let moves = move || !sweeper.progress().is_wedged(patience);
            tokio::spawn(feed_watchdog(limit / TIMES, moves, || say(&[NotifyState::Watchdog])));
        }
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            keep_line(shown).await;
        }
    }
}

/// Feeds the watchdog for as long as the loop moves.
async fn feed_watchdog(every: Duration, moves: impl Fn() -> bool, feed: impl Fn()) {
    let mut interval = tokio::time::interval(every.max(Duration::from_millis(1)));
    loop {
        interval.tick().await;
        if moves() {
            feed();
        }
    }
}

/// Sends the line where it changed. Looking at the database for it never delays that the end has begun.
async fn keep_line(mut shown: Shown) {
    let stop = shown.stop.clone();
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last, mut spell) = (String::new(), None);
    while let Some(line) = stop.run_until_cancelled(line::line(&mut shown, &mut spell)).await {
        if line != last {
            say(&[NotifyState::Status(&line)]);
            last = line;
        }
        stop.run_until_cancelled(interval.tick()).await;
    }
    say(&[NotifyState::Stopping, NotifyState::Status("stopping: finishes what is under way")]);
}

fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        not_told(&error);
    }
}

fn not_told(error: &std::io::Error) {
    tracing::debug!(event = "systemd.not_told", error.message = %error, "the service manager could not be told something");
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::sweep::Progress;

    const PATIENCE: Duration = Duration::from_mins(3);
    const LIMIT: Duration = Duration::from_mins(1);

    async fn pass(time: Duration) {
        tokio::time::sleep(time).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_for_as_long_as_the_loop_moves_and_no_longer() {
        let progress = Arc::new(Progress::default());
        let (fed_to, mut fed) = mpsc::unbounded_channel();
        let watched = Arc::clone(&progress);
        tokio::spawn(feed_watchdog(
            LIMIT / TIMES,
            move || !watched.is_wedged(PATIENCE),
            move || fed_to.send(()).unwrap(),
        ));
        let mut times_fed = || std::iter::from_fn(|| fed.try_recv().ok()).count();
        // A slow API: something moves, if only as rarely as is still allowed.
        for _ in 0..20 {
            progress.beat();
            pass(PATIENCE).await;
            assert!(times_fed() > 2 * 3, "more than twice in each of three minutes");
        }
        pass(LIMIT / TIMES).await;
        times_fed();
        pass(LIMIT * 10).await;
        assert_eq!(times_fed(), 0, "a wedged loop");
        progress.beat();
        pass(LIMIT).await;
        assert!(times_fed() >= 2, "it moves again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_has_not_begun_is_not_wedged() {
        let progress = Progress::default();
        pass(PATIENCE * 2).await;
        assert!(!progress.is_wedged(PATIENCE));
    }
}
