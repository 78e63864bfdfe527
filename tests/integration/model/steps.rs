//! Each step on the real ledger and on the model at once; what the ledger answers must be what the model expects.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use geft_sweeper::ledger::{Intake, RequeueSelection};
use geft_sweeper::outcome::Outcome;
use geft_sweeper::session::{Candidate, Reason, State};
use proptest::prelude::*;
use uuid::Uuid;

use super::books;
use super::expected::BUDGET;
use super::gate::Passed;
use super::history::{Answer, Pause, SESSIONS, Which};
use super::process::{Doing, Held, duration};
use super::world::{Checked, World};

/// How long a process may hold a session, far longer than a history takes: leases end when a step says so.
const LEASE: Duration = Duration::from_hours(1);

impl World {
    pub(super) async fn discover(&mut self, by: usize, named: [bool; SESSIONS], answer: Answer) -> Checked {
        let mut named_now = BTreeSet::new();
        for session in self.sessions.iter_mut().zip(named).filter(|(_, named)| *named).map(|(session, _)| session) {
            named_now.insert(*session);
            // Where that one has ended for good, a new one beside it keeps the history going.
            if self.expected.has_ended_for_good(*session) {
                *session = Uuid::new_v4();
                named_now.insert(*session);
            }
        }
        let named: Vec<Uuid> = named_now.into_iter().collect();
        let candidates: Vec<Candidate> = named.iter().map(candidate).collect();
        let process = &self.processes[by];
        // Boxed: it is a large future.
        let taking = Box::pin(process.ledger.take_on(process.sweep, &candidates, u64::MAX));
        let taken = self.gate.pass(answer, taking).await;
        let expected = if is_written(&taken, answer) { self.expected.take_on(&named) } else { 0 };
        if let Passed::Answered(taken) = taken {
            prop_assert_eq!(taken, Intake::Taken { sessions: expected, released: 0 }, "sessions taken on");
        }
        Ok(())
    }

    pub(super) async fn claim(&mut self, by: usize, limit: u32, answer: Answer) -> Checked {
        let process = &mut self.processes[by];
        let doubtful = process.in_doubt.take().map(|token| self.expected.held_under(token));
        let claimed = self.gate.pass(answer, process.ledger.claim(limit, LEASE)).await;
        let instance = process.instance().to_owned();
        let Passed::Answered(claims) = claimed else {
            // It has claimed without knowing what; the table tells.
            let fresh = books::held_by(&self.pool, &instance).await;
            let fresh = fresh
                .into_iter()
                .filter(|(session, token)| self.expected.tables.sessions[session].claim != Some(*token));
            let fresh: BTreeMap<Uuid, Uuid> = fresh.collect();
            process.in_doubt = fresh.values().next().copied();
            return if is_written(&claimed, answer) { self.expect_claimed(&fresh, limit, &instance) } else { Ok(()) };
        };
        let found: BTreeMap<Uuid, Uuid> = claims.iter().map(|claim| (claim.session_id.uuid(), claim.token)).collect();
        prop_assert_eq!(found.len(), claims.len(), "a session claimed twice at once");
        let read_back = doubtful.filter(|doubtful| !doubtful.is_empty());
        match read_back {
            Some(doubtful) => prop_assert_eq!(found.into_keys().collect::<BTreeSet<_>>(), doubtful, "claims read back"),
            None => self.expect_claimed(&found, limit, &instance)?,
        }
        for claim in claims {
            let standing = &self.expected.tables.sessions[&claim.session_id.uuid()];
            prop_assert_eq!(claim.attempt, standing.attempts);
            prop_assert_eq!(i64::from(claim.counted), i64::from(standing.counted_attempts));
            prop_assert_eq!(claim.may_have_had_effect, standing.may_have_had_effect);
            prop_assert_eq!(claim.after_outage, standing.is_after_outage());
            self.processes[by].held.push(Held::new(claim));
        }
        Ok(())
    }

    /// As many as there may be, each one due, under one new token.
    fn expect_claimed(&mut self, found: &BTreeMap<Uuid, Uuid>, limit: u32, instance: &str) -> Checked {
        let due = self.expected.due();
        prop_assert_eq!(found.len(), due.len().min(usize::try_from(limit).unwrap()), "sessions claimed");
        prop_assert!(found.keys().all(|session| due.contains(session)), "claimed although not due: {:?}", found);
        prop_assert!(found.values().collect::<BTreeSet<_>>().len() <= 1, "one token a batch");
        prop_assert!(found.values().all(|token| self.expected.held_under(*token).is_empty()), "a token used before");
        for (session, token) in found {
            self.expected.claim(*session, *token, instance);
        }
        Ok(())
    }

    pub(super) fn send(&mut self, by: usize, which: Which) {
        let by = self.who(by, Doing::is_nothing);
        let chosen = self.processes[by].choose(which, Doing::is_nothing);
        for held in chosen {
            self.requests.insert((held.session(), held.claim.attempt));
            self.processes[by].held.push(Held { doing: Doing::Sent, ..held });
        }
    }

    pub(super) async fn record(
        &mut self,
        by: usize,
        which: Which,
        (outcome, probe, pause): (Outcome, bool, Pause),
        answer: Answer,
    ) -> Checked {
        let by = self.who(by, Doing::is_sent);
        let process = &mut self.processes[by];
        let batch = process.choose(which, Doing::is_sent);
        if batch.is_empty() {
            return Ok(());
        }
        let results: Vec<_> = batch.iter().map(|held| held.result(outcome, probe, pause)).collect();
        let recorded = self.gate.pass(answer, process.ledger.record(Some(process.sweep), &results)).await;
        let instance = process.instance().to_owned();
        let is_written = is_written(&recorded, answer);
        let (mut written, mut late) = (HashSet::new(), HashSet::new());
        for (held, result) in batch.into_iter().zip(results) {
            let is_ours = self.expected.is_ours(&held.claim);
            if is_ours && is_written {
                let said = (result.attempt.outcome, result.attempt.said.session_status.as_deref());
                self.expected.record(&held.claim, &instance, said, result.disposition);
            }
            let in_the_books = held.is_written || (is_ours && is_written);
            if in_the_books { &mut written } else { &mut late }.insert(held.session());
            if matches!(recorded, Passed::Lost) {
                let doing = Doing::Recording(Box::new(result));
                self.processes[by].held.push(Held { doing, is_written: in_the_books, ..held });
            }
        }
        if let Passed::Answered(recorded) = recorded {
            prop_assert_eq!(recorded.written, written, "results on record");
            prop_assert_eq!(recorded.late, late, "results that came late");
        }
        Ok(())
    }

    pub(super) async fn release(&mut self, by: usize, which: Which, pause: Pause, answer: Answer) -> Checked {
        let by = self.who(by, Doing::is_to_release);
        let process = &mut self.processes[by];
        let batch = process.choose(which, Doing::is_to_release);
        // A batch has one pause: that of the first which is being written again.
        let before =
            batch.iter().find_map(|held| if let Doing::Releasing(pause) = held.doing { Some(pause) } else { None });
        let pause = before.unwrap_or(pause);
        if batch.is_empty() {
            return Ok(());
        }
        let claims: Vec<_> = batch.iter().map(|held| held.claim.clone()).collect();
        let released = self.gate.pass(answer, process.ledger.release(&claims, duration(pause))).await;
        let mut given_back = 0;
        for held in batch {
            if self.expected.is_ours(&held.claim) && is_written(&released, answer) {
                self.expected.release(&held.claim, pause);
                given_back += 1;
            }
            if matches!(released, Passed::Lost) {
                self.processes[by].held.push(Held { doing: Doing::Releasing(pause), ..held });
            }
        }
        if let Passed::Answered(released) = released {
            prop_assert_eq!(released, given_back, "sessions given back");
        }
        Ok(())
    }

    pub(super) async fn settle(&mut self, by: usize, which: Which, state: State, answer: Answer) -> Checked {
        let by = self.who(by, Doing::is_to_settle);
        let process = &mut self.processes[by];
        let batch = process.choose(which, Doing::is_to_settle);
        if batch.is_empty() {
            return Ok(());
        }
        let settled: Vec<_> = batch.iter().map(|held| held.settled(state)).collect();
        let ended = self.gate.pass(answer, process.ledger.settle(Some(process.sweep), &settled)).await;
        let is_written = is_written(&ended, answer);
        for (held, one) in batch.into_iter().zip(settled) {
            let is_ours = self.expected.is_ours(&held.claim);
            if is_ours && is_written {
                self.expected.settle(&held.claim, one.state, one.said.session_status.as_deref());
            }
            let in_the_books = held.is_written || (is_ours && is_written);
            match &ended {
                Passed::Answered(ended) => {
                    // What was written before may have been taken up again since.
                    let still = self.expected.tables.sessions[&held.session()].state == one.state.as_str();
                    let told = ended.contains(&held.session());
                    prop_assert!(told || !(in_the_books && still), "an end that was written is not recognised");
                    prop_assert!(in_the_books || !told, "an end that was not written is told as such");
                }
                Passed::Lost => {
                    let doing = Doing::Settling(Box::new(one));
                    self.processes[by].held.push(Held { doing, is_written: in_the_books, ..held });
                }
            }
        }
        Ok(())
    }

    pub(super) async fn take_over(&mut self, by: usize, pause: Pause, answer: Answer) -> Checked {
        let process = &self.processes[by];
        let again =
            |counted: u32| (i32::try_from(counted).unwrap() + 1 < BUDGET).then(|| duration(pause).unwrap_or_default());
        let taken = self.gate.pass(answer, process.ledger.take_over(Some(process.sweep), 100, 0, again)).await;
        let expected = if is_written(&taken, answer) { self.expected.take_over(pause) } else { 0 };
        if let Passed::Answered(taken) = taken {
            prop_assert_eq!(taken, expected, "sessions taken over");
        }
        Ok(())
    }

    pub(super) async fn requeue(&mut self, by: usize, session: usize, answer: Answer) -> Checked {
        let failed = self.expected.failed();
        let session = if failed.is_empty() { self.sessions[session] } else { failed[session % failed.len()] };
        let selection = RequeueSelection::Sessions(vec![session]);
        let requeued = self.gate.pass(answer, self.processes[by].ledger.requeue(&selection, false)).await;
        let expected = is_written(&requeued, answer) && self.expected.requeue(session);
        if let Passed::Answered(requeued) = requeued {
            prop_assert_eq!(requeued.len(), usize::from(expected), "sessions requeued");
        }
        Ok(())
    }
}

/// Whether a statement has done its work, be it answered or not.
fn is_written<T>(passed: &Passed<T>, answer: Answer) -> bool {
    matches!((passed, answer), (Passed::Answered(_), _) | (Passed::Lost, Answer::Lost { written: true }))
}

fn candidate(session: &Uuid) -> Candidate {
    Candidate {
        session_id: (*session).into(),
        source_key: session.to_string(),
        reference_id: None,
        reason: Reason::new(Reason::ABANDONED),
        source_status: None,
        source_created_at: None,
    }
}
