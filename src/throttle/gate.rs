//! The gate: who sends passes here first. It counts what is under way, and closes while something holds sending back.
//!
//! After a hold it opens for one request and doubles with each success. In trouble that only the operator can mend it
//! lets one attempt through per cool-down, to find out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Why;
use super::evidence::Evidence;
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
    /// Until then nothing is sent; in trouble one attempt follows.
    pub until: Instant,
}

/// What an attempt changed at the gate, to be said once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It closed the gate for this reason.
    pub closed: Option<Why>,
    /// It opened the gate again after this reason.
    pub opened: Option<Why>,
}

/// What came of asking to pass.
#[derive(Debug)]
pub enum Entry<'gate> {
    /// One may send.
    Passed(Pass<'gate>),
    /// Nothing is sent just now.
    Held(HeldBack),
}

/// The right to have one attempt under way. It ends when dropped.
#[derive(Debug)]
pub struct Pass<'gate> {
    gate: &'gate Gate,
    /// The attempt is made to find out whether sending works again.
    pub probe: bool,
    /// How often the gate had been closed by then.
    closings: u64,
}

impl Pass<'_> {
    /// Whether the gate has not been closed since: who still waits for a token or a turn has to go back.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.gate.state_locked().closings == self.closings
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.state_locked().under_way -= 1;
        self.gate.changed.notify_waiters();
    }
}

/// The gate of one process.
#[derive(Debug)]
pub struct Gate {
    max_in_flight: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    under_way: usize,
    /// How many may be under way.
    window: usize,
    held: Option<HeldBack>,
    cool_down: Duration,
    /// How often the gate was closed.
    closings: u64,
    /// Holds in a row for which the provider gave no time.
    unasked: u32,
    evidence: Evidence,
    /// A moving average of how long an attempt takes, in seconds.
    attempt_s: f64,
}

enum Admission {
    Now { probe: bool, closings: u64 },
    Held(HeldBack),
    Later,
}

impl Gate {
    /// An open gate. `expected` is how long an attempt is taken to last until it is known.
    #[must_use]
    pub fn new(max_in_flight: usize, expected: Duration) -> Self {
        let state = State {
            under_way: 0,
            window: max_in_flight,
            held: None,
            cool_down: COOL_DOWN,
            closings: 0,
            unasked: 0,
            evidence: Evidence::default(),
            attempt_s: expected.as_secs_f64(),
        };
        Self { max_in_flight, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits until one more may be under way, or tells at once that nothing is sent now.
    pub async fn enter(&self) -> Entry<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, so that no change between looking and waiting is missed.
            changed.as_mut().enable();
            let admission = self.state_locked().admit(Instant::now());
            match admission {
                Admission::Now { probe, closings } => return Entry::Passed(Pass { gate: self, probe, closings }),
                Admission::Held(held) => return Entry::Held(held),
                Admission::Later => changed.await,
            }
        }
    }

    /// What holds sending back; it may be over already, but nothing has been sent since.
    #[must_use]
    pub fn held_back(&self) -> Option<HeldBack> {
        self.state_locked().held
    }

    /// Whether the provider has refused fresh tokens since this process began and has accepted none: too few sessions
    /// for a verdict, but no success either.
    #[must_use]
    pub fn refused_from_the_start(&self) -> bool {
        self.state_locked().evidence.refused_from_the_start()
    }

    /// How many sessions are worth claiming ahead: twice what may be under way, and no more than can be sent within
    /// `time`; one in trouble.
    #[must_use]
    pub fn worth_claiming(&self, time: Duration) -> usize {
        let state = self.state_locked();
        if state.held.is_some_and(|held| held.why.is_trouble()) {
            return 1;
        }
        let rounds = (time.as_secs_f64() / state.attempt_s.max(0.001)).min(2.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a small positive number: at most twice max_in_flight"
        )]
        let sendable = (state.window as f64 * rounds) as usize;
        sendable.max(1)
    }

    /// Takes in what came of an attempt that passed.
    pub fn observe(&self, pass: &Pass<'_>, session: SessionId, attempt: &Attempt) -> Verdict {
        let lasted = attempt.finished.saturating_duration_since(attempt.started).as_secs_f64();
        let mut state = self.state_locked();
        state.attempt_s = state.attempt_s * 0.9 + lasted * 0.1;
        let verdict = state.judge(pass.probe, session, attempt, Instant::now(), self.max_in_flight);
        drop(state);
        self.changed.notify_waiters();
        verdict
    }

    /// Takes in an answer to a question for a session's status: whether the provider knew the session.
    pub fn observe_status(&self, known: bool) -> Verdict {
        let mut state = self.state_locked();
        let verdict = match state.evidence.weigh_address(!known) {
            Some(why) => Verdict { closed: state.close(why, None, Instant::now()), opened: None },
            None => Verdict::default(),
        };
        drop(state);
        self.changed.notify_waiters();
        verdict
    }

    /// Takes in that the provider wants to be left alone, or that no token could be had.
    pub fn hold(&self, why: Why, asked: Option<Duration>) -> Verdict {
        let closed = self.state_locked().close(why, asked, Instant::now());
        self.changed.notify_waiters();
        Verdict { closed, opened: None }
    }

    /// Lets the time of a hold pass.
    #[cfg(test)]
    pub(super) fn end_hold_for_test(&self) {
        if let Some(held) = &mut self.state_locked().held {
            held.until = Instant::now();
        }
    }

    fn state_locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self, now: Instant) -> Admission {
        let trouble = self.held.is_some_and(|held| held.why.is_trouble());
        match self.held {
            Some(held) if now < held.until || (trouble && self.under_way > 0) => Admission::Held(held),
            _ if !trouble && self.under_way >= self.room() => Admission::Later,
            _ => {
                self.under_way += 1;
                Admission::Now { probe: trouble, closings: self.closings }
            }
        }
    }

    /// How many may be under way now.
    fn room(&self) -> usize {
        self.window.min(self.evidence.room_at_unknown_address().unwrap_or(usize::MAX))
    }

    fn judge(
        &mut self,
        probe: bool,
        session: SessionId,
        attempt: &Attempt,
        now: Instant,
        max_in_flight: usize,
    ) -> Verdict {
        if let Some(held) = self.held.filter(|held| held.why.is_trouble()) {
            if probe {
                return self.judge_probe(held.why, attempt, now);
            }
            if attempt.retry_after.is_some() {
                self.close(Why::RetryAfter, attempt.retry_after, now);
            }
            return Verdict::default();
        }
        if let Some(why) = self.evidence.weigh(session, attempt) {
            return Verdict { closed: self.close(why, None, now), opened: None };
        }
        if attempt.outcome == Outcome::RateLimited || attempt.retry_after.is_some() {
            return Verdict { closed: self.close(Why::RetryAfter, attempt.retry_after, now), opened: None };
        }
        if !is_success(attempt) || self.held.is_some_and(|held| now < held.until) {
            return Verdict::default();
        }
        self.unasked = 0;
        self.window = self.window.saturating_mul(2).min(max_in_flight);
        Verdict { closed: None, opened: self.held.take().map(|held| held.why) }
    }

    /// An attempt made to find out whether sending works again.
    fn judge_probe(&mut self, why: Why, attempt: &Attempt, now: Instant) -> Verdict {
        if !is_success(attempt) || (why == Why::WrongAddress && is_missing(attempt)) {
            self.close(why, attempt.retry_after, now);
            return Verdict::default();
        }
        self.evidence.clear(!is_missing(attempt));
        self.held = None;
        self.cool_down = COOL_DOWN;
        Verdict { closed: None, opened: Some(why) }
    }

    /// Closes the gate, and tells why where it was not closed for that before.
    ///
    /// Trouble stays trouble until an attempt proves that it is over; what else happens meanwhile only lengthens it.
    fn close(&mut self, why: Why, asked: Option<Duration>, now: Instant) -> Option<Why> {
        let before = self.held;
        let why = before.map(|held| held.why).filter(|before| before.is_trouble() && !why.is_trouble()).unwrap_or(why);
        let same = before.filter(|held| held.why == why);
        // What was under way together is answered together: one cause, one hold.
        let running = same.is_some_and(|held| now < held.until);
        let pause = match asked {
            Some(asked) if running || !why.is_trouble() => asked.max(SHORTEST),
            None if running => return None,
            asked => self.next_pause(why).max(asked.unwrap_or_default()),
        };
        // Another reason never shortens a hold that runs.
        let until = (now + pause).max(before.map_or(now, |held| held.until));
        self.held = Some(HeldBack { why, until });
        self.closings += 1;
        self.window = 1;
        same.is_none().then_some(why)
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

/// Whether the provider does not know the session: a 404, unless its status tells that it has ended.
pub(super) fn is_missing(attempt: &Attempt) -> bool {
    attempt.http_status == Some(404) && attempt.outcome != Outcome::AlreadyTerminal
}

/// Whether the provider dealt with the request, whatever it said of the session.
fn is_success(attempt: &Attempt) -> bool {
    attempt.http_status.is_some_and(|code| !matches!(code, 401 | 403 | 408 | 425 | 429 | 500..=599))
}
