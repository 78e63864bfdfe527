//! The figures at `/metrics` that only the database knows: the backlog, what is still payable, and when a sweep last
//! ended well.
//!
//! It reads seldom, and never for more than a small part of the time, however long the backlog. While the database is
//! away, numbers stay as they were read last, and ages go on growing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::health::{Health, Part};
use crate::ledger::{Figures, Ledger};

/// How often the figures are shown anew: ages grow.
const SHOWN: Duration = Duration::from_secs(1);
/// The shortest and the longest pause between two readings.
const PAUSE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(2));
/// How many times as long as a reading took is paused after it.
const PART: u32 = 20;

/// Reads and shows the figures until `stop`.
pub async fn keep_up(ledger: Ledger, health: Arc<Health>, stop: CancellationToken) {
    register();
    let started = Instant::now();
    let mut last = None;
    let mut read_again = started;
    loop {
        if is_reachable(&health) {
            if Instant::now() >= read_again {
                let asked = Instant::now();
                match ledger.figures().await {
                    Ok(figures) => last = Some((figures, asked)),
                    // What is wrong with the database is said by whoever needs it for more than this.
                    Err(error) => tracing::debug!(event = "figures.not_read", %error, "figures stay as they were"),
                }
                read_again = Instant::now() + (asked.elapsed() * PART).clamp(PAUSE.0, PAUSE.1);
            }
        } else {
            read_again = Instant::now();
        }
        show(last.as_ref(), started);
        tokio::select! {
            () = tokio::time::sleep(SHOWN) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn is_reachable(health: &Health) -> bool {
    [Part::Database, Part::Schema].into_iter().all(|part| health.trouble(part).is_none())
}

fn register() {
    metrics::describe_gauge!("geft_sweeper_backlog_sessions", "Sessions taken on that have not ended, by state.");
    metrics::describe_gauge!(
        "geft_sweeper_backlog_oldest_due_age_seconds",
        "How long ago the pending session that waits longest was due; 0 where none is due."
    );
    metrics::describe_gauge!(
        "geft_sweeper_payable_sessions",
        "Abandoned or aged sessions that can still be paid: taken on, and not ended."
    );
    metrics::describe_gauge!(
        "geft_sweeper_payable_oldest_age_seconds",
        "The age of the oldest of them, since it was created in the source or, where that is not known, taken on; 0 where there is none."
    );
    metrics::describe_gauge!(
        "geft_sweeper_paid_after_abandonment_last_hour_sessions",
        "Sessions found paid after abandonment within the last hour, by any process."
    );
    metrics::describe_gauge!(
        "geft_sweeper_last_sweep_age_seconds",
        "How long ago a sweep of any process last ran to its end; where none ever did, how long ago the first began."
    );
}

/// Numbers are NaN until they were read for the first time. Where no sweep is known, this process should have made one.
fn show(last: Option<&(Figures, Instant)>, started: Instant) {
    let number = |number: fn(&Figures) -> f64| last.map_or(f64::NAN, |(figures, _)| number(figures));
    let age = |age: fn(&Figures) -> Option<f64>| {
        last.map_or(f64::NAN, |(figures, read)| grown(age(figures), *read).unwrap_or_default())
    };
    let backlog = |state: &'static str| metrics::gauge!("geft_sweeper_backlog_sessions", "state" => state);
    backlog("pending").set(number(|figures| figures.pending));
    backlog("in_flight").set(number(|figures| figures.in_flight));
    metrics::gauge!("geft_sweeper_backlog_oldest_due_age_seconds").set(age(|figures| figures.oldest_due_s));
    metrics::gauge!("geft_sweeper_payable_sessions").set(number(|figures| figures.pending + figures.in_flight));
    metrics::gauge!("geft_sweeper_payable_oldest_age_seconds").set(age(|figures| figures.oldest_open_s));
    metrics::gauge!("geft_sweeper_paid_after_abandonment_last_hour_sessions")
        .set(number(|figures| figures.paid_within_hour));
    let last_sweep = last.and_then(|(figures, read)| grown(figures.last_sweep_s, *read));
    metrics::gauge!("geft_sweeper_last_sweep_age_seconds")
        .set(last_sweep.unwrap_or_else(|| started.elapsed().as_secs_f64()));
}

/// An age as it is by now. One that lies in the future, as after a clock was set back, is none yet.
fn grown(age_s: Option<f64>, read: Instant) -> Option<f64> {
    age_s.map(|age| (age + read.elapsed().as_secs_f64()).max(0.0))
}
