//! The figures at `/metrics` that only the database knows: the backlog, what is still payable, and when a sweep last
//! ended well.
//!
//! It reads seldom, and never for more than a small part of the time, however long the backlog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::health::{Health, Part};
use crate::ledger::{Figures, Ledger};
use crate::session::State;

/// How often it is looked whether the figures are to be read or shown anew.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest and the longest pause between two readings.
const PAUSE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(2));
/// How many times as long as a reading took is paused after it.
const TIMES: u32 = 20;
/// For how long what was read last is shown while it cannot be read again.
const GOOD_FOR: Duration = Duration::from_mins(5);

/// Shows the figures from here on, and reads them in a task of its own until `stop`.
pub fn start(ledger: Ledger, health: Arc<Health>, stop: CancellationToken) {
    let started = Instant::now();
    register();
    show(None, started);
    tokio::spawn(keep_up(ledger, health, stop, started));
}

async fn keep_up(ledger: Ledger, health: Arc<Health>, stop: CancellationToken, started: Instant) {
    let (mut last, mut said) = (None, false);
    let mut read_again = started;
    loop {
        if is_reachable(&health) {
            if Instant::now() >= read_again {
                let asked = Instant::now();
                match ledger.figures().await {
                    Ok(figures) => (last, said) = (Some((figures, asked)), false),
                    Err(error) => {
                        if !said {
                            tracing::warn!(event = "figures.not_read", error.message = %error, "figures for /metrics are missing");
                        }
                        said = true;
                    }
                }
                read_again = Instant::now() + (asked.elapsed() * TIMES).clamp(PAUSE.0, PAUSE.1);
            }
        } else {
            read_again = Instant::now();
        }
        show(last.as_ref(), started);
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
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
        "The age of the oldest session that can still be paid, since it was created in the source or, where that is not told, taken on; 0 where there is none."
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

/// What was not read yet, or not for long, is NaN: nobody is to be called, or calmed, by an old number.
fn show(last: Option<&(Figures, Instant)>, started: Instant) {
    let good = last.filter(|(_, read)| read.elapsed() < GOOD_FOR);
    let figure = |figure: fn(&Figures) -> f64| good.map_or(f64::NAN, |(figures, _)| figure(figures));
    let backlog = |state: State| metrics::gauge!("geft_sweeper_backlog_sessions", "state" => state.as_str());
    backlog(State::Pending).set(figure(|figures| figures.pending));
    backlog(State::InFlight).set(figure(|figures| figures.in_flight));
    metrics::gauge!("geft_sweeper_backlog_oldest_due_age_seconds").set(figure(|figures| figures.oldest_due_s));
    metrics::gauge!("geft_sweeper_payable_sessions").set(figure(|figures| figures.pending + figures.in_flight));
    metrics::gauge!("geft_sweeper_payable_oldest_age_seconds").set(figure(|figures| figures.oldest_open_s));
    metrics::gauge!("geft_sweeper_paid_after_abandonment_last_hour_sessions")
        .set(figure(|figures| figures.paid_within_hour));
    // This one grows whether the database answers or not. Where no sweep is known, this process should have made one.
    let last_sweep = last.and_then(|(figures, read)| Some(figures.last_sweep_s? + read.elapsed().as_secs_f64()));
    metrics::gauge!("geft_sweeper_last_sweep_age_seconds")
        .set(last_sweep.unwrap_or_else(|| started.elapsed().as_secs_f64()).max(0.0));
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    const FIGURES: Figures = Figures {
        pending: 2.0,
        in_flight: 1.0,
        oldest_due_s: 30.0,
        oldest_open_s: 60.0,
        paid_within_hour: 0.0,
        last_sweep_s: Some(20.0),
    };

    /// The value of a metric without labels, where these figures were read so many minutes ago.
    fn shown(metric: &str, read: Option<(Figures, u64)>) -> f64 {
        let now = Instant::now();
        let ago = |minutes| now.checked_sub(Duration::from_mins(minutes)).unwrap();
        let last = read.map(|(figures, minutes)| (figures, ago(minutes)));
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || show(last.as_ref(), ago(7)));
        let text = recorder.handle().render();
        let value = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        value.unwrap().parse().unwrap()
    }

    #[test]
    fn a_number_is_shown_for_five_minutes_and_never_before_it_was_read() {
        for (metric, expected) in
            [("geft_sweeper_payable_sessions", 3.0), ("geft_sweeper_payable_oldest_age_seconds", 60.0)]
        {
            assert!(shown(metric, None).is_nan());
            assert!((shown(metric, Some((FIGURES, 4))) - expected).abs() < f64::EPSILON);
            assert!(shown(metric, Some((FIGURES, 5))).is_nan());
        }
    }

    #[test]
    fn the_age_of_the_last_sweep_grows_whatever_is_known_of_it() {
        let age = |read| shown("geft_sweeper_last_sweep_age_seconds", read).round();
        assert!((age(None) - 420.0).abs() < f64::EPSILON, "since the process started");
        assert!((age(Some((FIGURES, 6))) - 380.0).abs() < f64::EPSILON);
        assert!((age(Some((Figures { last_sweep_s: None, ..FIGURES }, 6))) - 420.0).abs() < f64::EPSILON);
        assert!(age(Some((Figures { last_sweep_s: Some(-90.0), ..FIGURES }, 0))).abs() < f64::EPSILON);
    }
}
