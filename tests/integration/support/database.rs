//! A fresh database for each test, on one private server for the whole run.

use std::time::Duration;

use geft_sweeper::config;
use geft_sweeper::database::Database;
use geft_sweeper::ledger::{Instance, Ledger};
use geft_sweeper::postgres::{Options, PrivatePostgres};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// The database that has the ledger's schema and nothing else: new ones are copied from it.
const MIGRATED: &str = "migrated";

/// The server of this process; it ends with the process.
async fn server() -> &'static PrivatePostgres {
    static SERVER: OnceCell<PrivatePostgres> = OnceCell::const_new();
    SERVER
        .get_or_init(async || {
            let options = Options::not_durable().with("max_connections", "400");
            let server = PrivatePostgres::start(options).await.unwrap();
            execute(&server, format!("CREATE DATABASE {MIGRATED}")).await;
            migrated(&server.url(MIGRATED)).await;
            server
        })
        .await
}

/// Brings the ledger's schema into a database, as the program does.
async fn migrated(url: &str) {
    let settings = config::Database {
        url: url.into(),
        max_connections: 2,
        auto_migrate: true,
        statement_timeout: Duration::from_secs(30),
    };
    // Its pool connects to nothing: nobody may be connected to a database that is copied.
    let database = Database::new(&settings, "harness").unwrap();
    Ledger::new(database, Instance::new("harness")).migrate().await.unwrap();
}

/// Runs a statement that cannot be in a transaction. The names in it are our own.
async fn execute(server: &PrivatePostgres, statement: String) {
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// A database of one test's own.
///
/// It is dropped by [`close`](Self::close). A test that fails before leaves it to the end of the server.
pub(crate) struct TestDatabase {
    name: String,
    url: String,
    pool: PgPool,
}

impl TestDatabase {
    /// A database with the ledger's schema, empty.
    pub(crate) async fn new() -> Self {
        Self::copied_from(MIGRATED).await
    }

    /// A database with nothing in it.
    pub(crate) async fn without_schema() -> Self {
        Self::copied_from("template1").await
    }

    async fn copied_from(template: &str) -> Self {
        let server = server().await;
        let name = format!("test_{}", Uuid::new_v4().simple());
        execute(server, format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        let url = server.url(&name);
        let pool = PgPoolOptions::new().max_connections(8).connect_lazy(&url).unwrap();
        Self { name, url, pool }
    }

    /// Its URL, as the user who may do anything.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Connections to it.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Drops it, whoever is still connected.
    pub(crate) async fn close(self) {
        self.pool.close().await;
        execute(server().await, format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

#[tokio::test]
async fn each_test_has_a_database_with_an_empty_ledger_of_its_own() {
    let (one, other) = (TestDatabase::new().await, TestDatabase::new().await);
    let discover = "INSERT INTO geft_sweeper.cancellations
        (session_id, source_key, reason, sweep_id, next_attempt_at) VALUES ($1, '', '', $1, now())";
    sqlx::query(discover).bind(Uuid::new_v4()).execute(one.pool()).await.unwrap();
    for (database, expected) in [(&one, 1), (&other, 0)] {
        let count = "SELECT count(*) FROM geft_sweeper.cancellations";
        let found: i64 = sqlx::query_scalar(count).fetch_one(database.pool()).await.unwrap();
        assert_eq!(found, expected);
    }
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn the_migrations_keep_their_own_table_out_of_the_merchants_schema() {
    let database = TestDatabase::new().await;
    let foreign = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let found: i64 = sqlx::query_scalar(foreign).fetch_one(database.pool()).await.unwrap();
    assert_eq!(found, 0);
    database.close().await;
}
