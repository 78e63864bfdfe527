//! Whether it is this process's own way to the API that is broken, and not the API.
//!
//! Where another process ends an outage that this one met in its own answers, the API is there for others. So this one
//! believes it, and lets its next attempt show whether it gets through as well. Where it does not, it holds itself back
//! alone: it is never told to the others.

use std::time::{Duration, Instant};

use super::Why;
use super::state::State;

/// A hold that nobody looked into for so long, because nothing is to be sent, says nothing of now. A little less than the
/// time after which what all processes know of it is not believed.
const LONG_OVER: Duration = Duration::from_mins(4);

/// What this process's own answers say of its way to the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Path {
    /// Nothing against it.
    #[default]
    Good,
    /// They showed the outage that holds all processes back.
    Failed,
    /// They showed an outage that is over for others: the next attempt is made to find out whether it is for this one.
    Doubtful,
}

impl State {
    /// The reason that an outage found here is: every process's, or this one's alone.
    pub(super) fn blame(&mut self, why: Why) -> Why {
        match self.path {
            _ if !why.is_outage() => why,
            Path::Doubtful => Why::OwnPath,
            Path::Good | Path::Failed => {
                self.path = Path::Failed;
                why
            }
        }
    }

    /// Takes in whether the provider dealt with a request; only one made to find out says something of the path. True
    /// where others get through and this process does not.
    pub(super) fn weigh_path(&mut self, probe: bool, answered: Option<bool>) -> bool {
        if !probe || self.path != Path::Doubtful {
            return false;
        }
        if answered != Some(false) {
            self.trust_path();
        }
        answered == Some(false)
    }

    pub(super) fn trust_path(&mut self) {
        self.path = Path::Good;
        self.down_by_cancels = false;
    }

    /// The outage is no more what all know, though this process did not end it.
    pub(super) fn end_elsewhere(&mut self, now: Instant) {
        let nobody_knows = self.is_long_over(now);
        self.forget_hold();
        match self.path {
            Path::Good => self.trust_path(),
            // It ran out: no other process got through, as far as is known.
            Path::Failed if nobody_knows => self.trust_path(),
            Path::Failed | Path::Doubtful => self.path = Path::Doubtful,
        }
    }

    /// Whether the time of the hold is so long over that it says nothing of now.
    pub(super) fn is_long_over(&self, now: Instant) -> bool {
        self.held.is_some_and(|held| !self.finding_out && now >= held.until + LONG_OVER)
    }
}
