//! What a sweep costs the database on a large table: the time of all its statements, planning included.
//!
//! `cargo bench --bench discovery` makes a table of 10,000,000 rows, 2,000,000 of them handled within the lookback, and takes
//! some minutes and 5 GB of disk for it; another number of rows can be given behind `--`. What it prints is what was
//! measured; it judges nothing.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use geft_sweeper::postgres::{Options, PrivatePostgres};
use geft_sweeper::sandbox::{self, NewSession, Sandbox};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::process::Command;

const ROWS: i64 = 10_000_000;
/// Sessions in a sweep that is not empty.
const NEW: usize = 100;
/// Sweeps of each kind.
const ROUNDS: usize = 5;

/// Four fifths are older than the lookback; the others were all taken on, half of them for their age.
const TABLE: &str = "CREATE EXTENSION pg_stat_statements;
    CREATE UNLOGGED TABLE payment_sessions (session_id uuid, reference_id text, status text,
                                            created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL);
    INSERT INTO payment_sessions
    SELECT gen_random_uuid(), 'order-' || n,
           CASE WHEN n * 5 <= {rows} THEN (ARRAY['abandoned', 'created'])[1 + n % 2]
                WHEN n % 5 = 0 THEN 'abandoned' ELSE 'paid' END, at, at + interval '20 minutes'
      FROM generate_series(1, {rows}) AS n, LATERAL (SELECT now() - CASE WHEN n * 5 <= {rows}
           THEN interval '1 hour' + interval '6 days' * (n * 5 / {rows}::float8)
           ELSE interval '8 days' + interval '300 days' * (n / {rows}::float8) END) AS made (at);
    ALTER TABLE payment_sessions ADD PRIMARY KEY (session_id);
    CREATE INDEX ON payment_sessions (status, created_at);
    CREATE INDEX ON payment_sessions (status, updated_at)";
const HANDLED: &str = "INSERT INTO geft_sweeper.cancellations
        (session_id, source_key, reference_id, reason, sweep_id, state, attempts, last_outcome, session_status, finished_at)
    SELECT session_id, session_id::text, reference_id, CASE status WHEN 'created' THEN 'aged' ELSE status END,
           session_id, 'canceled', 1, 'canceled', 'Canceled', updated_at
      FROM payment_sessions WHERE created_at > now() - interval '7 days';
    ANALYZE";
/// Half of them marked abandoned, half become old.
const ADD: &str = "INSERT INTO payment_sessions
    SELECT id, 'new', (ARRAY['abandoned', 'created'])[1 + n % 2], now() - interval '30 minutes 1 second',
           now() - n % 2 * interval '30 minutes' FROM unnest($1::uuid[]) WITH ORDINALITY AS new (id, n)";
/// Of all statements, and of those among them that count the statuses.
const TIME: &str = "SELECT coalesce(sum(took), 0)::float8, coalesce(sum(took) FILTER (WHERE counts), 0)::float8
    FROM (SELECT total_exec_time + total_plan_time, query ~ 'geft-sweeper source\\.(census|newest) ' FROM pg_stat_statements
           WHERE query LIKE '%geft-sweeper %' OR query NOT LIKE '%pg_stat_statements%') AS spent (took, counts)";

#[tokio::main]
async fn main() -> Result<()> {
    let rows = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options::not_durable()
        .with("shared_preload_libraries", "pg_stat_statements")
        .with("pg_stat_statements.track_planning", "on")
        .with("shared_buffers", "512MB")
        .with("max_wal_size", "16GB")
        .with("maintenance_work_mem", "1GB");
    let server = PrivatePostgres::start(options).await?;
    let measured = measure(&server, rows).await;
    server.stop().await?;
    measured
}

async fn measure(server: &PrivatePostgres, rows: i64) -> Result<()> {
    let pool = PgPool::connect(&server.url("postgres")).await?;
    let sandbox = Sandbox::start(sandbox::Options::default()).await?;
    let folder = tempfile::tempdir()?;
    let run = |columns: &'static str, command: &'static str| {
        sweeper(folder.path(), columns, command, server.url("postgres"), sandbox.base_url())
    };
    sqlx::raw_sql(AssertSqlSafe(TABLE.replace("{rows}", &rows.to_string()))).execute(&pool).await?;
    run("", "migrate").await?;
    sqlx::raw_sql(HANDLED).execute(&pool).await?;
    say(&format!("{rows} rows; milliseconds of database time, each sweep by a new process"))?;
    say(&format!("one full pass, and the median of {ROUNDS} others"))?;
    for (what, columns) in [("with updated_at", "updated_at = \"updated_at\""), ("without", "")] {
        // The first is a full pass.
        let mut empty = vec![time_of(&pool, run(columns, "sweep")).await?];
        let mut busy = Vec::new();
        for _ in 0..ROUNDS {
            empty.push(time_of(&pool, run(columns, "sweep")).await?);
            let ids = sandbox.seed(vec![NewSession::default(); NEW])?;
            sqlx::query(ADD).bind(ids).execute(&pool).await?;
            busy.push(time_of(&pool, run(columns, "sweep")).await?);
        }
        let first = empty.remove(0);
        say(&format!("{what}: full pass {}, empty {}, {NEW} new {}", told(vec![first]), told(empty), told(busy)))?;
    }
    pool.close().await;
    Ok(())
}

/// Runs a command of the program, with this mapping of columns.
async fn sweeper(folder: &Path, columns: &str, command: &str, url: String, api: String) -> Result<()> {
    let file = folder.join("geft-sweeper.toml");
    let config = format!(
        "[database]\nurl = {url:?}\n[source]\ntable = \"public.payment_sessions\"\ncolumns = {{ {columns} }}\n\
         open_statuses = [\"created\"]\nmax_age = \"30m\"\n[api]\nbase_url = {api:?}\nclient_id = \"demo\"\n\
         client_secret = \"demo-secret\"\ntoken_use = \"shared\"\n"
    );
    fs::write(&file, config)?;
    let mut program = Command::new(env!("CARGO_BIN_EXE_geft-sweeper"));
    let done = program.arg("--config").arg(file).arg(command).env_clear().output().await?;
    ensure!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// The database's time, in milliseconds, for what is done meanwhile, and how much of it is for the count of the statuses.
async fn time_of(pool: &PgPool, done: impl Future<Output = Result<()>>) -> Result<(f64, f64)> {
    sqlx::query("SELECT pg_stat_statements_reset()").execute(pool).await?;
    done.await?;
    sqlx::query_as(TIME).fetch_one(pool).await.context("reading pg_stat_statements")
}

fn told(times: Vec<(f64, f64)>) -> String {
    let (all, counts) = times.into_iter().unzip();
    format!("{:.1} (the count of the statuses {:.1})", median(all), median(counts))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}
