//! The end of a scenario: reads the three records of its stage, and tells what came of it.

use geft_sweeper::sandbox::{Answered, Endpoint};

use crate::reconcile::{self, Expected, Finding, Records, Row, Sent, Standing};
use crate::stage::{Daemon, LIMIT, Stage};

/// What a scenario came to.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Faults injected.
    pub(crate) faults: u64,
    /// The most processes at once.
    pub(crate) processes: usize,
    /// Cancel requests that arrived at the provider.
    pub(crate) requests: usize,
    /// Rows of the audit table.
    pub(crate) rows: usize,
    /// Sessions, requests and rows that were lost.
    pub(crate) lost: usize,
    /// Everything that is wrong.
    pub(crate) findings: Vec<Finding>,
    /// What was measured, for people.
    pub(crate) measured: Vec<String>,
}

impl Tally {
    /// Adds the tally of a part, and what was measured in it.
    pub(crate) fn add(&mut self, part: Self, measured: &str) {
        self.faults += part.faults;
        self.processes = self.processes.max(part.processes);
        self.requests += part.requests;
        self.rows += part.rows;
        self.lost += part.lost;
        self.findings.extend(part.findings);
        self.measured.push(measured.to_owned());
    }
}

impl Stage {
    /// Waits until everything has ended, stops the daemons in good order, and reconciles.
    pub(crate) async fn finish(mut self, daemons: Vec<Daemon>) -> Tally {
        self.all_ended().await;
        for daemon in daemons {
            let log = self.stop(daemon).await;
            assert!(!log.contains("\"attempt.broken\""), "{log}");
        }
        self.reconcile().await
    }

    /// Reconciles the three records; every process must have ended.
    pub(crate) async fn reconcile(self) -> Tally {
        let over = self.shop.provider.wait_for_requests(|counts| counts.in_flight == 0);
        tokio::time::timeout(LIMIT, over).await.expect("every request is over");
        let records = self.records().await;
        let findings = reconcile::reconcile(&records);
        Tally {
            faults: self.faults,
            processes: self.processes,
            requests: records.sent.len(),
            rows: records.rows.len(),
            lost: reconcile::lost(&findings),
            findings,
            measured: Vec::new(),
        }
    }

    async fn records(&self) -> Records {
        let ids: Vec<_> = self.backlog.iter().map(|one| one.session).collect();
        let rows = "SELECT session_id AS session, attempt, outcome, http_status FROM geft_sweeper.cancel_attempts";
        let rows: Vec<Row> = sqlx::query_as(rows).fetch_all(self.shop.pool()).await.unwrap();
        let standings = "SELECT session_id AS session, state, attempts FROM geft_sweeper.cancellations
            WHERE session_id = ANY($1)";
        let standings: Vec<Standing> = sqlx::query_as(standings).bind(ids).fetch_all(self.shop.pool()).await.unwrap();
        let at_provider = |one: &Expected| {
            let session = self.shop.provider.session(one.session).expect("the provider knows the whole backlog");
            Expected { at_provider: session.status, ..one.clone() }
        };
        let backlog = self.backlog.iter().map(at_provider).collect();
        Records { sent: self.sent(), rows, standings, backlog, may_overlap: self.may_overlap.clone() }
    }

    /// The cancel requests of the provider's log, which must be complete.
    fn sent(&self) -> Vec<Sent> {
        let requests = self.shop.provider.requests().into_iter();
        let sent = requests.filter(|request| request.endpoint == Endpoint::Cancel).map(|request| Sent {
            session: request.session_id.expect("a cancel request names a session"),
            code: match request.answered {
                Answered::Code(code) => Some(code),
                Answered::Reset | Answered::Timeout => None,
            },
            others_under_way: request.same_session_in_flight - 1,
        });
        let sent: Vec<Sent> = sent.collect();
        let arrived = self.shop.provider.counts().arrived(Endpoint::Cancel);
        assert_eq!(u64::try_from(sent.len()).unwrap(), arrived, "the provider's log is complete");
        sent
    }
}
