//! A merchant with a provider: a database, the table of sessions in it, and a sandbox that knows the same sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, NewSession, Options, Sandbox};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::time::timeout;
use uuid::Uuid;

use super::{PaymentSessions, Program, TestDatabase};

/// How long a request may take to come before the test fails.
const LIMIT: Duration = Duration::from_secs(30);

/// Older than `max_age` in [`Program::new`].
const OLD: Duration = Duration::from_hours(1);

/// A merchant with a provider.
pub(crate) struct Shop {
    url: String,
    pool: PgPool,
    table: PaymentSessions,
    pub(crate) provider: Sandbox,
}

impl Shop {
    /// On a database of its own that has the ledger's schema; it goes with the server.
    pub(crate) async fn new() -> Self {
        Self::on(TestDatabase::new().await.url()).await
    }

    /// On this database.
    pub(crate) async fn on(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(4).connect_lazy(url).unwrap();
        let table = PaymentSessions::create(&pool).await;
        let (client_id, client_secret) = ("client".to_owned(), "secret".into());
        let provider = Sandbox::start(Options { client_id, client_secret, ..Options::default() }).await.unwrap();
        Self { url: url.to_owned(), pool, table, provider }
    }

    /// The program, set up for this shop. It need not find out first that tokens can be shared, which it does with
    /// one request at a time.
    pub(crate) fn program(&self) -> Program {
        Program::new(&self.url, &self.provider.base_url()).with("api.token_use", "shared")
    }

    /// Connections to the database.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Where the database is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Adds sessions that are to be canceled, here and at the provider.
    pub(crate) async fn abandon(&self, number: usize) -> Vec<Uuid> {
        self.add(number, OLD).await
    }

    /// Adds open sessions of this age, here and at the provider.
    pub(crate) async fn add(&self, number: usize, age: Duration) -> Vec<Uuid> {
        let ids = self.provider.seed(vec![NewSession::default(); number]).unwrap();
        self.table.add_all(&ids, "created", age).await;
        ids
    }

    /// Adds a session that is to be canceled, and that is this at the provider.
    pub(crate) async fn abandon_as(&self, session: NewSession) -> Uuid {
        let id = self.provider.seed(vec![session]).unwrap()[0];
        self.table.add_as(id, "created", OLD).await;
        id
    }

    /// Waits until so many requests wait at a hold of this endpoint.
    pub(crate) async fn held(&self, endpoint: Endpoint, number: u64) {
        let held = self.provider.wait_for_requests(|counts| counts.held(endpoint) == number);
        let counts = || self.provider.counts();
        timeout(LIMIT, held).await.unwrap_or_else(|_| panic!("{number} at {endpoint:?}, but {:?}", counts()));
    }

    /// How many sessions are in each state; states without any are left out.
    pub(crate) async fn states(&self) -> BTreeMap<String, i64> {
        let count = "SELECT state, count(*) FROM geft_sweeper.cancellations GROUP BY state";
        let rows: Vec<(String, i64)> = sqlx::query_as(count).fetch_all(&self.pool).await.unwrap_or_default();
        rows.into_iter().collect()
    }

    /// How many sessions are in this state; none while the database does not answer.
    pub(crate) async fn number(&self, state: &str) -> i64 {
        self.states().await.get(state).copied().unwrap_or_default()
    }

    /// The outcomes of a session's attempts, in their order.
    pub(crate) async fn outcomes(&self, session: Uuid) -> Vec<String> {
        let outcomes = "SELECT outcome FROM geft_sweeper.cancel_attempts WHERE session_id = $1 ORDER BY attempt";
        sqlx::query_scalar(outcomes).bind(session).fetch_all(&self.pool).await.unwrap()
    }

    /// One value of one row.
    pub(crate) async fn value<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'row> sqlx::Decode<'row, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    /// Ends every lease now, as if its time were over, and tells how many sessions were held.
    pub(crate) async fn end_leases(&self) -> i64 {
        let end =
            "WITH over AS (UPDATE geft_sweeper.claims SET lease_until = now() - interval '1 second' RETURNING open)
            SELECT coalesce(sum(open), 0) FROM over";
        self.value(end).await
    }

    /// Fails unless each session's attempts are 1, 2, 3 … without a gap, as many as its row says.
    #[track_caller]
    pub(crate) fn assert_no_gap(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let pool = self.pool.clone();
        async move {
            let gaps = "SELECT count(*) FROM geft_sweeper.cancellations c
                WHERE ARRAY(SELECT attempt FROM geft_sweeper.cancel_attempts a WHERE a.session_id = c.session_id ORDER BY 1)
                      <> ARRAY(SELECT generate_series(1, c.attempts))";
            let found: i64 = sqlx::query_scalar(gaps).fetch_one(&pool).await.unwrap();
            assert_eq!(found, 0, "sessions whose attempts have a gap or a double: {caller}");
        }
    }

    /// Cancel requests that reached the provider for these sessions, and rows of the audit table for them.
    pub(crate) async fn requests_and_rows(&self, sessions: &[Uuid]) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        for session in sessions {
            let rows = self.outcomes(*session).await.len();
            found.push((self.provider.cancels(*session), u64::try_from(rows).unwrap()));
        }
        found
    }
}
