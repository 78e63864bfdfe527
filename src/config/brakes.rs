//! `[brakes]`: what keeps a mistake of ours, of the operator's or of a restored backup from canceling live payments.
//!
//! It only reads the limits; whether a brake acts is decided where the danger shows.

use std::time::Duration;

use super::draft::Draft;
use super::settings::{Brakes, UnknownApi};

const UNKNOWN_APIS: &[(&str, UnknownApi)] = &[("refuse", UnknownApi::Refuse), ("accept", UnknownApi::Accept)];

/// An answer tells its time in whole seconds and takes some to come.
const CLOSEST: Duration = Duration::from_secs(5);

pub(super) fn read(draft: &mut Draft) -> Option<Brakes> {
    let max_discovered = draft.integer("brakes.max_discovered", &(1..=1_000_000_000));
    let unknown_api = draft.choice("brakes.unknown_api", UNKNOWN_APIS);
    let clock_tolerance = draft.duration("brakes.clock_tolerance");
    if let Some(tolerance) = clock_tolerance.filter(|tolerance| *tolerance < CLOSEST) {
        let sentence = format!(
            "is {}, but an answer's time is in whole seconds: write at least \"{}\"",
            humantime::format_duration(tolerance),
            humantime::format_duration(CLOSEST)
        );
        draft.refuse("brakes.clock_tolerance", sentence);
    }
    Some(Brakes { max_discovered: max_discovered?, unknown_api: unknown_api?, clock_tolerance: clock_tolerance? })
}
