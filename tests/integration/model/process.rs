//! A simulated process: what it holds in its memory, which may no longer be so.

use std::time::{Duration, Instant};

use geft_sweeper::config;
use geft_sweeper::database::Database;
use geft_sweeper::ledger::{AttemptResult, Instance, Ledger, Settled, Trigger};
use geft_sweeper::outcome::{Attempt, Circumstances, Outcome, Said, disposition};
use geft_sweeper::session::{Claim, State};
use uuid::Uuid;

use super::expected::BUDGET;
use super::history::{Pause, Which};

/// Far longer than a history takes.
pub(super) const LONG: Duration = Duration::from_hours(1);

pub(super) struct Process {
    pub(super) ledger: Ledger,
    pub(super) sweep: Uuid,
    /// The claims that it has in mind.
    pub(super) held: Vec<Held>,
    /// The token of a claim that was written although its answer was lost: the ledger must know it too.
    pub(super) in_doubt: Option<Uuid>,
    database: Database,
}

/// A claim and what is being done under it.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) claim: Claim,
    pub(super) doing: Doing,
    /// What is being done was written although its answer was lost.
    pub(super) is_written: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Doing {
    Nothing,
    Sent,
    Recording(Box<AttemptResult>),
    Releasing(Pause),
    Settling(Box<Settled>),
}

impl Doing {
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    pub(super) fn is_sent(&self) -> bool {
        matches!(self, Self::Sent | Self::Recording(_))
    }

    pub(super) fn is_to_release(&self) -> bool {
        matches!(self, Self::Nothing | Self::Releasing(_))
    }

    pub(super) fn is_to_settle(&self) -> bool {
        matches!(self, Self::Nothing | Self::Settling(_))
    }
}

impl Process {
    pub(super) async fn start(url: &str) -> Self {
        let statement_timeout = Duration::from_secs(30);
        let settings = config::Database { url: url.into(), max_connections: 2, auto_migrate: false, statement_timeout };
        let instance = Instance::new("model");
        let database = Database::new(&settings, &instance.application_name()).unwrap();
        let ledger = Ledger::new(database.clone(), instance);
        let sweep = ledger.open_sweep(Trigger::Command).await.unwrap();
        Self { ledger, sweep, held: Vec::new(), in_doubt: None, database }
    }

    pub(super) async fn end(self) {
        self.database.pool().close().await;
    }

    pub(super) fn instance(&self) -> &str {
        self.ledger.instance().name()
    }

    /// Takes the chosen claims that fit out of memory, at most one of each session, as one batch has it.
    pub(super) fn choose(&mut self, which: Which, fits: fn(&Doing) -> bool) -> Vec<Held> {
        let fitting: Vec<usize> = (0..self.held.len()).filter(|at| fits(&self.held[*at].doing)).collect();
        let chosen = match which {
            _ if fitting.is_empty() => Vec::new(),
            Which::One(number) => vec![fitting[number % fitting.len()]],
            Which::All => fitting,
        };
        let mut batch: Vec<Held> = Vec::new();
        for at in chosen.into_iter().rev() {
            let session = self.held[at].claim.session_id;
            if batch.iter().all(|held| held.claim.session_id != session) {
                batch.push(self.held.remove(at));
            }
        }
        batch
    }
}

impl Held {
    pub(super) fn new(claim: Claim) -> Self {
        Self { claim, doing: Doing::Nothing, is_written: false }
    }

    pub(super) fn session(&self) -> Uuid {
        self.claim.session_id.uuid()
    }

    /// The result that is being recorded already, or else this one.
    pub(super) fn result(&self, outcome: Outcome, probe: bool, pause: Pause) -> AttemptResult {
        match &self.doing {
            Doing::Recording(result) => (**result).clone(),
            _ => result(&self.claim, outcome, probe, pause),
        }
    }

    /// The end that is being written already, or else this one.
    pub(super) fn settled(&self, state: State) -> Settled {
        if let Doing::Settling(settled) = &self.doing {
            return (**settled).clone();
        }
        let status = (state == State::AlreadyTerminal).then_some("Completed");
        Settled { claim: self.claim.clone(), state, said: said(status) }
    }
}

fn result(claim: &Claim, outcome: Outcome, probe: bool, pause: Pause) -> AttemptResult {
    let now = Instant::now();
    let status = match outcome {
        Outcome::Canceled => Some("Canceled"),
        Outcome::AlreadyTerminal => Some("Completed"),
        _ => None,
    };
    let attempt = Attempt {
        outcome,
        http_status: None,
        said: said(status),
        error: None,
        retry_after: None,
        status_unanswered: false,
        fresh_token: false,
        request_id: Uuid::new_v4(),
        started: now,
        finished: now,
    };
    let circumstances = Circumstances {
        counted: claim.counted,
        max_attempts: BUDGET.unsigned_abs(),
        backoff: duration(pause).unwrap_or_default(),
        retry_after: None,
        uncounted_running: claim.uncounted_running,
        after_outage: claim.after_outage,
        status_unanswered: false,
        probe,
    };
    AttemptResult { claim: claim.clone(), attempt, disposition: disposition(outcome, circumstances) }
}

fn said(status: Option<&str>) -> Said {
    Said { session_status: status.map(str::to_owned), ..Said::default() }
}

pub(super) fn duration(pause: Pause) -> Option<Duration> {
    match pause {
        Pause::None => None,
        Pause::Long => Some(LONG),
    }
}
