//! What the tables must hold, told from the promises alone: no database, no SQL.

use std::collections::{BTreeMap, BTreeSet};

use geft_sweeper::outcome::{Disposition, Outcome};
use geft_sweeper::session::{Claim, State};
use uuid::Uuid;

use super::history::Pause;

/// Counted attempts that a session is given.
pub(super) const BUDGET: i32 = 3;

/// A row of `cancellations`.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub(super) struct Standing {
    pub(super) state: String,
    pub(super) attempts: i32,
    pub(super) counted_attempts: i32,
    pub(super) uncounted_running: i32,
    pub(super) may_have_had_effect: bool,
    pub(super) last_outcome: Option<String>,
    pub(super) session_status: Option<String>,
    /// Its time has come, as far as it waits at all.
    pub(super) is_due: bool,
    pub(super) claim: Option<Uuid>,
    pub(super) claimed_by: Option<String>,
}

impl Standing {
    /// Its last attempts did not count, and not for a reason of their own.
    pub(super) fn is_after_outage(&self) -> bool {
        let own = [Outcome::Unauthorized, Outcome::RateLimited].map(|outcome| Some(outcome.as_str()));
        self.uncounted_running > 0 && !own.contains(&self.last_outcome.as_deref())
    }

    /// An interruption now does not count: one is forgiven after an outage, and no second.
    fn is_forgiven(&self) -> bool {
        self.is_after_outage() && self.last_outcome.as_deref() != Some(Outcome::Interrupted.as_str())
    }
}

/// A row of `cancel_attempts`.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub(super) struct Row {
    pub(super) outcome: String,
    pub(super) instance: String,
    pub(super) claim: Option<Uuid>,
    /// It says when the session is tried again.
    pub(super) is_repeated: bool,
}

/// The counts of all sweeps together.
#[derive(Clone, Debug, Default, PartialEq, sqlx::FromRow)]
pub(super) struct Counts {
    pub(super) discovered: i64,
    pub(super) canceled: i64,
    pub(super) already_terminal: i64,
    pub(super) retried: i64,
    pub(super) failed: i64,
    pub(super) withdrawn: i64,
    pub(super) paid_after_abandonment: i64,
}

/// Everything that is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tables {
    pub(super) sessions: BTreeMap<Uuid, Standing>,
    pub(super) attempts: BTreeMap<(Uuid, i32), Row>,
    pub(super) counts: Counts,
}

#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) tables: Tables,
    /// Tokens of claims whose lease is over.
    ended: BTreeSet<Uuid>,
}

impl Expected {
    /// New sessions wait, withdrawn ones wait again, the others are passed over. Returns how many were taken on.
    pub(super) fn take_on(&mut self, named: &[Uuid]) -> u64 {
        let mut taken = 0;
        for session in named {
            let known = self.tables.sessions.get(session).cloned();
            if known.as_ref().is_some_and(|known| known.state != State::Withdrawn.as_str()) {
                continue;
            }
            let again = Standing { counted_attempts: 0, uncounted_running: 0, ..known.unwrap_or_else(untouched) };
            self.tables.sessions.insert(*session, waiting(again, Pause::None));
            taken += 1;
        }
        self.tables.counts.discovered += i64::try_from(taken).unwrap();
        taken
    }

    pub(super) fn has_ended_for_good(&self, session: Uuid) -> bool {
        let is_good =
            |one: &Standing| [State::Canceled, State::AlreadyTerminal].iter().any(|state| state.as_str() == one.state);
        self.tables.sessions.get(&session).is_some_and(is_good)
    }

    pub(super) fn failed(&self) -> Vec<Uuid> {
        let failed = self.tables.sessions.iter().filter(|(_, one)| one.state == State::Failed.as_str());
        failed.map(|(session, _)| *session).collect()
    }

    /// The sessions that can be claimed.
    pub(super) fn due(&self) -> BTreeSet<Uuid> {
        let due = |one: &Standing| one.state == State::Pending.as_str() && one.is_due;
        self.tables.sessions.iter().filter(|(_, one)| due(one)).map(|(session, _)| *session).collect()
    }

    /// The sessions that the table says are held under this token.
    pub(super) fn held_under(&self, token: Uuid) -> BTreeSet<Uuid> {
        self.tables.sessions.iter().filter(|(_, one)| one.claim == Some(token)).map(|(session, _)| *session).collect()
    }

    pub(super) fn claim(&mut self, session: Uuid, token: Uuid, instance: &str) {
        let one = self.session(session);
        let (claim, claimed_by) = (Some(token), Some(instance.to_owned()));
        let (state, attempts) = (State::InFlight.as_str().to_owned(), one.attempts + 1);
        *one = Standing { state, attempts, claim, claimed_by, ..one.clone() };
    }

    pub(super) fn is_ours(&self, claim: &Claim) -> bool {
        self.tables.sessions[&claim.session_id.uuid()].claim == Some(claim.token)
    }

    pub(super) fn is_over(&self, token: Uuid) -> bool {
        self.ended.contains(&token)
    }

    /// Given back as if it had never been claimed.
    pub(super) fn release(&mut self, claim: &Claim, pause: Pause) {
        let one = self.session(claim.session_id.uuid());
        one.attempts -= 1;
        *one = waiting(one.clone(), pause);
    }

    pub(super) fn settle(&mut self, claim: &Claim, state: State, status: Option<&str>) {
        let one = self.session(claim.session_id.uuid());
        one.attempts -= 1;
        *one = ended(one.clone(), state, status);
        self.count_end(state, status);
    }

    /// A result under its claim: the audit row and what follows for the session.
    pub(super) fn record(
        &mut self,
        claim: &Claim,
        instance: &str,
        (outcome, status): (Outcome, Option<&str>),
        disposition: Disposition,
    ) {
        let one = self.session(claim.session_id.uuid());
        let is_counted = outcome.counts() && !matches!(disposition, Disposition::Retry { counted: false, .. });
        one.counted_attempts += i32::from(is_counted);
        one.uncounted_running = if is_counted { 0 } else { one.uncounted_running + 1 };
        one.may_have_had_effect |= outcome.may_have_had_effect();
        one.last_outcome = Some(outcome.as_str().to_owned());
        let is_repeated = matches!(disposition, Disposition::Retry { .. });
        match disposition {
            Disposition::Done(state) => *one = ended(one.clone(), state, status),
            Disposition::Failed => *one = ended(one.clone(), State::Failed, status),
            Disposition::Retry { after, .. } => {
                *one = waiting(one.clone(), if after.is_zero() { Pause::None } else { Pause::Long });
            }
        }
        match disposition {
            Disposition::Done(state) => self.count_end(state, status),
            Disposition::Failed => self.count_end(State::Failed, status),
            Disposition::Retry { .. } => self.tables.counts.retried += 1,
        }
        self.write_row(claim.session_id.uuid(), claim.attempt, outcome, instance, Some(claim.token), is_repeated);
    }

    /// Every lease that is over: its attempt gets its row in the name of the one who held it. Returns how many.
    pub(super) fn take_over(&mut self, pause: Pause) -> u64 {
        let mut taken = 0;
        for (session, one) in self.tables.sessions.clone() {
            if !one.claim.is_some_and(|token| self.is_over(token)) {
                continue;
            }
            let instance = one.claimed_by.clone().unwrap();
            let has_budget = one.counted_attempts + 1 < BUDGET;
            let is_repeated = has_budget || one.is_forgiven();
            let attempt = one.attempts;
            let given_back = interrupted(one);
            // Where the budget is spent its last question is due at once.
            let pause = if has_budget { pause } else { Pause::None };
            self.tables.sessions.insert(session, waiting(given_back, pause));
            self.write_row(session, attempt, Outcome::Interrupted, &instance, None, is_repeated);
            self.tables.counts.retried += i64::from(is_repeated);
            taken += 1;
        }
        taken
    }

    /// Returns whether the session had failed.
    pub(super) fn requeue(&mut self, session: Uuid) -> bool {
        let failed = self.tables.sessions.get_mut(&session).filter(|one| one.state == State::Failed.as_str());
        let Some(one) = failed else { return false };
        *one = waiting(Standing { counted_attempts: 0, uncounted_running: 0, ..one.clone() }, Pause::None);
        true
    }

    pub(super) fn end_leases(&mut self, instance: &str) {
        let held = self.tables.sessions.values().filter(|one| one.claimed_by.as_deref() == Some(instance));
        self.ended.extend(held.filter_map(|one| one.claim));
    }

    pub(super) fn become_due(&mut self) {
        let waiting = self.tables.sessions.values_mut().filter(|one| one.state == State::Pending.as_str());
        waiting.for_each(|one| one.is_due = true);
    }

    fn session(&mut self, session: Uuid) -> &mut Standing {
        self.tables.sessions.get_mut(&session).unwrap()
    }

    fn write_row(
        &mut self,
        session: Uuid,
        attempt: i32,
        outcome: Outcome,
        instance: &str,
        claim: Option<Uuid>,
        is_repeated: bool,
    ) {
        let row = Row { outcome: outcome.as_str().to_owned(), instance: instance.to_owned(), claim, is_repeated };
        assert!(self.tables.attempts.insert((session, attempt), row).is_none(), "the model wrote a row twice");
    }

    fn count_end(&mut self, state: State, status: Option<&str>) {
        let counts = &mut self.tables.counts;
        match state {
            State::Canceled => counts.canceled += 1,
            State::AlreadyTerminal => {
                counts.already_terminal += 1;
                counts.paid_after_abandonment += i64::from(status == Some("Completed"));
            }
            State::Failed => counts.failed += 1,
            State::Withdrawn => counts.withdrawn += 1,
            State::Pending | State::InFlight => unreachable!("no end"),
        }
    }
}

fn untouched() -> Standing {
    Standing {
        state: State::Pending.as_str().to_owned(),
        attempts: 0,
        counted_attempts: 0,
        uncounted_running: 0,
        may_have_had_effect: false,
        last_outcome: None,
        session_status: None,
        is_due: true,
        claim: None,
        claimed_by: None,
    }
}

/// Counted, but where the attempts before it were spent on an outage and none was interrupted just before.
fn interrupted(one: Standing) -> Standing {
    let (counted_attempts, uncounted_running) = if one.is_forgiven() {
        (one.counted_attempts, one.uncounted_running + 1)
    } else {
        (one.counted_attempts + 1, 0)
    };
    let last_outcome = Some(Outcome::Interrupted.as_str().to_owned());
    Standing { counted_attempts, uncounted_running, may_have_had_effect: true, last_outcome, ..one }
}

fn waiting(one: Standing, pause: Pause) -> Standing {
    let is_due = matches!(pause, Pause::None);
    Standing { state: State::Pending.as_str().to_owned(), is_due, claim: None, claimed_by: None, ..one }
}

fn ended(one: Standing, state: State, status: Option<&str>) -> Standing {
    let session_status = status.map(str::to_owned).or(one.session_status);
    let state = state.as_str().to_owned();
    Standing { state, session_status, is_due: false, claim: None, claimed_by: None, ..one }
}
