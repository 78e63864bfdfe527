//! What the last answers say of the credentials and of the address, as opposed to single sessions.
//!
//! Pure counting; what follows from it is the gate's.

use std::collections::VecDeque;

use super::Why;
use crate::outcome::{Attempt, Outcome};
use crate::session::SessionId;

/// Sessions in a row whose fresh token was refused before the credentials are to blame.
const REFUSALS: usize = 3;
/// Answers looked at for a wrong address.
const WINDOW: usize = 100;
/// The first answers of a process that say enough when all of them are 404.
const FIRST: usize = 20;

/// The last answers.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Sessions running whose fresh token was refused, each once.
    refused: Vec<SessionId>,
    /// A fresh token was refused with 401.
    unauthorized: bool,
    /// Any token of this process was accepted.
    accepted: bool,
    /// Of the last answers: whether each was a 404.
    not_found: VecDeque<bool>,
    /// Any answer of this process was something else than 404.
    known_address: bool,
}

impl Evidence {
    /// Takes in one attempt, and says what it proves, if anything.
    pub(super) fn weigh(&mut self, session: SessionId, attempt: &Attempt) -> Option<Why> {
        let code = attempt.http_status?;
        self.weigh_refusal(session, code, attempt).or_else(|| self.weigh_address(is_missing(attempt)))
    }

    /// Whether fresh tokens were refused and none was ever accepted.
    pub(super) fn refused_from_the_start(&self) -> bool {
        self.unauthorized && !self.accepted
    }

    /// Whether any token of this process was accepted.
    pub(super) fn has_accepted(&self) -> bool {
        self.accepted
    }

    /// How many sessions may be asked for before the address is known to be right; none where it is.
    ///
    /// Whoever is asked for at a wrong address is failed as not found, so it must not be more than a verdict needs.
    pub(super) fn room_at_unknown_address(&self) -> Option<usize> {
        (!self.known_address).then(|| FIRST.saturating_sub(self.not_found.len()))
    }

    /// Forgets what led to a verdict that an accepted attempt has lifted; `known`: the provider knew its session.
    pub(super) fn clear(&mut self, known: bool) {
        self.refused.clear();
        self.not_found.clear();
        self.accepted = true;
        self.known_address |= known;
    }

    fn weigh_refusal(&mut self, session: SessionId, code: u16, attempt: &Attempt) -> Option<Why> {
        if !matches!(code, 401 | 403) {
            // A limiter or a broken gateway answers before anybody looks at the token.
            if !matches!(code, 429 | 500..=599) {
                self.refused.clear();
                self.accepted = true;
            }
            return None;
        }
        self.unauthorized |= code == 401 && attempt.fresh_token;
        // A 403 for a session that has ended is the session's own matter.
        if attempt.outcome == Outcome::AlreadyTerminal {
            self.refused.clear();
        } else if attempt.fresh_token && !self.refused.contains(&session) {
            self.refused.push(session);
        }
        (self.refused.len() >= REFUSALS).then_some(Why::CredentialsRefused)
    }

    /// Takes in whether the provider did not know a session.
    pub(super) fn weigh_address(&mut self, missing: bool) -> Option<Why> {
        self.known_address |= !missing;
        if self.not_found.len() == WINDOW {
            self.not_found.pop_front();
        }
        self.not_found.push_back(missing);
        let missed = self.not_found.iter().filter(|missed| **missed).count();
        let all_of_the_first = !self.known_address && missed >= FIRST;
        let half_of_many = self.not_found.len() == WINDOW && missed * 2 >= WINDOW;
        (missing && (all_of_the_first || half_of_many)).then_some(Why::WrongAddress)
    }
}

/// Whether the provider does not know the session: a 404, unless its status tells that it has ended.
pub(super) fn is_missing(attempt: &Attempt) -> bool {
    attempt.http_status == Some(404) && attempt.outcome != Outcome::AlreadyTerminal
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::throttle::tests::attempt;

    fn session(number: u128) -> SessionId {
        Uuid::from_u128(number).into()
    }

    #[test]
    fn three_sessions_running_blame_the_credentials() {
        let mut evidence = Evidence::default();
        let refused = attempt(Outcome::Unauthorized, 401, true);
        assert_eq!(evidence.weigh(session(1), &refused), None);
        assert_eq!(evidence.weigh(session(2), &refused), None);
        assert_eq!(evidence.weigh(session(3), &refused), Some(Why::CredentialsRefused));
    }

    #[test]
    fn a_success_between_clears_the_credentials() {
        let mut evidence = Evidence::default();
        for round in 0..10 {
            assert_eq!(evidence.weigh(session(round), &attempt(Outcome::Rejected, 403, true)), None);
            assert_eq!(evidence.weigh(session(99), &attempt(Outcome::Canceled, 200, true)), None);
        }
    }

    #[test]
    fn one_session_alone_never_blames_the_credentials() {
        let mut evidence = Evidence::default();
        for _ in 0..100 {
            assert_eq!(evidence.weigh(session(1), &attempt(Outcome::Unauthorized, 401, true)), None);
        }
    }

    #[test]
    fn a_token_that_served_before_says_nothing_of_the_credentials() {
        let mut evidence = Evidence::default();
        for number in 0..100 {
            assert_eq!(evidence.weigh(session(number), &attempt(Outcome::Unauthorized, 401, false)), None);
        }
    }

    #[test]
    fn the_first_twenty_answers_blame_the_address() {
        let mut evidence = Evidence::default();
        for number in 0..19 {
            assert_eq!(evidence.weigh(session(number), &attempt(Outcome::NotFound, 404, false)), None);
        }
        let twentieth = evidence.weigh(session(19), &attempt(Outcome::InvalidResponse, 404, false));
        assert_eq!(twentieth, Some(Why::WrongAddress));
    }

    #[test]
    fn half_of_any_hundred_blame_the_address_and_fewer_do_not() {
        let verdicts = |share: u128| {
            let mut evidence = Evidence::default();
            (0..400)
                .filter(|number| {
                    let code = if number * share % 100 < share { 404 } else { 200 };
                    evidence.weigh(session(*number), &attempt(Outcome::NotFound, code, false)).is_some()
                })
                .count()
        };
        assert_eq!(verdicts(49), 0);
        assert!(verdicts(50) > 0);
    }
}
