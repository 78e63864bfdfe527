//! The stage: a private PostgreSQL with durable settings, and shops on it, each with a database and a provider of its own.
//!
//! Everything is new for every run: what one leaves behind cannot help or hinder the next.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use geft_sweeper::config::{self, Config};
use geft_sweeper::postgres::{Options, PrivatePostgres};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use crate::figures::Answers;
use crate::provider::Provider;

/// Rows written with one statement.
const AT_ONCE: usize = 50_000;

/// The server, and the program under measurement.
pub(crate) struct Stage {
    server: PrivatePostgres,
    admin: PgPool,
    folder: TempDir,
    program: PathBuf,
    shops: usize,
}

/// A merchant with a provider.
pub(crate) struct Shop {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) provider: Provider,
    pub(crate) config_file: PathBuf,
    pub(crate) config: Config,
}

impl Stage {
    /// Starts the server. Its settings are PostgreSQL's own, which are durable; only no checkpoint comes by itself.
    pub(crate) async fn start(program: &Path) -> Result<Self> {
        let options = Options::default()
            .with("fsync", "on")
            .with("synchronous_commit", "on")
            .with("full_page_writes", "on")
            .with("checkpoint_timeout", "1d")
            .with("max_wal_size", "64GB");
        let server = PrivatePostgres::start(options).await?;
        let admin = PgPoolOptions::new().max_connections(2).connect(&server.url("postgres")).await?;
        let folder = tempfile::Builder::new().prefix("geft-sweeper-bench-").tempdir()?;
        Ok(Self { server, admin, folder, program: program.to_owned(), shops: 0 })
    }

    /// Connections that belong to no shop's database.
    pub(crate) fn admin(&self) -> &PgPool {
        &self.admin
    }

    /// The program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The first process of the server.
    pub(crate) fn postmaster(&self) -> Result<u32> {
        let file = fs::read_to_string(self.server.folder().join("data/postmaster.pid"))?;
        Ok(file.lines().next().context("an empty postmaster.pid")?.trim().parse()?)
    }

    /// The socket of the server.
    pub(crate) fn socket(&self) -> PathBuf {
        self.server.folder().join(".s.PGSQL.5432")
    }

    /// A shop with empty tables.
    pub(crate) async fn shop(&mut self, answers: Answers, latency_ms: u64, in_flight: usize) -> Result<Shop> {
        self.shops += 1;
        let name = format!("shop_{}", self.shops);
        self.run(&format!("CREATE DATABASE {name}")).await?;
        let url = self.server.url(&name);
        let provider = Provider::start(&self.program, answers, latency_ms)?;
        let config_file = self.folder.path().join(format!("{name}.toml"));
        let config = configure(&config_file, &url, provider.url(), in_flight)?;
        let shop = Shop { name, url, provider, config_file, config };
        let mut connection = shop.connect().await?;
        let table = "CREATE TABLE payment_sessions (
            session_id uuid PRIMARY KEY, reference_id text, status text, created_at timestamptz NOT NULL);
            CREATE INDEX payment_sessions_created ON payment_sessions (created_at)";
        sqlx::raw_sql(table).execute(&mut connection).await?;
        connection.close().await?;
        let done = Command::new(&self.program).arg("migrate").arg("--config").arg(&shop.config_file).output().await?;
        ensure!(done.status.success(), "migrate: {}", String::from_utf8_lossy(&done.stderr));
        Ok(shop)
    }

    /// Writes everything down, so that what follows starts right after a checkpoint and none comes in its course.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        self.run("CHECKPOINT").await
    }

    /// Forgets a shop.
    pub(crate) async fn close(&self, shop: Shop) -> Result<()> {
        self.run(&format!("DROP DATABASE {} WITH (FORCE)", shop.name)).await
    }

    /// Stops the server, and leaves nothing behind.
    pub(crate) async fn stop(self) -> Result<()> {
        self.admin.close().await;
        Ok(self.server.stop().await?)
    }

    async fn run(&self, statement: &str) -> Result<()> {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&self.admin).await?;
        Ok(())
    }
}

impl Shop {
    /// A connection to its database.
    pub(crate) async fn connect(&self) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// Adds abandoned sessions, here and at the provider.
    pub(crate) async fn abandon(&self, number: usize, answers: Answers) -> Result<()> {
        let ids = ids(number);
        self.provider.seed(&ids, answers).await?;
        let mut connection = self.connect().await?;
        for part in ids.chunks(AT_ONCE) {
            let insert = "INSERT INTO payment_sessions
                SELECT id, 'order-' || 1000000 + n, 'abandoned', now() - interval '5 minutes'
                  FROM unnest($1::uuid[]) WITH ORDINALITY AS part (id, n)";
            sqlx::query(insert).bind(part).execute(&mut connection).await?;
        }
        sqlx::query("VACUUM ANALYZE payment_sessions").execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Fills the ledger with sessions that were dealt with before, one attempt each.
    pub(crate) async fn remember(&self, number: i64) -> Result<()> {
        let mut connection = self.connect().await?;
        for statement in HISTORY {
            sqlx::query(statement).bind(number).execute(&mut connection).await?;
        }
        for table in ["cancellations", "cancel_attempts"] {
            let vacuum = format!("VACUUM ANALYZE geft_sweeper.{table}");
            sqlx::query(sqlx::AssertSqlSafe(vacuum)).execute(&mut connection).await?;
        }
        Ok(connection.close().await?)
    }
}

/// Rows of history, as a year of sweeps would have left them.
const HISTORY: [&str; 2] = [
    "INSERT INTO geft_sweeper.cancellations (session_id, source_key, reference_id, reason, source_status,
            source_created_at, sweep_id, state, attempts, counted_attempts, last_outcome, session_status, status_details,
            discovered_at, finished_at)
     SELECT id, id::text, 'order-' || 1000000 + n, 'abandoned', 'abandoned', at, gen_random_uuid(), 'canceled', 1, 0, 'canceled',
            'Canceled', 'EFT0501', at, at
       FROM (SELECT n, gen_random_uuid() AS id, now() - n * interval '30 seconds' AS at
               FROM generate_series(1, $1::bigint) AS n) AS history",
    "INSERT INTO geft_sweeper.cancel_attempts (session_id, reference_id, attempt, reason, sweep_id, instance, started_at,
            finished_at, outcome, http_status, session_status, status_details, claim)
     SELECT session_id, reference_id, 1, reason, sweep_id, 'an earlier process', finished_at, finished_at, 'canceled', 200,
            session_status, status_details, gen_random_uuid()
       FROM geft_sweeper.cancellations ORDER BY finished_at LIMIT $1",
];

/// Session ids, as random as a provider's.
pub(crate) fn ids(number: usize) -> Vec<Uuid> {
    (0..number).map(|_| Uuid::new_v4()).collect()
}

/// Writes the configuration. Everything is by default but what a backlog of this size needs; the brakes act.
fn configure(file: &Path, database: &str, api: &str, in_flight: usize) -> Result<Config> {
    let text = format!(
        "[database]\nurl = \"{database}\"\n\
         [source]\ntable = \"public.payment_sessions\"\n\
         [api]\nbase_url = \"{api}\"\nclient_id = \"demo\"\nclient_secret = \"demo-secret\"\nmax_in_flight = {in_flight}\n\
         [schedule]\nsweep = \"* * * * * *\"\n\
         # No retry falls due in the course of a run: what is measured is one attempt a session.\n\
         [retry]\ninitial_interval = \"10m\"\n\
         [brakes]\nmax_discovered = 1000000000\n\
         [server]\nlisten = \"off\"\n"
    );
    fs::write(file, text)?;
    let read = config::read(Some(file), Vec::<(String, String)>::new());
    read.complete().map_err(|problems| anyhow!("{}: {problems:?}", file.display()))
}
