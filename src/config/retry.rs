//! `[retry]`: how failed attempts are repeated, and how long a session is held.
//!
//! The lease is held against `api.timeout`: one that is too short would let two processes send for the same session.

use std::time::Duration;

use super::draft::Draft;
use super::settings::Retry;

/// What an attempt may take beside its three requests (token, cancel, status).
const LEASE_MARGIN: Duration = Duration::from_secs(15);

pub(super) fn read(draft: &mut Draft) -> Option<Retry> {
    let initial_interval = draft.duration("retry.initial_interval");
    let multiplier = draft.number("retry.multiplier", &(1.0..=1000.0));
    let randomization_factor = draft.number("retry.randomization_factor", &(0.0..=1.0));
    let max_interval = draft.duration("retry.max_interval");
    if let (Some(first), Some(longest)) = (initial_interval, max_interval)
        && first > longest
    {
        let sentence = format!(
            "is {}, which is longer than retry.max_interval: write at most \"{}\"",
            humantime::format_duration(first),
            humantime::format_duration(longest)
        );
        draft.refuse("retry.initial_interval", sentence);
    }
    let max_attempts = draft.integer("retry.max_attempts", &(1..=i64::from(i32::MAX)));
    let lease = lease(draft);
    Some(Retry {
        initial_interval: initial_interval?,
        multiplier: multiplier?,
        randomization_factor: randomization_factor?,
        max_interval: max_interval?,
        max_attempts: max_attempts?,
        lease: lease?,
    })
}

fn lease(draft: &mut Draft) -> Option<Duration> {
    let lease = draft.duration("retry.lease")?;
    // Where the timeout is refused, that is told already.
    let timeout = draft.value::<String>("api.timeout").and_then(|text| humantime::parse_duration(&text).ok())?;
    let minimum = timeout.saturating_mul(3).saturating_add(LEASE_MARGIN);
    if lease < minimum {
        let sentence = format!(
            "is {}, but must be at least 3 × api.timeout + 15s, which is \"{}\"",
            humantime::format_duration(lease),
            humantime::format_duration(minimum)
        );
        draft.refuse("retry.lease", sentence);
        return None;
    }
    // Slower than this, sessions would be claimed and given back without ever being sent for.
    let rate = draft.value::<f64>("api.max_requests_per_second").filter(|rate| *rate > 0.0);
    let slowest = 4.0 / lease.as_secs_f64();
    if let Some(rate) = rate.filter(|rate| *rate < slowest) {
        let sentence =
            format!("is {rate}, but one request must fit into a quarter of retry.lease: give at least {slowest:.3}");
        draft.refuse("api.max_requests_per_second", sentence);
    }
    Some(lease)
}
