//! What the last answers say of the API as a whole: whether failures are one session's own matter, or spread over many.
//!
//! Pure counting. Each session counts once, so that a poisoned one, tried again and again, never speaks for the others.

use std::collections::VecDeque;

use super::evidence::is_missing;
use crate::outcome::{Attempt, Outcome};
use crate::session::SessionId;

/// Sessions that failed one after the other, with no success between, before the API is taken to be down.
const RUN: usize = 10;
/// Sessions looked at for a share of failures.
const WINDOW: usize = 20;
/// So many of them make an outage: three in four.
const FAILED: usize = WINDOW * 3 / 4;

/// The latest result of the last sessions.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Sessions that failed since the last success.
    run: VecDeque<SessionId>,
    /// The last sessions, each with whether the provider dealt with its latest request.
    recent: VecDeque<(SessionId, bool)>,
}

impl Outage {
    /// Takes in whether the provider dealt with a session, and tells whether the API as a whole is down.
    pub(super) fn weigh(&mut self, session: SessionId, answered: bool) -> bool {
        self.recent.retain(|(known, _)| *known != session);
        self.recent.push_back((session, answered));
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
        if answered {
            self.run.clear();
            return false;
        }
        self.run.retain(|known| *known != session);
        self.run.push_back(session);
        if self.run.len() > WINDOW {
            self.run.pop_front();
        }
        let failed = self.recent.iter().filter(|(_, answered)| !answered).count();
        self.run.len() >= RUN || (self.recent.len() == WINDOW && failed >= FAILED)
    }

    /// The sessions that failed since the last success.
    pub(super) fn failed(&self) -> Vec<SessionId> {
        self.run.iter().copied().collect()
    }

    /// Forgets everything: the API is back.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Whether the provider dealt with the request; none where the answer says nothing of the API as a whole.
///
/// An odd answer about a session whose status is told is that session's own matter. A limiter, a refused token and a
/// wrong address have reasons of their own.
pub(super) fn answered(attempt: &Attempt) -> Option<bool> {
    let asked_to_wait = attempt.retry_after.is_some();
    match attempt.outcome {
        Outcome::Canceled | Outcome::AlreadyTerminal | Outcome::NotFound => Some(true),
        Outcome::Unauthorized | Outcome::RateLimited => None,
        _ if asked_to_wait || is_missing(attempt) => None,
        Outcome::Rejected => Some(!attempt.status_unanswered),
        Outcome::InvalidResponse => attempt.status_unanswered.then_some(false),
        Outcome::ServerError | Outcome::Timeout | Outcome::NetworkError | Outcome::Interrupted => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::throttle::tests::attempt;

    fn session(number: usize) -> SessionId {
        Uuid::from_u128(number as u128).into()
    }

    #[test]
    fn ten_sessions_that_fail_one_after_the_other_are_an_outage() {
        let mut outage = Outage::default();
        let verdicts: Vec<bool> = (0..10).map(|number| outage.weigh(session(number), false)).collect();
        assert_eq!(verdicts, [[false; 9].as_slice(), &[true]].concat());
    }

    #[test]
    fn three_in_four_of_the_last_twenty_are_an_outage_and_fewer_are_not() {
        let is_outage = |failures_of_four: usize| {
            let mut outage = Outage::default();
            (0..400).any(|number| outage.weigh(session(number), number % 4 >= failures_of_four))
        };
        assert!(is_outage(3));
        assert!(!is_outage(2));
    }

    #[test]
    fn what_is_no_failure_of_the_api_is_not_taken_for_one() {
        let odd = attempt(Outcome::InvalidResponse, 200, false);
        let unanswered = |attempt: &Attempt| Attempt { status_unanswered: true, ..attempt.clone() };
        let rejected = attempt(Outcome::Rejected, 409, false);
        let wait = Attempt {
            retry_after: Some(std::time::Duration::from_secs(1)),
            ..attempt(Outcome::ServerError, 503, false)
        };
        assert_eq!((answered(&odd), answered(&unanswered(&odd))), (None, Some(false)));
        assert_eq!((answered(&rejected), answered(&unanswered(&rejected))), (Some(true), Some(false)));
        assert_eq!(answered(&wait), None, "a Retry-After has a hold of its own");
        assert_eq!(answered(&attempt(Outcome::InvalidResponse, 404, false)), None, "a wrong address has too");
        assert_eq!(answered(&attempt(Outcome::ServerError, 500, false)), Some(false));
    }

    proptest! {
        #[test]
        fn a_few_poisoned_sessions_never_open_it_however_often_they_fail(
            poisoned in 1_usize..10,
            results in prop::collection::vec((0_usize..40, any::<bool>()), 0..2_000),
        ) {
            let mut outage = Outage::default();
            for (number, also_fails) in results {
                // Good sessions are new ones each time, and succeed.
                let failing = number < poisoned || also_fails;
                let number = if failing { number % poisoned } else { 100 + number };
                prop_assert!(!outage.weigh(session(number), !failing));
            }
        }

        #[test]
        fn an_outage_is_always_found_by_the_tenth_session(before in prop::collection::vec((0_usize..40, any::<bool>()), 0..200)) {
            let mut outage = Outage::default();
            for (number, answered) in before {
                outage.weigh(session(number), answered);
            }
            prop_assert!((0..10).any(|number| outage.weigh(session(100 + number), false)));
        }
    }
}
