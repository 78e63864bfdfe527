//! What all processes have to know of what holds sending back: what this one found out, and what the others did.
//!
//! It does not know where that is kept.

use std::time::{Duration, Instant};

use super::path::Path;
use super::state::State;
use super::{Gate, HeldBack, Verdict, Why};

/// A hold that ends less than this later than one known is the same one, read a moment later.
const SAME: Duration = Duration::from_millis(100);
/// The others may find out so much sooner than the process that met the outage: its own path may be what is broken.
const HEAD_START: Duration = Duration::from_millis(500);

/// How a reason stands here, for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The reason.
    pub why: Why,
    /// For how long nothing is to be sent, and how often in a row it was found to be so; none where it is over.
    pub hold: Option<(Duration, u32)>,
}

/// A hold as all processes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Why.
    pub why: Why,
    /// For how long nothing is to be sent; zero where that time is over.
    pub left: Duration,
    /// How often in a row it was found to be so.
    pub times_found: u32,
    /// This process was the last to find it out.
    pub ours: bool,
}

impl Gate {
    /// Whether the others have to be told something.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.state_locked().unshared.is_empty()
    }

    /// What the others have to be told. Where that fails, [`share_again`](Self::share_again).
    pub fn changes(&self) -> Vec<Change> {
        self.state_locked().changes(Instant::now())
    }

    /// The others could not be told of this reason.
    pub fn share_again(&self, why: Why) {
        self.state_locked().unshared.push(why);
    }

    /// Takes in every hold that is known to all.
    pub fn learn(&self, known: &[Known]) -> Verdict {
        self.change(|state| state.learn(known, Instant::now()))
    }
}

impl State {
    fn changes(&mut self, now: Instant) -> Vec<Change> {
        let mut reasons = std::mem::take(&mut self.unshared);
        reasons.sort_by_key(|why| why.weight());
        reasons.dedup();
        let until = |why: Why| match why {
            Why::RetryAfter => self.wish,
            _ => self.held.filter(|held| held.why == why).map(|held| held.until),
        };
        let head_start = |why: Why| if why.is_outage() { HEAD_START } else { Duration::ZERO };
        let left = |why| Some(until(why)?.saturating_duration_since(now).saturating_sub(head_start(why)));
        let hold = |why| left(why).map(|left| (left, self.unasked));
        reasons.into_iter().map(|why| Change { why, hold: hold(why) }).collect()
    }

    pub(super) fn learn(&mut self, known: &[Known], now: Instant) {
        for hold in known.iter().filter(|hold| !hold.ours) {
            self.adopt(hold, now);
        }
        let is_over = |why: Why| match why {
            Why::OwnPath => self.is_long_over(now),
            _ => why.is_outage() && !self.is_ours_to_tell(why) && known.iter().all(|hold| hold.why != why),
        };
        if self.why().is_some_and(is_over) {
            self.end_elsewhere(now);
        }
    }

    fn adopt(&mut self, told: &Known, now: Instant) {
        let until = now + told.left;
        match self.held {
            None if !told.why.is_outage() && told.left.is_zero() => {}
            // A process that has been served so far may have a token that goes on serving.
            None if told.why == Why::NoToken && self.evidence.has_accepted() => {}
            Some(held) if held.why == told.why && told.why.is_outage() => {
                if !self.is_ours_to_tell(told.why) {
                    self.held = Some(HeldBack { until, ..held });
                    self.unasked = self.unasked.max(told.times_found);
                }
            }
            Some(held) if held.why.weight() >= told.why.weight() => {
                // One that is over is told for a while; it must not hold anybody back again.
                if !told.left.is_zero() && until > held.until + SAME {
                    self.hold_back(HeldBack { until, ..held });
                }
            }
            before => {
                // It is not told what found it out.
                self.down_by_cancels |= told.why == Why::ApiDown;
                // It was alone with its failures, and others fail now: it goes by what all find.
                if told.why.is_outage() && self.path == Path::Doubtful {
                    self.path = Path::Failed;
                }
                self.unasked = self.unasked.max(told.times_found);
                self.hold_back(HeldBack { why: told.why, until: until.max(before.map_or(now, |held| held.until)) });
            }
        }
    }

    /// Whether what this process knows of an outage is newer than what all know.
    fn is_ours_to_tell(&self, why: Why) -> bool {
        self.finding_out || self.unshared.contains(&why)
    }
}
