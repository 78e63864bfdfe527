//! What the gate knows, and how each answer changes it. Pure: whoever calls brings the time.

use std::time::{Duration, Instant};

use super::evidence::{Evidence, is_missing};
use super::outage::{self, Outage};
use super::path::Path;
use super::{Circuit, Why};
use crate::outcome::{Attempt, Outcome};
use crate::session::SessionId;

/// The shortest hold: a Retry-After of zero must not become a tight loop.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest hold that nobody asked for.
const LONGEST: Duration = Duration::from_mins(1);
/// The first cool-down in trouble; it doubles with each attempt that finds no change.
const COOL_DOWN: Duration = Duration::from_secs(10);
/// The longest cool-down.
const LONGEST_COOL_DOWN: Duration = Duration::from_mins(5);

/// What holds sending back, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// Why.
    pub why: Why,
    /// Until then nothing is sent; in trouble and in an outage one attempt follows.
    pub until: Instant,
}

/// What changed at the gate, to be said once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It is closed for this reason from now on.
    pub closed: Option<Why>,
    /// It is closed for this reason no more.
    pub opened: Option<Why>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) under_way: usize,
    /// How many may be under way.
    pub(super) window: usize,
    pub(super) held: Option<HeldBack>,
    cool_down: Duration,
    /// How often the gate was closed.
    pub(super) closings: u64,
    /// Holds in a row for which the provider gave no time.
    pub(super) unasked: u32,
    pub(super) evidence: Evidence,
    pub(super) outage: Outage,
    /// The same of cancel requests alone: that questions are answered says nothing of them.
    cancels: Outage,
    /// Cancel requests found the API down, here or in another process: no answer to a question ends that.
    pub(super) down_by_cancels: bool,
    /// What this process's own answers say of its way to the API.
    pub(super) path: Path,
    /// An attempt is under way that finds out whether an outage is over.
    pub(super) finding_out: bool,
    /// That such attempts are made was said in this outage.
    told_finding_out: bool,
    /// Until when the provider wants to be left alone, whatever else holds sending back.
    pub(super) wish: Option<Instant>,
    /// Reasons of which the other processes do not know yet how they stand.
    pub(super) unshared: Vec<Why>,
    /// A moving average of how long an attempt takes, in seconds.
    pub(super) attempt_s: f64,
}

pub(super) enum Admission {
    Now { probe: bool, closings: u64 },
    Held(HeldBack),
    Later,
}

impl State {
    pub(super) fn new(window: usize, expected: Duration) -> Self {
        Self {
            under_way: 0,
            window,
            held: None,
            cool_down: COOL_DOWN,
            closings: 0,
            unasked: 0,
            evidence: Evidence::default(),
            outage: Outage::default(),
            cancels: Outage::default(),
            down_by_cancels: false,
            path: Path::default(),
            finding_out: false,
            told_finding_out: false,
            wish: None,
            unshared: Vec::new(),
            attempt_s: expected.as_secs_f64(),
        }
    }

    pub(super) fn why(&self) -> Option<Why> {
        self.held.map(|held| held.why)
    }

    /// Why attempts are made one at a time, to find out whether sending works again; none where they are not.
    pub(super) fn to_find_out(&self) -> Option<Why> {
        self.why().filter(|why| why.is_trouble() || why.is_outage())
    }

    /// Whether the next attempt is made to find out something: why sending is held back, or this process's own path.
    pub(super) fn finds_out(&self) -> bool {
        self.to_find_out().is_some() || self.path == Path::Doubtful
    }

    pub(super) fn circuit(&self) -> Circuit {
        match self.why() {
            Some(why) if why.is_outage() && self.finding_out => Circuit::HalfOpen,
            Some(why) if why.is_outage() => Circuit::Open,
            _ => Circuit::Closed,
        }
    }

    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        let held_to_find_out = self.to_find_out().is_some();
        match self.held {
            Some(held) if now < held.until || (held_to_find_out && self.under_way > 0) => Admission::Held(held),
            _ if !held_to_find_out && self.under_way >= self.room() => Admission::Later,
            _ => {
                self.under_way += 1;
                Admission::Now { probe: self.finds_out(), closings: self.closings }
            }
        }
    }

    /// How many may be under way now.
    pub(super) fn room(&self) -> usize {
        let window = if self.path == Path::Doubtful { 1 } else { self.window };
        window.min(self.evidence.room_at_unknown_address().unwrap_or(usize::MAX))
    }

    /// An attempt begins that finds out how things stand. True where that is to be said: once an outage.
    pub(super) fn find_out(&mut self) -> bool {
        self.finding_out = self.why().is_some_and(Why::is_outage);
        self.finding_out && !std::mem::replace(&mut self.told_finding_out, true)
    }

    /// An attempt is over. One that was to find out, and did not, leaves that to whoever comes next, in any process.
    pub(super) fn leave(&mut self, probe: bool) {
        self.under_way -= 1;
        if probe && std::mem::take(&mut self.finding_out) {
            self.share(self.why());
        }
    }

    /// Has the others told how an outage stands, where it concerns them.
    fn share(&mut self, why: Option<Why>) {
        self.unshared.extend(why.filter(|why| why.is_shared()));
    }

    /// Takes in what came of an attempt.
    pub(super) fn judge(&mut self, probe: bool, session: SessionId, attempt: &Attempt, now: Instant, max: usize) {
        match self.to_find_out() {
            Some(why) if probe => self.judge_probe(why, session, attempt, now),
            Some(why) => self.judge_straggler(why, session, attempt, now),
            None if self.close_for(probe, session, attempt, now) => {}
            None if !is_success(attempt) || self.held.is_some_and(|held| now < held.until) => {}
            None => {
                self.unasked = 0;
                self.window = self.window.saturating_mul(2).min(max);
                self.held = None;
            }
        }
    }

    /// Closes the gate where an attempt is the last that was missing to see why it should be.
    fn close_for(&mut self, probe: bool, session: SessionId, attempt: &Attempt, now: Instant) -> bool {
        let answered = outage::answered(attempt);
        let down = answered.is_some_and(|answered| self.weigh_attempt(session, answered));
        let down = self.weigh_path(probe, answered) || down;
        let (why, asked) = match self.evidence.weigh(session, attempt) {
            Some(why) => (why, None),
            None if asks_to_wait(attempt) => (Why::RetryAfter, attempt.retry_after),
            None if down => (Why::ApiDown, None),
            None => return false,
        };
        self.down_by_cancels |= why == Why::ApiDown;
        self.close(why, asked, now);
        true
    }

    /// Takes in whether the provider dealt with a cancel request, and tells whether the API is down.
    fn weigh_attempt(&mut self, session: SessionId, answered: bool) -> bool {
        let by_all = self.outage.weigh(session, answered);
        self.cancels.weigh(session, answered) || by_all
    }

    /// An attempt made to find out whether sending works again.
    fn judge_probe(&mut self, why: Why, session: SessionId, attempt: &Attempt, now: Instant) {
        let works = match why {
            // Who sent a request had a token.
            Why::NoToken | Why::RetryAfter => true,
            Why::ApiDown | Why::OwnPath => !asks_to_wait(attempt) && outage::answered(attempt) != Some(false),
            Why::CredentialsRefused => is_success(attempt),
            Why::WrongAddress => is_success(attempt) && !is_missing(attempt),
        };
        if !works {
            self.down_by_cancels |= why.is_down();
            return self.close(why, attempt.retry_after, now);
        }
        self.lift();
        if why.is_outage() {
            // It may be that something else is the matter.
            self.close_for(false, session, attempt, now);
        } else {
            self.evidence.clear(!is_missing(attempt));
            self.cool_down = COOL_DOWN;
        }
    }

    /// An attempt that was under way before the gate was closed.
    fn judge_straggler(&mut self, why: Why, session: SessionId, attempt: &Attempt, now: Instant) {
        if attempt.retry_after.is_some() {
            self.close(Why::RetryAfter, attempt.retry_after, now);
        } else if why.is_down()
            && let Some(answered) = outage::answered(attempt)
        {
            self.weigh_attempt(session, answered);
            if answered {
                // It is not away for everybody: the next try need not be far off.
                self.unasked = 0;
            }
        }
    }

    /// Takes in the answer to a question for a session's status: whether the provider knew it; none where it did not say.
    pub(super) fn judge_status(&mut self, probe: bool, session: SessionId, known: Option<bool>, now: Instant) {
        match (self.to_find_out(), known) {
            (Some(why), None) if probe && why.is_down() => self.close(why, None, now),
            // Who is cleared by the answer sends the cancel request that finds out.
            (Some(why), Some(_)) if probe && why.is_down() && self.down_by_cancels => {}
            (Some(why), Some(_)) if probe && why.is_down() => self.lift(),
            (Some(_), None) => {}
            (None, None) => {
                let down = self.outage.weigh(session, false);
                if self.weigh_path(probe, Some(false)) || down {
                    self.close(Why::ApiDown, None, now);
                }
            }
            (_, Some(known)) => {
                self.outage.weigh(session, true);
                self.weigh_path(probe && !self.down_by_cancels, Some(true));
                if let Some(why) = self.evidence.weigh_address(!known) {
                    self.close(why, None, now);
                }
            }
        }
    }

    /// Closes the gate. The weightier reason stays; what else happens meanwhile only lengthens it.
    pub(super) fn close(&mut self, why: Why, asked: Option<Duration>, now: Instant) {
        let (before, found) = (self.held, why);
        let why = self.blame(why);
        let why = before.map(|held| held.why).filter(|before| before.weight() > why.weight()).unwrap_or(why);
        let same = before.filter(|held| held.why == why);
        // What was under way together is answered together: one cause, one hold.
        let running = same.is_some_and(|held| now < held.until);
        let pause = match asked {
            Some(asked) if running || why == Why::RetryAfter => asked.max(SHORTEST),
            None if running => return,
            asked => self.next_pause(why).max(asked.unwrap_or_default()),
        };
        // Another reason never shortens a hold that runs.
        let until = (now + pause).max(before.map_or(now, |held| held.until));
        self.hold_back(HeldBack { why, until });
        self.finding_out = false;
        self.share(Some(why));
        if found == Why::RetryAfter || asked.is_some() {
            // A later, shorter wish does not take back a longer one.
            self.wish = self.wish.max(Some(now + asked.unwrap_or(pause).max(SHORTEST)));
            self.unshared.push(Why::RetryAfter);
        }
    }

    /// Holds sending back, whoever found out why.
    pub(super) fn hold_back(&mut self, held: HeldBack) {
        let before = self.held.replace(held).map(|held| held.why).filter(|why| why.is_outage());
        if before != Some(held.why) {
            self.told_finding_out &= before.is_some();
            self.share(before);
            self.finding_out = false;
        }
        self.closings += 1;
        self.window = 1;
    }

    /// What held sending back is over: it starts again with one request.
    fn lift(&mut self) {
        self.share(self.why());
        self.forget_hold();
        self.trust_path();
    }

    pub(super) fn forget_hold(&mut self) {
        self.held = None;
        self.unasked = 0;
        self.finding_out = false;
        self.outage.clear();
        self.cancels.clear();
    }

    /// The pause where nobody gave one: it grows as long as nothing changes.
    fn next_pause(&mut self, why: Why) -> Duration {
        if why.is_trouble() {
            let pause = self.cool_down;
            self.cool_down = (pause * 2).min(LONGEST_COOL_DOWN);
            return pause;
        }
        let pause = SHORTEST.saturating_mul(1 << self.unasked.min(6)).min(LONGEST);
        self.unasked = self.unasked.saturating_add(1);
        pause
    }
}

fn asks_to_wait(attempt: &Attempt) -> bool {
    attempt.outcome == Outcome::RateLimited || attempt.retry_after.is_some()
}

/// Whether the provider dealt with the request, whatever it said of the session.
fn is_success(attempt: &Attempt) -> bool {
    let code = attempt.http_status.is_some_and(|code| !matches!(code, 401 | 403 | 408 | 425 | 429 | 500..=599));
    code && outage::answered(attempt) != Some(false)
}
