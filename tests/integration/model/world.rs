//! The database, the processes and the model of one history; everything stored is compared after every step.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use sqlx::PgPool;
use uuid::Uuid;

use super::books::{self, Books};
use super::expected::Expected;
use super::gate::Gate;
use super::history::{Answer, PROCESSES, Pause, SESSIONS, Step};
use super::process::{Doing, Process};

pub(super) type Checked = Result<(), TestCaseError>;

pub(super) struct World {
    pub(super) pool: PgPool,
    url: String,
    pub(super) sessions: Vec<Uuid>,
    pub(super) processes: Vec<Process>,
    pub(super) gate: Gate,
    pub(super) expected: Expected,
    /// Session and attempt of every request that left.
    pub(super) requests: BTreeSet<(Uuid, i32)>,
    books: Books,
}

impl World {
    /// Three processes, and nothing taken on yet.
    pub(super) async fn new(url: &str, pool: &PgPool) -> Self {
        let mut processes = Vec::new();
        for _ in 0..PROCESSES {
            processes.push(Process::start(url).await);
        }
        let sessions = (0..SESSIONS).map(|_| Uuid::new_v4()).collect();
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
            Step::EndLeases { of } => self.end_leases(of).await,
            Step::Overtake { of, by } => {
                self.end_leases(of).await;
                self.take_over(by, Pause::None, Answer::Comes).await?;
                self.claim(by, u32::MAX, Answer::Comes).await?;
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

    async fn end_leases(&mut self, of: usize) {
        let of = self.who(of, |_| true);
        let instance = self.processes[of].instance().to_owned();
        books::end_leases(&self.pool, &instance).await;
        self.expected.end_leases(&instance);
    }

    /// One of the processes that have something of this kind to do, if any has.
    pub(super) fn who(&self, by: usize, fits: fn(&Doing) -> bool) -> usize {
        let able: Vec<usize> =
            (0..PROCESSES).filter(|at| self.processes[*at].held.iter().any(|held| fits(&held.doing))).collect();
        if able.is_empty() { by } else { able[by % able.len()] }
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
