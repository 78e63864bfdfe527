//! Whether the API and the database agree on the time: each answer's `Date` against the database's clock.
//!
//! It never reads this machine's wall clock, which may be hours wrong: what lies between two readings is elapsed time.
//! It decides nothing but this; who may not be canceled for its age is the conductor's business.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

/// The newest answers that are looked at. One odd answer, of a cache or of one machine among several, is not believed,
/// but not passed over either: aged sessions rest until this many in a row agree.
const LOOKED_AT: usize = 3;
/// So many of them that do not agree mean that one of the clocks is wrong.
const CONVICTING: usize = 2;
/// An answer tells its time in whole seconds.
const WHOLE_SECOND: TimeDelta = TimeDelta::seconds(1);

/// A clock as it was read over a network: at some moment between the question and the answer it stood so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the clock said.
    pub stood_at: DateTime<Utc>,
    /// Just before it was asked.
    pub asked: Instant,
    /// When the answer was there.
    pub answered: Instant,
}

/// What the clocks say to canceling a session for its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No answer has come since this process began. The first one comes before the first cancel: with the token.
    NotCompared,
    /// No answer has told a time that could be compared.
    Untold,
    /// The newest answers agree with the database.
    Agree,
    /// Too few answers to say that a clock is wrong, and too odd to go on.
    Doubtful(Difference),
    /// One of the clocks is wrong.
    Disagree(Difference),
}

/// Two clocks that are too far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the API's clock said.
    pub api: DateTime<Utc>,
    /// Where the database's clock stood then.
    pub database: DateTime<Utc>,
}

/// The two clocks, as this process sees them. Cheap to clone, shared by everything that hears answers.
#[derive(Clone, Debug)]
pub struct Clocks {
    tolerance: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    database: Option<Reading>,
    answers: VecDeque<Reading>,
    /// An answer has come, whether it told a time or not.
    heard: bool,
}

impl Clocks {
    /// Nothing is known yet. `tolerance` is how far apart the clocks may be.
    #[must_use]
    pub fn new(tolerance: Duration) -> Self {
        Self { tolerance, state: Arc::default() }
    }

    /// How far apart the clocks may be.
    #[must_use]
    pub fn tolerance(&self) -> Duration {
        self.tolerance
    }

    /// Takes in an answer of the API that came just now; `date` is none where it tells no time that can be read.
    pub fn observe(&self, date: Option<DateTime<Utc>>, asked: Instant) {
        let answered = Instant::now();
        let mut state = self.state_locked();
        state.heard = true;
        if let Some(stood_at) = date {
            state.answers.truncate(LOOKED_AT - 1);
            state.answers.push_front(Reading { stood_at, asked, answered });
        }
    }

    /// Takes in where the database's clock stands. All answers looked at are held against the newest reading, so that
    /// a database whose clock jumps, as after a failover, is noticed too.
    pub fn note_database(&self, reading: Reading) {
        self.state_locked().database = Some(reading);
    }

    /// What the clocks say now.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let state = self.state_locked();
        let Some(database) = state.database.filter(|_| state.heard) else { return Verdict::NotCompared };
        if state.answers.is_empty() {
            return Verdict::Untold;
        }
        let apart: Vec<&Reading> =
            state.answers.iter().filter(|answer| are_apart(answer, &database, self.tolerance)).collect();
        let Some(newest) = apart.first() else { return Verdict::Agree };
        let difference = Difference { api: newest.stood_at, database: at(&database, newest.answered) };
        if apart.len() >= CONVICTING { Verdict::Disagree(difference) } else { Verdict::Doubtful(difference) }
    }

    /// Whether the newest answer agrees with the database: with some more like it the clocks would.
    #[must_use]
    pub fn newest_agrees(&self) -> bool {
        let state = self.state_locked();
        let (Some(answer), Some(database)) = (state.answers.front(), state.database) else { return true };
        !are_apart(answer, &database, self.tolerance)
    }

    fn state_locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a clock that was read stands at another moment, by elapsed time.
fn at(reading: &Reading, moment: Instant) -> DateTime<Utc> {
    reading.stood_at + since(reading.answered, moment)
}

/// From one moment to another; negative where the other is earlier.
fn since(from: Instant, to: Instant) -> TimeDelta {
    let later = TimeDelta::from_std(to.saturating_duration_since(from)).unwrap_or(TimeDelta::MAX);
    let earlier = TimeDelta::from_std(from.saturating_duration_since(to)).unwrap_or(TimeDelta::MAX);
    later - earlier
}

/// Whether the clocks are further apart than `tolerance`, whatever the two exchanges may have taken on either way: an
/// answer that took long to come proves little.
fn are_apart(answer: &Reading, database: &Reading, tolerance: Duration) -> bool {
    let tolerance = TimeDelta::from_std(tolerance).unwrap_or(TimeDelta::MAX);
    let between = answer.stood_at - database.stood_at;
    let least = between - since(database.asked, answer.answered);
    let most = between + WHOLE_SECOND - since(database.answered, answer.asked);
    least > tolerance || most < -tolerance
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_mins(2);

    fn noon() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(12)
    }

    /// A clock that was read within `took`, `later` after `start`.
    fn reading(start: Instant, later: u64, took: u64, stood_at: DateTime<Utc>) -> Reading {
        let asked = start + Duration::from_secs(later);
        Reading { stood_at, asked, answered: asked + Duration::from_secs(took) }
    }

    #[test]
    fn the_tolerance_is_kept_to_the_second_either_way() {
        let start = Instant::now();
        let database = reading(start, 0, 0, noon());
        let apart = |seconds: i64| {
            let answer = reading(start, 60, 0, noon() + TimeDelta::seconds(60 + seconds));
            are_apart(&answer, &database, TOLERANCE)
        };
        assert_eq!([-122, -121, -120, 0, 120, 121].map(apart), [true, false, false, false, false, true]);
    }

    #[test]
    fn an_answer_that_took_long_proves_as_much_less() {
        let start = Instant::now();
        let database = reading(start, 0, 0, noon());
        let apart = |took: u64, seconds: i64| {
            are_apart(&reading(start, 0, took, noon() + TimeDelta::seconds(seconds)), &database, TOLERANCE)
        };
        // It may have been written as soon as it was asked for, or just before it came.
        assert_eq!([130, 131].map(|seconds| apart(10, seconds)), [false, true]);
        assert_eq!([-121, -122].map(|seconds| apart(10, seconds)), [false, true]);
        let slow = reading(start, 0, 10, noon());
        let answer = |seconds: i64| reading(start, 10, 0, noon() + TimeDelta::seconds(seconds));
        assert!(!are_apart(&answer(130), &slow, TOLERANCE) && are_apart(&answer(131), &slow, TOLERANCE));
    }

    fn agreeing(clocks: &Clocks, answers: &[bool]) -> Verdict {
        for agrees in answers {
            let off = if *agrees { TimeDelta::zero() } else { TimeDelta::hours(-3) };
            clocks.observe(Some(noon() + off), Instant::now());
        }
        clocks.verdict()
    }

    fn is_doubtful(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Doubtful(_))
    }

    fn compared() -> Clocks {
        let clocks = Clocks::new(TOLERANCE);
        let now = Instant::now();
        clocks.note_database(Reading { stood_at: noon(), asked: now, answered: now });
        clocks
    }

    #[test]
    fn two_of_three_answers_convict_and_only_three_in_a_row_acquit() {
        let clocks = compared();
        assert_eq!(clocks.verdict(), Verdict::NotCompared);
        assert_eq!(agreeing(&clocks, &[true]), Verdict::Agree);
        assert!(is_doubtful(agreeing(&clocks, &[false])));
        assert!(is_doubtful(agreeing(&clocks, &[true])));
        assert!(matches!(agreeing(&clocks, &[false]), Verdict::Disagree(_)));
        assert!(is_doubtful(agreeing(&clocks, &[true, true])));
        assert_eq!(agreeing(&clocks, &[true]), Verdict::Agree);
        let Verdict::Disagree(found) = agreeing(&clocks, &[false, false]) else { panic!("no conviction") };
        assert_eq!((found.database - found.api).num_hours(), 3);
    }

    #[test]
    fn answers_that_tell_no_time_hold_nothing_up() {
        let clocks = compared();
        clocks.observe(None, Instant::now());
        assert_eq!(clocks.verdict(), Verdict::Untold);
        assert!(is_doubtful(agreeing(&clocks, &[false])));
        clocks.observe(None, Instant::now());
        assert!(is_doubtful(clocks.verdict()), "silence acquits nobody");
    }

    #[test]
    fn a_database_whose_clock_jumps_is_found_out_by_the_answers_before() {
        let clocks = compared();
        assert_eq!(agreeing(&clocks, &[true, true, true]), Verdict::Agree);
        let now = Instant::now();
        clocks.note_database(Reading { stood_at: noon() + TimeDelta::hours(2), asked: now, answered: now });
        assert!(matches!(clocks.verdict(), Verdict::Disagree(_)));
    }
}
