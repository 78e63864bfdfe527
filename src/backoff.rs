//! When to try again: exponential backoff with jitter, as arithmetic on the `backoff` crate.
//!
//! The crate is used here alone. Nothing here waits: the pause goes into the ledger, where a restart finds it.

use std::time::Duration;

use backoff::SystemClock;
use backoff::backoff::Backoff as _;
use backoff::exponential::{ExponentialBackoff, ExponentialBackoffBuilder};

use crate::config;

/// The pauses between the attempts on one session.
#[derive(Clone, Debug)]
pub struct Policy {
    settings: config::Retry,
}

impl Policy {
    /// A policy of `[retry]`.
    #[must_use]
    pub fn new(settings: config::Retry) -> Self {
        Self { settings }
    }

    /// How many counted attempts a session gets.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.settings.max_attempts
    }

    /// The pause after an attempt that `earlier` counted ones went before.
    ///
    /// It lies within `randomization_factor` of the interval for that attempt, and never beyond `max_interval`.
    #[must_use]
    pub fn pause(&self, earlier: u32) -> Duration {
        let longest = self.settings.max_interval;
        let mut backoff: ExponentialBackoff<SystemClock> = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.settings.initial_interval)
            .with_multiplier(self.settings.multiplier)
            .with_randomization_factor(self.settings.randomization_factor)
            .with_max_interval(longest)
            .with_max_elapsed_time(None)
            .build();
        backoff.current_interval = self.interval(earlier);
        let pause = backoff.next_backoff().unwrap_or(longest);
        // What the jitter puts beyond the longest pause is folded back: cut off, half of the retries would fall together.
        if pause > longest { longest.saturating_sub(pause.saturating_sub(longest)) } else { pause }
    }

    /// The interval without jitter.
    fn interval(&self, earlier: u32) -> Duration {
        let longest = self.settings.max_interval.as_secs_f64();
        let grown = self.settings.initial_interval.as_secs_f64() * self.settings.multiplier.powf(f64::from(earlier));
        Duration::try_from_secs_f64(grown.min(longest)).unwrap_or(self.settings.max_interval)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(initial: u64, multiplier: f64, factor: f64, max: u64) -> Policy {
        Policy::new(config::Retry {
            initial_interval: Duration::from_millis(initial),
            multiplier,
            randomization_factor: factor,
            max_interval: Duration::from_millis(max),
            max_attempts: 20,
            lease: Duration::from_mins(1),
        })
    }

    #[test]
    fn without_jitter_the_pauses_double_up_to_the_longest() {
        let policy = policy(1_000, 2.0, 0.0, 10_000);
        let pauses: Vec<u64> = (0..6).map(|earlier| policy.pause(earlier).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn the_default_budget_lasts_about_five_hours() {
        let policy = policy(1_000, 2.0, 0.0, 30 * 60_000);
        let total: Duration = (0..19).map(|earlier| policy.pause(earlier)).sum();
        assert!((4.0..5.5).contains(&(total.as_secs_f64() / 3_600.0)), "{total:?}");
    }

    proptest! {
        #[test]
        fn pauses_stay_within_the_jitter_and_the_longest(
            initial in 1_u64..100_000, multiplier in 1.0_f64..10.0, factor in 0.0_f64..=1.0,
            more in 0_u64..10_000_000, earlier in 0_u32..1_000_000,
        ) {
            let policy = policy(initial, multiplier, factor, initial + more);
            let pause = policy.pause(earlier);
            let interval = policy.interval(earlier);
            prop_assert!(pause <= Duration::from_millis(initial + more));
            prop_assert!(pause.as_secs_f64() >= interval.as_secs_f64() * (1.0 - factor) - 1e-6);
        }
    }
}
