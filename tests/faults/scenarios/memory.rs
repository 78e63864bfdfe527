//! What a process needs does not grow with the backlog: memory, connections, sessions in hand, threads and log lines, at
//! 10,000 and at 1,000,000 pending rows.

use std::fmt;
use std::time::Instant;

use geft_sweeper::sandbox::NewSession;
use uuid::Uuid;

use crate::harness::support::eventually;
use crate::records::Tally;
use crate::stage::{Daemon, LIMIT, Stage};

/// Sessions that the provider knows and that are due first: more than a process sends for in the time of a measurement.
const KNOWN: usize = 4_000;

/// Requests a second while it is measured, and how many of them.
const PER_SECOND: i64 = 200;
const REQUESTS: u64 = 2_000;

/// By that rate, what is sent within a quarter of a second, and what waits for a tenth of one at the most to be recorded; and
/// a few to spare.
const MOST_HELD: i64 = PER_SECOND / 4 + PER_SECOND / 10 + 8;

/// What a process needed.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    backlog: i64,
    peak_mib: u64,
    connections: i64,
    /// Sessions in its hands: each is a task.
    held: i64,
    threads: u64,
    lines_per_second: f64,
}

impl fmt::Display for Need {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backlog, peak_mib, connections, held, threads, lines_per_second } = self;
        write!(
            formatter,
            "{backlog} rows: {peak_mib} MiB, {connections} connections, {held} sessions in hand, {threads} threads, \
             {lines_per_second:.1} lines/s"
        )
    }
}

pub(super) async fn bounded() -> Tally {
    let mut total = Tally::default();
    let small = need(10_000, &mut total).await;
    let large = need(1_000_000, &mut total).await;
    assert!(large.peak_mib <= small.peak_mib + small.peak_mib / 4, "{small}; {large}");
    assert!(large.connections <= 9 && small.connections <= 9, "{small}; {large}");
    assert!(large.held <= MOST_HELD && small.held <= MOST_HELD, "{small}; {large}");
    assert!(large.threads <= small.threads, "{small}; {large}");
    assert!(large.lines_per_second <= small.lines_per_second + 5.0, "{small}; {large}");
    total
}

/// Runs a daemon over a backlog of so many rows until it has sent a number of requests.
async fn need(backlog: i64, total: &mut Tally) -> Need {
    let mut stage = Stage::new().await;
    seed(&mut stage, backlog).await;
    let daemon = stage.start(&stage.program().with("api.max_requests_per_second", PER_SECOND)).await;
    let began = Instant::now();
    let mut need = Need { backlog, ..Need::default() };
    eventually(LIMIT, async || {
        need.connections = need.connections.max(connections(&stage, &daemon).await);
        need.held = need.held.max(stage.shop.number("in_flight").await);
        need.threads = need.threads.max(of_status(&daemon, "Threads:"));
        stage.shop.provider.counts().arrived(geft_sweeper::sandbox::Endpoint::Cancel) >= REQUESTS
    })
    .await;
    need.peak_mib = of_status(&daemon, "VmHWM:") / 1024;
    let seconds = began.elapsed().as_secs_f64();
    let lines = stage.stop(daemon).await.lines().count();
    need.lines_per_second = f64::from(u32::try_from(lines).unwrap()) / seconds;
    total.add(stage.reconcile().await, &need.to_string());
    need
}

/// Pending rows for sessions that the merchant's table names; the provider knows those that are due first.
async fn seed(stage: &mut Stage, backlog: i64) {
    let known = stage.shop.provider.seed(vec![NewSession::default(); KNOWN]).unwrap();
    stage.expect(&known, &["canceled", "pending"]);
    let rows = "INSERT INTO payment_sessions
        SELECT coalesce(($1::uuid[])[n], gen_random_uuid()), 'order', 'abandoned', now() - interval '1 hour'
          FROM generate_series(1, $2) AS n";
    sqlx::query(rows).bind(&known).bind(backlog).execute(stage.shop.pool()).await.unwrap();
    let pending = "INSERT INTO geft_sweeper.cancellations
            (session_id, source_key, reference_id, reason, sweep_id, next_attempt_at)
        SELECT session_id, session_id::text, reference_id, 'abandoned', $2,
               now() - CASE WHEN session_id = ANY($1) THEN interval '2 minutes' ELSE interval '1 minute' END
          FROM payment_sessions";
    sqlx::query(pending).bind(&known).bind(Uuid::nil()).execute(stage.shop.pool()).await.unwrap();
    sqlx::raw_sql("ANALYZE payment_sessions, geft_sweeper.cancellations").execute(stage.shop.pool()).await.unwrap();
}

async fn connections(stage: &Stage, daemon: &Daemon) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'geft-sweeper ' || $1";
    sqlx::query_scalar(count).bind(&daemon.instance).fetch_one(stage.shop.pool()).await.unwrap()
}

/// A number of the system's account of a process; sizes are in KiB.
fn of_status(daemon: &Daemon, name: &str) -> u64 {
    let pid = daemon.running.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
