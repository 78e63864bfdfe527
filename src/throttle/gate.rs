//! The gate: who sends passes here first. It counts what is under way, and closes while something holds sending back.
//!
//! After a hold it opens for one request and doubles with each success. In trouble that only the operator can mend, and
//! while the API is away, it lets one attempt through per cool-down, to find out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::state::{Admission, HeldBack, State, Verdict};
use super::{Circuit, Why};
use crate::outcome::Attempt;
use crate::session::SessionId;

/// How often what may be under way is claimed ahead at the most, should the provider become slow all at once; and how many
/// sessions that are, where more than half of them are under way: enough for statements to cost little each.
const MOST_AHEAD: (f64, f64) = (16.0, 1_024.0);

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

    /// Why this attempt is made to find out whether sending works again; none where it is an ordinary one.
    #[must_use]
    pub fn finds_out(&self) -> Option<Why> {
        self.gate.state_locked().to_find_out().filter(|_| self.probe)
    }

    /// The attempt begins. True where it is the first of an outage that finds out whether it is over.
    #[must_use]
    pub fn begin(&self) -> bool {
        self.probe && self.gate.state_locked().find_out()
    }

    /// Another process finds out just now: this one asks again after a pause.
    pub fn leave_to_another(&self, pause: Duration) {
        let closings = self.closings;
        self.gate.change(|state| {
            // Where it was closed anew meanwhile, that is another matter.
            if let Some(held) = state.held.as_mut().filter(|_| state.closings == closings) {
                held.until = held.until.max(Instant::now() + pause);
            }
        });
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.gate.state_locked().leave(self.probe);
        // One has left, so one may come: to wake all who wait, for each that leaves, would cost more than the request.
        self.gate.changed.notify_one();
    }
}

/// The gate of one process.
#[derive(Debug)]
pub struct Gate {
    max_in_flight: usize,
    state: Mutex<State>,
    changed: Notify,
}

impl Gate {
    /// An open gate. `expected` is how long an attempt is taken to last until it is known.
    #[must_use]
    pub fn new(max_in_flight: usize, expected: Duration) -> Self {
        let state = State::new(max_in_flight, expected);
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

    /// How the API as a whole is seen.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        self.state_locked().circuit()
    }

    /// Whether attempts are under way, or an outage that others may see end holds them back.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let state = self.state_locked();
        state.under_way > 0 || state.why().is_some_and(Why::is_outage)
    }

    /// The sessions to find out with whether an outage is over, where due; the others will do as well.
    ///
    /// Every second time, those that failed in it: the untouched ones stay untouched, and one attempt that goes through
    /// where there was none says most. Every other time whoever is next, for those may be poisoned.
    #[must_use]
    pub fn preferred(&self) -> Vec<SessionId> {
        let state = self.state_locked();
        let tried = state.why().is_some_and(Why::is_down) && state.unasked % 2 == 1;
        if tried { state.outage.failed() } else { Vec::new() }
    }

    /// Whether the provider has refused fresh tokens since this process began and has accepted none: too few sessions
    /// for a verdict, but no success either.
    #[must_use]
    pub fn refused_from_the_start(&self) -> bool {
        self.state_locked().evidence.refused_from_the_start()
    }

    /// How many sessions are worth claiming ahead: what can be sent within `ahead`, at least twice what may be under way,
    /// and no more than can be sent within `at_most`; one to find out with. `per_second`: the requests that all processes
    /// together may send.
    #[must_use]
    pub fn worth_claiming(&self, ahead: Duration, at_most: Duration, per_second: f64) -> usize {
        let state = self.state_locked();
        if state.finds_out() {
            return 1;
        }
        #[expect(clippy::cast_precision_loss, reason = "a window is small")]
        let window = state.window as f64;
        let within = |time: Duration| {
            (window * time.as_secs_f64() / state.attempt_s.max(0.001)).min(per_second * time.as_secs_f64())
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number: what is sent within a moment"
        )]
        let sendable = {
            let (rounds, sessions) = MOST_AHEAD;
            let most = (window * rounds).min(sessions).max(window * 2.0);
            within(ahead).clamp(window * 2.0, most).min(within(at_most)) as usize
        };
        sendable.max(1)
    }

    /// Takes in what came of an attempt that passed.
    pub fn observe(&self, pass: &Pass<'_>, session: SessionId, attempt: &Attempt) -> Verdict {
        let lasted = attempt.finished.saturating_duration_since(attempt.started).as_secs_f64();
        self.change(|state| {
            state.attempt_s = state.attempt_s * 0.9 + lasted * 0.1;
            state.judge(pass.probe, session, attempt, Instant::now(), self.max_in_flight);
        })
    }

    /// Takes in what came of a question for a session's status: whether the provider knew the session; none where it
    /// did not say.
    pub fn observe_status(&self, pass: &Pass<'_>, session: SessionId, known: Option<bool>) -> Verdict {
        self.change(|state| state.judge_status(pass.probe, session, known, Instant::now()))
    }

    /// Takes in that the provider wants to be left alone, or that no token could be had.
    pub fn hold(&self, why: Why, asked: Option<Duration>) -> Verdict {
        self.change(|state| state.close(why, asked, Instant::now()))
    }

    /// The credentials may be right by now: whether they are is found out with the next attempt.
    pub fn try_credentials_again(&self) {
        let mut state = self.state_locked();
        let earliest = state.wish.map_or_else(Instant::now, |wish| wish.max(Instant::now()));
        if let Some(held) = state.held.as_mut().filter(|held| held.why == Why::CredentialsRefused) {
            held.until = earliest;
        }
    }

    /// Changes the state, and tells what that changed for sending.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) -> Verdict {
        let mut state = self.state_locked();
        let (before, room, held) = (state.why(), state.room(), state.held);
        change(&mut state);
        let after = state.why();
        let concerns_all = state.room() > room || state.held != held;
        drop(state);
        if concerns_all {
            self.changed.notify_waiters();
        }
        if before == after { Verdict::default() } else { Verdict { closed: after, opened: before } }
    }

    /// Lets the time of a hold pass.
    #[cfg(test)]
    pub(super) fn end_hold_for_test(&self) {
        if let Some(held) = &mut self.state_locked().held {
            held.until = Instant::now();
        }
    }

    pub(super) fn state_locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
