//! How long it takes from the commit that marks a session abandoned to the cancel request at the API, with the triggers of
//! `deploy/notify.sql` and no tick of the schedule.
//!
//! `cargo bench --bench latency`. Commits come at odd moments, one after the other; what it prints is what was measured.

use std::fs;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use geft_sweeper::postgres::{Options, PrivatePostgres};
use geft_sweeper::sandbox::{self, Endpoint, NewSession, Sandbox};
use sqlx::PgPool;
use tokio::process::{Child, Command};

const SESSIONS: usize = 500;

const TABLE: &str = "CREATE TABLE payment_sessions (session_id uuid PRIMARY KEY, reference_id text, status text,
        created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
    CREATE INDEX ON payment_sessions (status, created_at);
    CREATE INDEX ON payment_sessions (status, updated_at);
    INSERT INTO payment_sessions SELECT gen_random_uuid(), '', 'paid' FROM generate_series(1, 100000)";

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    // PostgreSQL's own settings, which are durable.
    let server = PrivatePostgres::start(Options::default()).await?;
    let measured = measure(&server.url("postgres")).await;
    server.stop().await?;
    let mut waited = measured?;
    waited.sort();
    let at = |share: usize| waited.get(waited.len() * share / 100).copied().unwrap_or_default().as_secs_f64() * 1000.0;
    writeln!(
        io::stdout(),
        "commit to request, {SESSIONS} sessions: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        at(50),
        at(99),
        at(100).max(waited.last().copied().unwrap_or_default().as_secs_f64() * 1000.0)
    )?;
    Ok(())
}

async fn measure(url: &str) -> Result<Vec<Duration>> {
    let pool = PgPool::connect(url).await?;
    let sandbox = Sandbox::start(sandbox::Options::default()).await?;
    sqlx::raw_sql(TABLE).execute(&pool).await?;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/notify.sql");
    let installed = Command::new("psql").args(["--no-psqlrc", "--quiet", "--file", file, url]).status().await?;
    ensure!(installed.success(), "psql: {installed}");
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("geft-sweeper.toml");
    let text = format!(
        "[database]\nurl = {url:?}\n[source]\ntable = \"public.payment_sessions\"\n\
         columns = {{ updated_at = \"updated_at\" }}\n[api]\nbase_url = {:?}\nclient_id = \"demo\"\n\
         client_secret = \"demo-secret\"\n[schedule]\nsweep = \"0 0 0 1 1 *\"\n[server]\nlisten = \"off\"\n",
        sandbox.base_url()
    );
    fs::write(&config, text)?;
    let mut program = Command::new(env!("CARGO_BIN_EXE_geft-sweeper"));
    let daemon = program.arg("--config").arg(config).arg("run").env_clear().kill_on_drop(true).spawn()?;
    listening(&pool, daemon, &sandbox).await
}

/// Waits until the daemon listens, and measures.
async fn listening(pool: &PgPool, _daemon: Child, sandbox: &Sandbox) -> Result<Vec<Duration>> {
    let listens = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'geft-sweeper %'
        AND (query LIKE 'LISTEN%' OR query LIKE '%wake.listens%'))";
    while !sqlx::query_scalar::<_, bool>(listens).fetch_one(pool).await? {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut waited = Vec::with_capacity(SESSIONS);
    for number in 0..SESSIONS {
        let id = sandbox.seed(vec![NewSession::default()])?;
        let insert = "INSERT INTO payment_sessions VALUES (($1::uuid[])[1], '', 'abandoned')";
        sqlx::query(insert).bind(id).execute(pool).await?;
        let committed = Instant::now();
        let arrived = u64::try_from(number)? + 1;
        sandbox.wait_for_requests(|counts| counts.arrived(Endpoint::Cancel) >= arrived).await;
        waited.push(committed.elapsed());
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..100))).await;
    }
    Ok(waited)
}
