//! Keeps the log from growing with the backlog: of events that are told of one session or one request after the other,
//! so many a second of each name are let through, and the others are counted and told as a number.
//!
//! It never leaves out what stands nowhere else, nor anything that is not told session by session.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// Events of one request or session that do not name it in a field `session.id`.
const ALSO: [&str; 5] =
    ["api.request", "attempt.broken", "attempt.too_late", "lease.not_taken_over", "sandbox.request"];
/// Events that are the only record of something.
const ALWAYS: [&str; 6] = [
    "attempt.late",
    "attempt.texts_dropped",
    "attempt.unwritten",
    "session.paid_after_abandonment",
    "session.texts_dropped",
    "session.unwritten",
];
/// Lines of one event let through at once.
const BURST: f64 = 100.0;
/// And in each second from then on.
const PER_SECOND: f64 = 20.0;
/// So many times as much at the levels `debug` and `trace`: whoever sets them wants to see single requests.
const WHEN_WATCHED: f64 = 50.0;
/// How often it is said what was left out.
const INTERVAL: Duration = Duration::from_secs(10);

/// Decides on each event whether it is told. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Floodgate(Arc<Mutex<BTreeMap<String, Bucket>>>);

/// What one event may still do.
struct Bucket {
    level: Level,
    room: f64,
    seen: Instant,
    left_out: u64,
}

impl Floodgate {
    /// Says every ten seconds what was left out, and at its own end.
    pub(super) fn left_out(&self) -> LeftOut {
        let gate = self.clone();
        let saying = tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                gate.say();
            }
        });
        LeftOut { gate: self.clone(), saying: saying.abort_handle() }
    }

    /// Whether one more of this event is told now. Locks: the buckets.
    fn admits(&self, event: &str, level: Level, now: Instant) -> bool {
        let scale = if level > Level::INFO { WHEN_WATCHED } else { 1.0 };
        let mut buckets = self.locked();
        if !buckets.contains_key(event) {
            let bucket = Bucket { level, room: BURST * scale, seen: now, left_out: 0 };
            buckets.insert(event.to_owned(), bucket);
        }
        let Some(bucket) = buckets.get_mut(event) else { return true };
        let elapsed = now.saturating_duration_since(bucket.seen).as_secs_f64();
        bucket.room = (bucket.room + elapsed * PER_SECOND * scale).min(BURST * scale);
        bucket.seen = now;
        if bucket.room < 1.0 {
            bucket.left_out += 1;
            return false;
        }
        bucket.room -= 1.0;
        true
    }

    /// Says what was left out since it was last said, a line for each event.
    fn say(&self) {
        for (of, level, lines) in self.take() {
            if level == Level::ERROR {
                tracing::error!(
                    event = "log.left_out",
                    log.event = of,
                    log.lines = lines,
                    "so many more lines of this event were left out"
                );
            } else {
                tracing::warn!(
                    event = "log.left_out",
                    log.event = of,
                    log.lines = lines,
                    "so many more lines of this event were left out"
                );
            }
        }
    }

    /// What was left out since the last call. Locks: the buckets.
    fn take(&self) -> Vec<(String, Level, u64)> {
        let mut buckets = self.locked();
        let silenced = buckets.iter_mut().filter(|(_, bucket)| bucket.left_out > 0);
        silenced.map(|(event, bucket)| (event.clone(), bucket.level, std::mem::take(&mut bucket.left_out))).collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Filter<S> for Floodgate {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let mut name = Name::default();
        event.record(&mut name);
        !name.is_bounded(event.metadata()) || self.admits(&name.0, *event.metadata().level(), Instant::now())
    }
}

/// The event's name, as its field says it.
#[derive(Default)]
struct Name(String);

impl Name {
    fn is_bounded(&self, metadata: &Metadata<'_>) -> bool {
        let single = metadata.fields().field("session.id").is_some() || ALSO.contains(&self.0.as_str());
        single && !ALWAYS.contains(&self.0.as_str())
    }
}

impl Visit for Name {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Says what is left out of the log, for as long as it is kept.
pub(super) struct LeftOut {
    gate: Floodgate,
    saying: AbortHandle,
}

impl Drop for LeftOut {
    fn drop(&mut self) {
        self.saying.abort();
        self.gate.say();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(gate: &Floodgate, event: &str, level: Level, now: Instant, times: u32) -> u32 {
        (0..times).map(|_| u32::from(gate.admits(event, level, now))).sum()
    }

    #[test]
    fn so_many_lines_of_each_event_pass_and_every_other_is_counted() {
        let (gate, start) = (Floodgate::default(), Instant::now());
        assert_eq!(admitted(&gate, "a", Level::WARN, start, 150), 100);
        assert_eq!(admitted(&gate, "b", Level::ERROR, start, 50), 50, "each event has its own");
        assert_eq!(admitted(&gate, "a", Level::WARN, start + Duration::from_millis(1_500), 40), 30);
        assert_eq!(gate.take(), [("a".to_owned(), Level::WARN, 60)]);
        assert_eq!(gate.take(), [], "said once");
        assert_eq!(admitted(&gate, "a", Level::WARN, start + Duration::from_hours(1), 150), 100, "never more at once");
    }

    #[test]
    fn who_asks_for_single_requests_sees_more_of_them_but_not_without_bound() {
        let gate = Floodgate::default();
        assert_eq!(admitted(&gate, "a", Level::DEBUG, Instant::now(), 6_000), 5_000);
    }
}
