//! Carries a history out: each step on the real ledger and on the model, and then everything stored is compared.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use geft_sweeper::ledger::RequeueSelection;
use geft_sweeper::outcome::Outcome;
use geft_sweeper::session::{Candidate, Reason, State};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sqlx::PgPool;
use uuid::Uuid;

use super::books::{self, Books};
use super::expected::{BUDGET, Expected};
use super::gate::{Gate, Passed};
use super::history::{Answer, PROCESSES, Pause, SESSIONS, Step, Which};
use super::process::{Doing, Held, Process, duration};

/// How long a process may hold a session, far longer than a history takes: leases end when a step says so.
const LEASE: Duration = Duration::from_hours(1);

type Checked = Result<(), TestCaseError>;

pub(super) struct World {
    pool: PgPool,
    url: String,
    sessions: Vec<Uuid>,
    processes: Vec<Process>,
    gate: Gate,
    expected: Expected,
    /// Session and attempt of every request that left.
    requests: BTreeSet<(Uuid, i32)>,
    books: Books,
}

impl World {
    /// Three processes, and nothing taken on yet.
    pub(super) async fn new(url: &str, pool: &PgPool) -> Self {
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            processes.push(Process::start(url).await);
        }
        let mut sessions: Vec<Uuid> = (0..SESSIONS).map(|_| Uuid::new_v4()).collect();
        sessions.sort_unstable();
        Self {
            pool: pool.clone(),
            url: url.to_owned(),
            sessions,
            processes,
            gate: Gate::build(url).await,
            expected: Expected::default(),
            requests: BTreeSet::new(),
            books: Books::default(),
        }
    }

    pub(super) async fn end(self) {
        for process in self.processes {
            process.end().await;
        }
    }

    /// One step, and then every promise.
    pub(super) async fn go(&mut self, step: &Step) -> Checked {
        match *step {
            Step::Discover { by, named, answer } => self.discover(by, named, answer).await?,
            Step::Claim { by, limit, answer } => self.claim(by, limit, answer).await?,
            Step::Send { by, which } => self.send(by, which),
            Step::Record { by, which, outcome, probe, pause, answer } => {
                self.record(by, which, (outcome, probe, pause), answer).await?;
            }
            Step::Release { by, which, pause, answer } => self.release(by, which, pause, answer).await?,
            Step::Settle { by, which, state, answer } => self.settle(by, which, state, answer).await?,
            Step::Crash { by } => {
                let fresh = Process::start(&self.url).await;
                std::mem::replace(&mut self.processes[by], fresh).end().await;
            }
            Step::EndLeases { of } => {
                let instance = self.processes[of].instance().to_owned();
                books::end_leases(&self.pool, &instance).await;
                self.expected.end_leases(&instance);
            }
            Step::TakeOver { by, pause, answer } => self.take_over(by, pause, answer).await?,
            Step::Requeue { by, session, answer } => self.requeue(by, session, answer).await?,
            Step::BecomeDue => {
                books::become_due(&self.pool).await;
                self.expected.become_due();
            }
        }
        self.check().await
    }

    async fn discover(&mut self, by: usize, named: [bool; SESSIONS], answer: Answer) -> Checked {
        let named: Vec<Uuid> =
            self.sessions.iter().zip(named).filter(|(_, named)| *named).map(|(session, _)| *session).collect();
        let candidates: Vec<Candidate> = named.iter().map(candidate).collect();
        let process = &self.processes[by];
        let taken = self.gate.pass(answer, process.ledger.take_on(process.sweep, &candidates)).await;
        let expected = if is_written(&taken, answer) { self.expected.take_on(&named) } else { 0 };
        if let Passed::Answered(taken) = taken {
            prop_assert_eq!(taken, expected, "sessions taken on");
        }
        Ok(())
    }

    async fn claim(&mut self, by: usize, limit: u32, answer: Answer) -> Checked {
        let process = &mut self.processes[by];
        let doubtful = process.in_doubt.take().flatten().map(|token| self.expected.held_under(token));
        let claimed = self.gate.pass(answer, process.ledger.claim(limit, LEASE)).await;
        let instance = process.instance().to_owned();
        let Passed::Answered(claims) = claimed else {
            // It has claimed without knowing what; the table tells.
            let fresh = books::held_by(&self.pool, &instance).await;
            let fresh = fresh
                .into_iter()
                .filter(|(session, token)| self.expected.tables.sessions[session].claim != Some(*token));
            let fresh: BTreeMap<Uuid, Uuid> = fresh.collect();
            process.in_doubt = Some(fresh.values().next().copied());
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
        for (session, token) in found {
            prop_assert!(
                self.expected.held_under(*token).iter().all(|held| found.contains_key(held)),
                "a token used before"
            );
            self.expected.claim(*session, *token, instance);
        }
        Ok(())
    }

    fn send(&mut self, by: usize, which: Which) {
        let chosen = self.processes[by].choose(which, |doing| matches!(doing, Doing::Nothing));
        for held in chosen {
            self.requests.insert((held.session(), held.claim.attempt));
            self.processes[by].held.push(Held { doing: Doing::Sent, ..held });
        }
    }

    async fn record(
        &mut self,
        by: usize,
        which: Which,
        (outcome, probe, pause): (Outcome, bool, Pause),
        answer: Answer,
    ) -> Checked {
        let process = &mut self.processes[by];
        let batch = process.choose(which, |doing| matches!(doing, Doing::Sent | Doing::Recording(_)));
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

    async fn release(&mut self, by: usize, which: Which, pause: Pause, answer: Answer) -> Checked {
        let process = &mut self.processes[by];
        // A batch has one pause: one that is being written again goes alone.
        let mut batch = process.choose(which, |doing| matches!(doing, Doing::Releasing(_)));
        let rest = batch.split_off(batch.len().min(1));
        process.held.extend(rest);
        if batch.is_empty() {
            batch = process.choose(which, |doing| matches!(doing, Doing::Nothing));
        }
        let pause = batch
            .iter()
            .find_map(|held| if let Doing::Releasing(pause) = held.doing { Some(pause) } else { None })
            .unwrap_or(pause);
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

    async fn settle(&mut self, by: usize, which: Which, state: State, answer: Answer) -> Checked {
        let process = &mut self.processes[by];
        let batch = process.choose(which, |doing| matches!(doing, Doing::Nothing | Doing::Settling(_)));
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
                    let doing = Doing::Settling(one);
                    self.processes[by].held.push(Held { doing, is_written: in_the_books, ..held });
                }
            }
        }
        Ok(())
    }

    async fn take_over(&mut self, by: usize, pause: Pause, answer: Answer) -> Checked {
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

    async fn requeue(&mut self, by: usize, session: usize, answer: Answer) -> Checked {
        let session = self.sessions[session];
        let selection = RequeueSelection::Sessions(vec![session]);
        let requeued = self.gate.pass(answer, self.processes[by].ledger.requeue(&selection, false)).await;
        let expected = is_written(&requeued, answer) && self.expected.requeue(session);
        if let Passed::Answered(requeued) = requeued {
            prop_assert_eq!(requeued.len(), usize::from(expected), "sessions requeued");
        }
        Ok(())
    }

    /// Every promise, after every step.
    async fn check(&mut self) -> Checked {
        let tables = self.books.read(&self.pool).await?;
        prop_assert_eq!(&tables, &self.expected.tables, "stored (left) and promised (right)");
        for (session, attempt) in &self.requests {
            let standing = &tables.sessions[session];
            let is_held = standing.claim.is_some() && standing.attempts == *attempt;
            prop_assert!(
                is_held || tables.attempts.contains_key(&(*session, *attempt)),
                "attempt {} of {} was sent and has no row",
                attempt,
                session
            );
        }
        for held in self.processes.iter().flat_map(|process| &process.held) {
            let is_sure =
                matches!(held.doing, Doing::Nothing | Doing::Sent) && !self.expected.is_over(held.claim.token);
            let holder = tables.sessions[&held.session()].claim;
            prop_assert!(
                !is_sure || holder == Some(held.claim.token),
                "a lease is running and somebody else holds {}",
                held.session()
            );
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
