//! One process's part of the shared moments: who waits for one, which are in hand, and when to ask for more.
//!
//! It takes no more than there are requests in line, and gives each moment to whoever is first in line when it comes.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Clock;
use super::{AFTER_FAILURE, AHEAD, BLUR, LEASE, PART, SHARE, TOO_LATE, Told, Turn, Wanted};

/// What an answer may take beyond twice the time of the last one.
const SLACK: Duration = Duration::from_millis(50);
/// By how much the shared clock can become blurred while a question is under way.
const MORE_BLUR: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Share {
    apart: Duration,
    /// Moments asked for at once, at the most.
    largest: usize,
    /// What may be unknown of the shared clock without a loss.
    blur_borne: Duration,
    line: VecDeque<Turn>,
    /// In their order.
    moments: VecDeque<Instant>,
    clock: Clock,
    /// How long the last answer took.
    round_trip: Duration,
    /// Before this nothing is asked for.
    not_before: Option<Instant>,
}

impl Share {
    /// Of a limit in requests a second, all processes together.
    pub(super) fn new(limit: f64) -> Self {
        let per_second = PART * limit;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and validated as at most a million"
        )]
        let largest = ((per_second * SHARE.as_secs_f64()) as usize).max(1);
        // Only whole requests are counted: up to the next whole number nothing is exceeded. Half of that for the way.
        let up_to_whole = Duration::from_secs_f64((limit.floor() + 1.0 - limit) / per_second);
        Self {
            apart: Duration::from_secs_f64(1.0 / per_second),
            largest,
            blur_borne: BLUR + up_to_whole / 2,
            line: VecDeque::new(),
            moments: VecDeque::new(),
            clock: Clock::new(),
            round_trip: Duration::ZERO,
            not_before: None,
        }
    }

    pub(super) fn line_up(&mut self, turn: Turn) {
        self.line.push_back(turn);
    }

    /// Gives the moments that have come to those who still wait. Those that are gone are lost: a process that was
    /// halted does not catch up.
    pub(super) fn hand_out(&mut self, now: Instant) {
        self.line.retain(|turn| !turn.is_closed());
        while let Some(&moment) = self.moments.front() {
            if moment + TOO_LATE >= now {
                if moment > now {
                    return;
                }
                let Some(turn) = self.line.pop_front() else { return };
                if turn.send(moment).is_err() {
                    // Gave up this instant: the moment is the next one's.
                    continue;
                }
            }
            self.moments.pop_front();
        }
    }

    /// What to ask for now; none where enough is in hand.
    pub(super) fn wanted(&self, now: Instant) -> Option<Wanted> {
        if self.ask_at(now)? > now {
            return None;
        }
        let missing = self.line.len().saturating_sub(self.moments.len());
        let number = u32::try_from(missing.min(self.largest)).unwrap_or(u32::MAX);
        let spare = (self.clock.blur() + MORE_BLUR).saturating_sub(self.blur_borne).min(LEASE);
        let span = self.apart * number + spare;
        Some(Wanted { span, ahead: AHEAD.saturating_sub(spare), number, spare })
    }

    /// When to ask for more: so early that the answer is here before the last moment in hand, but no earlier, so that
    /// other processes have their share, and not for less than half of those in line.
    fn ask_at(&self, now: Instant) -> Option<Instant> {
        if self.line.is_empty() || self.moments.len() * 2 > self.line.len() {
            return None;
        }
        let runs_out = self.moments.back().and_then(|last| last.checked_sub(self.round_trip * 2 + SLACK));
        Some(runs_out.unwrap_or(now).max(self.not_before.unwrap_or(now)))
    }

    /// When something is to be done next; none where only somebody new in line or an answer makes a difference.
    pub(super) fn next(&self, now: Instant, may_ask: bool) -> Option<Instant> {
        let turn = self.moments.front().filter(|_| !self.line.is_empty()).copied();
        let ask = if may_ask { self.ask_at(now) } else { None };
        turn.into_iter().chain(ask).min()
    }

    /// Takes what was answered.
    pub(super) fn take(&mut self, wanted: Wanted, asked: Instant, told: Option<Told>) {
        let answered = Instant::now();
        self.round_trip = answered.saturating_duration_since(asked);
        let Some(told) = told else {
            self.not_before = Some(answered + AFTER_FAILURE);
            return;
        };
        if !self.clock.learn(asked, answered, told.clock) {
            // Until the leases by the old time are over, whoever holds them, nothing is used that was given by the new.
            self.not_before = Some(answered + LEASE);
            return;
        }
        let first = self.clock.moment(told.first);
        if !told.given {
            // Somewhere within a share's time, so that the quickest does not win it always.
            let free = first.checked_sub(wanted.ahead).unwrap_or(answered).max(answered);
            self.not_before = Some(free + SHARE.mul_f64(fastrand::f64()));
        } else if self.clock.blur() <= self.blur_borne + wanted.spare || wanted.spare == LEASE {
            self.moments.extend((0..wanted.number).map(|position| first + self.apart * position));
        }
        // Else it was the first answer, and slow: the next question knows how much time to spare.
    }
}
