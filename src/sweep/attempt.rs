//! One claimed session to its end: a cancel request or a question for its status, and the record of what came of it.
//!
//! Whatever happens, the claim is recorded, settled or given back; only a process that dies leaves one behind.

use std::sync::Arc;
use std::time::Duration;

use super::ahead::{Admitted, Unanswered};
use super::spans::{self, Batch};
use super::work::SENT_WITHIN;
use super::{Shared, telling};
use crate::backoff::Policy;
use crate::geft::{NotBegun, StatusAnswer};
use crate::ledger::{AttemptResult, Settled};
use crate::outcome::{self, Attempt, Circumstances, Disposition, Said};
use crate::session::{Claim, SessionId, State};
use crate::throttle::{Entry, Pass, Why};
use crate::traces::Span;

/// How long a session waits whose status was asked and not answered, where no cancel request is meant.
pub(super) const STATUS_AGAIN: Duration = Duration::from_mins(1);

/// What is meant with a claimed session after looking at the source again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Send a cancel request.
    Cancel,
    /// The source does not name it, and nothing can have happened: withdraw it.
    Withdraw,
    /// Ask for its status, and end it as this where it is not in a final one.
    Ask { otherwise: State },
}

impl Intent {
    pub(super) fn of(claim: &Claim, named: bool, policy: &Policy) -> Self {
        match (named, claim.may_have_had_effect) {
            (false, false) => Self::Withdraw,
            (false, true) => Self::Ask { otherwise: State::Withdrawn },
            // The budget was spent by an attempt whose process died: before it is failed its status is asked.
            (true, _) if claim.after_interruption && claim.counted >= policy.max_attempts() => {
                Self::Ask { otherwise: State::Failed }
            }
            (true, _) => Self::Cancel,
        }
    }
}

impl Shared {
    /// Carries one claimed session to its end.
    pub(super) async fn pursue(self: Arc<Self>, claim: Claim, intent: Intent, batch: Batch, unanswered: Unanswered) {
        if intent == Intent::Withdraw {
            drop(unanswered);
            self.settle(claim, State::Withdrawn, Said::default()).await;
            return;
        }
        let entry = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            entry = self.gate.enter() => Some(entry),
        };
        // An API that was retired meanwhile gets nothing.
        let Some(Entry::Passed(pass)) = entry.filter(|_| !self.environment.is_refused()) else {
            drop(unanswered);
            return self.recorder.release(claim, None).await;
        };
        let pass = unanswered.with(pass);
        // Whether the source names it was asked when it was claimed: who waited longer than was meant asks again.
        let is_late = claim.answered_at.elapsed() > self.lease / SENT_WITHIN;
        if is_late {
            telling::too_late(claim.names());
        }
        if is_late || !self.may_begin(&pass).await {
            drop(pass);
            return self.recorder.release(claim, None).await;
        }
        match intent {
            // Boxed, both: who waits to be let in, or to be recorded, does not carry a request along.
            Intent::Ask { otherwise } => Box::pin(self.ask(pass, claim, otherwise, &batch)).await,
            _ => {
                // The span ends with the row.
                if let Some((result, _span)) = Box::pin(self.cancel(pass, claim, &batch)).await {
                    self.recorder.record(result).await;
                }
            }
        }
    }

    /// What came of a cancel request, and the span that it stands in; none where it was not begun, and the claim was given
    /// back.
    async fn cancel(
        &self,
        pass: Admitted<'_>,
        mut claim: Claim,
        batch: &Batch,
    ) -> Option<(Box<AttemptResult>, Option<Span>)> {
        let mut span = self.spans.attempt(batch, claim.names());
        claim.trace = span.as_ref().map(Span::context);
        let last = outcome::is_last(claim.counted, self.policy.max_attempts()) && !pass.probe;
        let may_send = || pass.is_good() && self.may_cancel(&claim.reason);
        match self.client.cancel(claim.names(), claim.deadline, last, may_send).await {
            Ok(attempt) => {
                spans::attempted(&mut span, Some(&attempt));
                let probe = pass.probe;
                self.tell(self.gate.observe(&pass, claim.session_id, &attempt), None);
                // The next request may go while this result is on its way into the database.
                drop(pass);
                Some((Box::new(self.judge(claim, attempt, probe)), span))
            }
            Err(not_begun) => {
                spans::attempted(&mut span, None);
                if not_begun == NotBegun::TooLate {
                    telling::too_late(claim.names());
                }
                self.note_not_begun(not_begun);
                drop(pass);
                self.recorder.release(claim, None).await;
                None
            }
        }
    }

    fn judge(&self, claim: Claim, attempt: Attempt, probe: bool) -> AttemptResult {
        let circumstances = Circumstances {
            counted: claim.counted,
            max_attempts: self.policy.max_attempts(),
            backoff: self.policy.pause(if attempt.outcome.counts() { claim.counted } else { claim.uncounted_running }),
            retry_after: attempt.retry_after,
            uncounted_running: claim.uncounted_running,
            status_unanswered: attempt.status_unanswered,
            after_outage: claim.after_outage,
            probe,
        };
        let disposition = outcome::disposition(attempt.outcome, circumstances);
        telling::attempt(&claim, &attempt, disposition);
        AttemptResult { claim, attempt, disposition }
    }

    /// Asks for the status of a session for which no cancel request is meant, and ends it.
    async fn ask(&self, pass: Admitted<'_>, mut claim: Claim, otherwise: State, batch: &Batch) {
        if pass.finds_out() == Some(Why::WrongAddress) {
            // Whether the address is right is found out with a cancel request; this session can wait. Status needs no
            // credentials.
            drop(pass);
            return self.recorder.release(claim, Some(STATUS_AGAIN)).await;
        }
        let mut span = self.spans.question(batch, claim.names());
        claim.trace = span.as_ref().map(Span::context);
        let may_send = || self.may_ask(&pass);
        let answer = self.client.status(claim.names(), claim.deadline, may_send).await;
        spans::asked(&mut span, answer.as_ref().ok());
        let Ok(answer) = answer else {
            drop(pass);
            return self.recorder.release(claim, None).await;
        };
        let is_believed = self.observe_status(&pass, claim.session_id, &answer);
        drop(pass);
        if !is_believed {
            return self.recorder.release(claim, Some(STATUS_AGAIN)).await;
        }
        match answer {
            StatusAnswer::Final(said) => self.settle(claim, State::AlreadyTerminal, said).await,
            StatusAnswer::Open(said) => self.settle(claim, otherwise, said).await,
            StatusAnswer::NotFound => self.settle(claim, otherwise, Said::default()).await,
            StatusAnswer::NoAnswer { error, retry_after } => {
                telling::status_unanswered(claim.names(), &error);
                self.recorder.release(claim, Some(retry_after.unwrap_or_default().max(STATUS_AGAIN))).await;
            }
        }
    }

    /// Whether a question may be sent by now: looked at again after each wait.
    pub(super) fn may_ask(&self, pass: &Pass<'_>) -> bool {
        pass.is_good() && !self.environment.is_refused() && !self.stop.is_cancelled()
    }

    /// Takes in what the answer to a question tells of the provider as a whole. Call it before the pass is given back: a
    /// wish to be left alone holds before the next request begins. False where the answer tells nothing of the session:
    /// at a wrong address nobody is known.
    pub(super) fn observe_status(&self, pass: &Pass<'_>, session: SessionId, answer: &StatusAnswer) -> bool {
        let known = match answer {
            StatusAnswer::Final(_) | StatusAnswer::Open(_) => Some(true),
            StatusAnswer::NotFound => Some(false),
            StatusAnswer::NoAnswer { retry_after: Some(asked), .. } => {
                self.tell(self.gate.hold(Why::RetryAfter, Some(*asked)), None);
                return true;
            }
            StatusAnswer::NoAnswer { .. } => None,
        };
        self.tell(self.gate.observe_status(pass, session, known), None);
        known != Some(false) || self.gate.held_back().is_none_or(|held| held.why != Why::WrongAddress)
    }

    async fn settle(&self, claim: Claim, state: State, said: Said) {
        let settled = Settled { claim, state, said };
        if self.recorder.settle(settled.clone()).await {
            self.progress.count_attempt(Disposition::Done(state));
            telling::settled(&settled);
        }
    }

    pub(super) fn note_not_begun(&self, not_begun: NotBegun) {
        match not_begun {
            // Said by the attempt, and when the gate closed.
            NotBegun::TooLate | NotBegun::HeldBack => {}
            NotBegun::CredentialsRefused { error } => {
                self.tell(self.gate.hold(Why::CredentialsRefused, None), Some(&error));
            }
            NotBegun::AuthorizeUnavailable { error, retry_after } => {
                self.tell(self.gate.hold(Why::NoToken, retry_after), Some(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::config::Retry;
    use crate::outcome::Outcome;
    use crate::session::Reason;

    fn intent(named: bool, counted: u32, may_have_had_effect: bool, after_interruption: bool) -> Intent {
        let policy = Policy::new(Retry {
            initial_interval: Duration::from_secs(1),
            multiplier: 2.0,
            randomization_factor: 0.0,
            max_interval: Duration::from_secs(1),
            max_attempts: 3,
            lease: Duration::from_mins(1),
        });
        let claim = Claim {
            token: Uuid::nil(),
            session_id: Uuid::nil().into(),
            source_key: String::new(),
            reason: Reason::new(Reason::ABANDONED),
            sweep_id: Uuid::nil(),
            attempt: 1,
            counted,
            uncounted_running: 0,
            may_have_had_effect,
            after_outage: false,
            after_interruption,
            claimed_at: DateTime::UNIX_EPOCH,
            answered_at: Instant::now(),
            deadline: Instant::now(),
            trace: None,
        };
        Intent::of(&claim, named, &policy)
    }

    #[test]
    fn only_a_session_that_the_source_names_and_the_budget_allows_is_canceled() {
        assert_eq!(intent(true, 0, false, false), Intent::Cancel);
        assert_eq!(intent(true, 2, true, true), Intent::Cancel);
        assert_eq!(intent(true, 3, true, true), Intent::Ask { otherwise: State::Failed });
        assert_eq!(intent(true, 3, true, false), Intent::Cancel, "one more after an outage");
        assert_eq!(intent(false, 0, false, false), Intent::Withdraw);
        assert_eq!(intent(false, 1, true, false), Intent::Ask { otherwise: State::Withdrawn });
        assert_eq!(intent(false, 3, true, true), Intent::Ask { otherwise: State::Withdrawn });
    }

    #[test]
    fn outcomes_without_an_answer_are_the_ones_that_may_have_had_an_effect() {
        let may: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| outcome.may_have_had_effect()).collect();
        let expected = [
            Outcome::ServerError,
            Outcome::Timeout,
            Outcome::NetworkError,
            Outcome::InvalidResponse,
            Outcome::Interrupted,
        ];
        assert_eq!(may, expected);
    }
}
