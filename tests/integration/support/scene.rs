//! The whole scene of one test: a database, the merchant's table, the sandbox as provider, and the real program.

use std::time::Duration;

use geft_sweeper::sandbox::{Faults, NewSession, Options, Sandbox, SessionFaults};
use toml::Value;
use uuid::Uuid;

use super::{Finished, PaymentSessions, Program, TestDatabase};

/// The pauses after the first, second … counted attempt, in seconds: the scene has no jitter, so rows can be compared.
pub(crate) const PAUSES: [f64; 3] = [600.0, 1200.0, 1800.0];

/// One row of the audit table.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) attempt: i32,
    pub(crate) outcome: String,
    pub(crate) http_status: Option<i32>,
    pub(crate) session_status: Option<String>,
    pub(crate) status_details: Option<String>,
    pub(crate) error: Option<String>,
    /// From `finished_at` to `next_attempt_at`, in seconds; none where it is not tried again.
    pub(crate) pause: Option<f64>,
}

impl Row {
    /// The columns that the documentation's table of outcomes speaks of.
    pub(crate) fn brief(&self) -> (&str, Option<i32>, Option<&str>, Option<&str>) {
        (&self.outcome, self.http_status, self.session_status.as_deref(), self.status_details.as_deref())
    }

    /// The error, which must be there.
    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        self.error.as_deref().unwrap_or_else(|| panic!("no error in {self:?}"))
    }
}

/// Where a session taken on stands.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub(crate) struct Standing {
    pub(crate) state: String,
    pub(crate) attempts: i32,
    /// Counted attempts since it was taken on or requeued.
    pub(crate) counted: i32,
    pub(crate) session_status: Option<String>,
    pub(crate) status_details: Option<String>,
    pub(crate) is_due: bool,
    pub(crate) is_finished: bool,
}

/// The scene.
pub(crate) struct Scene {
    pub(crate) database: TestDatabase,
    pub(crate) sandbox: Sandbox,
    pub(crate) merchant: PaymentSessions,
    pub(crate) program: Program,
}

impl Scene {
    /// A provider with these faults, and nothing to cancel yet.
    pub(crate) async fn new(faults: Faults) -> Self {
        let database = TestDatabase::new().await;
        let merchant = PaymentSessions::create(database.pool()).await;
        let options =
            Options { client_id: "client".to_owned(), client_secret: "secret".into(), faults, ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let program = Program::new(database.url(), &sandbox.base_url())
            .with("retry.initial_interval", "10m")
            .with("retry.randomization_factor", 0.0)
            .with("retry.max_interval", "30m");
        Self { database, sandbox, merchant, program }
    }

    /// Sets `section.key` of the program's configuration.
    pub(crate) fn with(mut self, setting: &str, value: impl Into<Value>) -> Self {
        self.program = self.program.with(setting, value);
        self
    }

    /// A session that the merchant marked abandoned and the customer never began.
    pub(crate) async fn abandoned(&self) -> Uuid {
        self.abandoned_as(NewSession::default()).await
    }

    /// So many of them.
    pub(crate) async fn abandoned_many(&self, number: usize) -> Vec<Uuid> {
        let mut ids = Vec::with_capacity(number);
        for _ in 0..number {
            ids.push(self.abandoned().await);
        }
        ids
    }

    /// A session that the merchant marked abandoned, and that is this at the provider.
    pub(crate) async fn abandoned_as(&self, session: NewSession) -> Uuid {
        let id = self.sandbox.seed(vec![session]).unwrap()[0];
        self.merchant.add_as(id, "abandoned", Duration::from_mins(5)).await;
        id
    }

    /// An abandoned session with faults of its own.
    pub(crate) async fn abandoned_with(&self, faults: SessionFaults) -> Uuid {
        self.abandoned_as(NewSession { faults: Some(faults), ..NewSession::default() }).await
    }

    /// An abandoned session in this status at the provider.
    pub(crate) async fn abandoned_in(&self, status: &str, details: Option<&str>) -> Uuid {
        let (status, status_details) = (Some(status.to_owned()), details.map(str::to_owned));
        self.abandoned_as(NewSession { status, status_details, ..NewSession::default() }).await
    }

    /// One sweep of the real program, which must run to its end.
    pub(crate) async fn sweep(&self) -> Finished {
        self.program.run(["sweep", "--json"]).await.expect_code(0)
    }

    /// The rows of one session in the audit table, in order.
    pub(crate) async fn rows(&self, id: Uuid) -> Vec<Row> {
        let statement = "SELECT attempt, outcome, http_status, session_status, status_details, error,
                extract(epoch FROM next_attempt_at - finished_at)::float8 AS pause
            FROM geft_sweeper.cancel_attempts WHERE session_id = $1 ORDER BY attempt";
        let rows: Vec<Row> = sqlx::query_as(statement).bind(id).fetch_all(self.database.pool()).await.unwrap();
        let numbers: Vec<i32> = rows.iter().map(|row| row.attempt).collect();
        assert_eq!(numbers, (1..=i32::try_from(rows.len()).unwrap()).collect::<Vec<_>>(), "a gap in the numbers");
        rows
    }

    /// The one row that a session must have.
    #[track_caller]
    pub(crate) fn only_row(&self, id: Uuid) -> impl Future<Output = Row> {
        let caller = std::panic::Location::caller();
        async move {
            let mut rows = self.rows(id).await;
            assert_eq!(rows.len(), 1, "{caller}: {rows:#?}");
            rows.remove(0)
        }
    }

    /// Outcome and number of rows, over all sessions.
    pub(crate) async fn outcomes(&self) -> Vec<(String, i64)> {
        let statement = "SELECT outcome, count(*) FROM geft_sweeper.cancel_attempts GROUP BY outcome ORDER BY outcome";
        sqlx::query_as(statement).fetch_all(self.database.pool()).await.unwrap()
    }

    /// State and number of sessions taken on.
    pub(crate) async fn states(&self) -> Vec<(String, i64)> {
        let statement = "SELECT state, count(*) FROM geft_sweeper.cancellations GROUP BY state ORDER BY state";
        sqlx::query_as(statement).fetch_all(self.database.pool()).await.unwrap()
    }

    /// Where a session stands.
    pub(crate) async fn standing(&self, id: Uuid) -> Standing {
        let statement = "SELECT state, attempts, counted_attempts AS counted, session_status, status_details,
                coalesce(next_attempt_at <= clock_timestamp(), false) AS is_due, finished_at IS NOT NULL AS is_finished
            FROM geft_sweeper.cancellations WHERE session_id = $1";
        sqlx::query_as(statement).bind(id).fetch_one(self.database.pool()).await.unwrap()
    }

    /// Lets the time pass for which all processes leave the provider alone.
    pub(crate) async fn let_holds_pass(&self) {
        sqlx::query("DELETE FROM geft_sweeper.holds").execute(self.database.pool()).await.unwrap();
    }

    /// Lets the pauses of all pending sessions pass, and whatever holds sending back.
    pub(crate) async fn let_pauses_pass(&self) {
        self.let_holds_pass().await;
        let statement = "UPDATE geft_sweeper.cancellations SET next_attempt_at = now() WHERE state = 'pending'";
        sqlx::query(statement).execute(self.database.pool()).await.unwrap();
    }

    /// Lets the leases of all sessions in flight run out.
    pub(crate) async fn let_leases_end(&self) {
        let statement = "UPDATE geft_sweeper.claims
            SET lease_until = clock_timestamp() - interval '1 second'";
        sqlx::query(statement).execute(self.database.pool()).await.unwrap();
    }

    /// The end.
    pub(crate) async fn close(self) {
        self.sandbox.stop().await;
        self.database.close().await;
    }
}
