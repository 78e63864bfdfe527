//! The commands as a user meets them: the real binary, a real database and the sandbox, judged by what comes out.

mod changes;
mod configuration;
mod exit_statuses;
mod requeue;
mod sources;
mod status;
mod sweep;

use std::path::Path;
use std::time::Duration;

use geft_sweeper::sandbox::{NewSession, Options, Sandbox};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;
use uuid::Uuid;

use crate::support::{PaymentSessions, Program, TestDatabase};

pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// A secret that must never be seen.
pub(crate) const SECRET: &str = "hunter2-secret";

/// A merchant with a table of sessions, and the provider that knows them.
pub(crate) struct Shop {
    pub(crate) database: TestDatabase,
    pub(crate) sandbox: Sandbox,
    pub(crate) sessions: PaymentSessions,
}

impl Shop {
    /// The ledger's schema is there and empty.
    pub(crate) async fn new() -> Self {
        Self::on(TestDatabase::new().await).await
    }

    /// The ledger's schema is not there yet.
    pub(crate) async fn without_schema() -> Self {
        Self::on(TestDatabase::without_schema().await).await
    }

    async fn on(database: TestDatabase) -> Self {
        let options = Options { client_id: "client".to_owned(), client_secret: SECRET.into(), ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let sessions = PaymentSessions::create(database.pool()).await;
        sqlx::raw_sql("CREATE INDEX ON payment_sessions (status, created_at)").execute(database.pool()).await.unwrap();
        Self { database, sandbox, sessions }
    }

    /// The program as this merchant runs it.
    pub(crate) fn program(&self) -> Program {
        Program::new(self.database.url(), &self.sandbox.base_url()).with("api.client_secret", SECRET)
    }

    /// A session that both sides know.
    pub(crate) async fn add(&self, status: &str, age: Duration) -> Uuid {
        let id = self.sandbox.seed(vec![NewSession::default()]).unwrap()[0];
        self.sessions.add_as(id, status, age).await;
        id
    }

    /// One value from the database.
    pub(crate) async fn value<T>(&self, sql: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(self.database.pool()).await.unwrap()
    }

    /// Runs statements as the user who may do anything.
    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.database.pool()).await.unwrap();
    }

    /// A role that may do nothing but what these statements give to `{role}`.
    pub(crate) async fn role(&self, grants: &str) -> Role {
        let name = format!("role_{}", Uuid::new_v4().simple());
        self.execute(&format!("CREATE ROLE {name} LOGIN; {}", grants.replace("{role}", &name))).await;
        let url = self.database.url().replace("//sweeper@", &format!("//{name}@"));
        Role { name, url }
    }

    /// Drops the database, and the role with it.
    pub(crate) async fn close_with(self, role: Role) {
        self.execute(&format!("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", role.name)).await;
        self.database.close().await;
    }

    /// Everything that is stored: each row with the transaction that wrote or locked it, and which relations there are.
    pub(crate) async fn contents(&self) -> Vec<String> {
        contents(self.database.pool()).await
    }

    /// Fails unless the provider was never asked for anything.
    #[track_caller]
    pub(crate) fn expect_no_request(&self) {
        assert!(self.sandbox.requests().is_empty(), "{:#?}", self.sandbox.requests());
    }
}

/// A role of one test's own.
pub(crate) struct Role {
    pub(crate) name: String,
    /// The URL of the shop's database for it.
    pub(crate) url: String,
}

async fn contents(pool: &PgPool) -> Vec<String> {
    let ours = "relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('geft_sweeper', 'public'))";
    let catalog = format!("SELECT concat_ws(' ', relname, oid, xmin) FROM pg_class WHERE {ours} ORDER BY 1");
    let mut contents = texts(pool, &catalog).await;
    let tables = format!("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND {ours} ORDER BY 1");
    for table in texts(pool, &tables).await {
        let rows =
            format!("SELECT concat_ws(' ', '{table}', t.ctid, t.xmin, t.xmax, t::text) FROM {table} t ORDER BY 1");
        contents.extend(texts(pool, &rows).await);
    }
    let sequences = "SELECT concat_ws(' ', schemaname, sequencename, last_value) FROM pg_sequences ORDER BY 1";
    contents.extend(texts(pool, sequences).await);
    contents
}

async fn texts(pool: &PgPool, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(pool).await.unwrap()
}

/// What a command came to: its exit status, standard output and standard error.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Fails unless standard error holds this many sentences of ours alone, and standard output nothing.
    #[track_caller]
    pub(crate) fn expect_refusal(&self, code: i32, sentences: usize) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:#?}");
        assert_eq!(self.stderr.lines().count(), sentences, "{self:#?}");
        assert!(self.stderr.lines().all(|line| line.starts_with("geft-sweeper: ")), "{self:#?}");
    }
}

/// Runs the binary in a folder, with no configuration but what lies there and in these variables.
pub(crate) async fn geft_sweeper(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geft-sweeper"));
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
    let output = command.kill_on_drop(true).output().await.unwrap();
    Said {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
