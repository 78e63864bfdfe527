//! The clock that all processes share, as it is seen from here: what it shows is known with each answer, and when it
//! showed that lies between the question and the answer.
//!
//! Answers that were long on their way say little; what the others said stands.

use std::time::Duration;

use tokio::time::Instant;

/// How far apart two clocks can run: more than crystals do and a clock that is being put right, together.
const DRIFT: i128 = 1_000;

/// How far the shared clock is behind this process's, in nanoseconds since `base`: between the two bounds.
#[derive(Debug)]
pub(super) struct Clock {
    base: Instant,
    known: Option<Bounds>,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    least: i128,
    most: i128,
    learnt: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { base: Instant::now(), known: None }
    }

    /// Learns what the shared clock showed between two moments. False where it cannot have run on from what was known:
    /// it was set, or is another one.
    pub(super) fn learn(&mut self, asked: Instant, answered: Instant, shown: Duration) -> bool {
        let behind = |moment| self.nanoseconds(moment) - nanoseconds(shown);
        let fresh = Bounds { least: behind(asked), most: behind(answered), learnt: answered };
        let Some(known) = self.known.replace(fresh) else { return true };
        let drift = nanoseconds(answered.saturating_duration_since(known.learnt)) / DRIFT;
        let least = fresh.least.max(known.least - drift);
        let most = fresh.most.min(known.most + drift);
        if least > most {
            return false;
        }
        self.known = Some(Bounds { least, most, learnt: answered });
        true
    }

    /// When the shared clock shows this, or up to [`blur`](Self::blur) later; long past where nothing is known.
    pub(super) fn moment(&self, shown: Duration) -> Instant {
        let since_base = self.known.map(|known| known.most + nanoseconds(shown));
        let since_base = since_base.and_then(|since_base| u64::try_from(since_base).ok());
        self.base + Duration::from_nanos(since_base.unwrap_or_default())
    }

    /// How much is not known.
    pub(super) fn blur(&self) -> Duration {
        let nanoseconds = self.known.and_then(|known| u64::try_from(known.most - known.least).ok());
        Duration::from_nanos(nanoseconds.unwrap_or_default())
    }

    fn nanoseconds(&self, moment: Instant) -> i128 {
        nanoseconds(moment.saturating_duration_since(self.base))
    }
}

/// A century is 62 bits.
fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: Duration = Duration::from_hours(500_000);

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// A clock that showed [`SHOWN`] between 0 and 2 ms after its base.
    fn clock() -> (Clock, Instant) {
        let mut clock = Clock::new();
        let base = clock.base;
        assert!(clock.learn(base, base + ms(2), SHOWN));
        (clock, base)
    }

    fn off(clock: &Clock, expected: Instant, shown: Duration) -> Duration {
        let moment = clock.moment(shown);
        moment.saturating_duration_since(expected).max(expected.saturating_duration_since(moment))
    }

    #[test]
    fn a_slow_answer_does_not_blur_what_quick_ones_said() {
        let (mut clock, base) = clock();
        assert!(clock.learn(base + ms(100), base + ms(900), SHOWN + ms(101)));
        assert!(clock.blur() <= ms(4), "{:?}", clock.blur());
        assert!(off(&clock, base + ms(501), SHOWN + ms(500)) <= clock.blur());
    }

    #[test]
    fn a_clock_that_was_set_is_noticed_and_followed() {
        for set_to in [SHOWN.saturating_sub(Duration::from_hours(1)), SHOWN + ms(130), SHOWN + Duration::from_hours(1)]
        {
            let (mut clock, base) = clock();
            assert!(!clock.learn(base + ms(100), base + ms(102), set_to));
            assert!(off(&clock, base + ms(201), set_to + ms(100)) <= ms(2));
            assert!(clock.learn(base + ms(200), base + ms(202), set_to + ms(100)));
        }
    }

    #[test]
    fn clocks_may_run_a_little_differently() {
        let (mut clock, base) = clock();
        for step in 1..=1_000 {
            // Half a second fast in a thousand.
            let shown = SHOWN + ms(100 * step) + Duration::from_micros(50 * step);
            let asked = base + ms(100 * step);
            assert!(clock.learn(asked, asked + ms(2), shown), "step {step}");
            assert!(off(&clock, asked + ms(1), shown) <= ms(2), "step {step}");
        }
    }
}
