//! Processes of the program beside a single sweep: several daemons, one that starts, one without work.
//!
//! Each is killed when the value is dropped; none is left behind.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::figures::{Answers, Idle};
use crate::stage::{Shop, Stage};
use crate::usage;

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(5);
/// After its start a process is left alone for this long, until everything is loaded that it needs.
const SETTLED: Duration = Duration::from_secs(3);
/// The default schedule; the shops' own sweeps each second.
const EACH_MINUTE: (&str, &str) = ("GEFT_SWEEPER__SCHEDULE__SWEEP", "0 * * * * *");

/// A process that is killed when the value is dropped.
struct Process(Child);

impl Process {
    fn start(stage: &Stage, shop: &Shop, command: &str, environment: &[(&str, &str)]) -> Result<Self> {
        let mut line = Command::new(stage.program());
        line.arg(command).arg("--config").arg(&shop.config_file).envs(environment.iter().copied());
        line.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(line.spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What is gone already need not be killed.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// So many daemons over so many sessions that come all at once: the seconds from the first request to the last answer,
/// and how many sessions were not dealt with exactly once.
pub(crate) async fn over_a_backlog(
    stage: &Stage,
    shop: &Shop,
    processes: usize,
    sessions: usize,
) -> Result<(f64, u64)> {
    let daemons: Result<Vec<_>> = (0..processes).map(|_| Process::start(stage, shop, "run", &[])).collect();
    let daemons = daemons?;
    let mut connection = shop.connect().await?;
    let mut reaches = async |statement: &'static str, number: usize| {
        let wanted = i64::try_from(number)?;
        let reached = async {
            while sqlx::query_scalar::<_, i64>(statement).fetch_one(&mut connection).await? < wanted {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(LIMIT, reached).await.with_context(|| format!("{number} were not reached: {statement}"))?
    };
    reaches("SELECT count(*) FROM geft_sweeper.processes", processes).await?;
    shop.abandon(sessions, Answers::Good).await?;
    reaches("SELECT count(*) FROM geft_sweeper.cancellations WHERE finished_at IS NOT NULL", sessions).await?;
    drop(daemons);
    let done = "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8,
        count(*) - count(DISTINCT session_id) FROM geft_sweeper.cancel_attempts";
    let (seconds, doubled): (f64, i64) = sqlx::query_as(done).fetch_one(&mut connection).await?;
    let beyond = shop.provider.cancels().await?.abs_diff(u64::try_from(sessions)?);
    Ok((seconds, beyond + u64::try_from(doubled)?))
}

/// How long after its start a sweep sends its first request.
pub(crate) async fn first_request(stage: &Stage, shop: &Shop) -> Result<Duration> {
    // In the place of the provider: it only sees that something comes.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let began = Instant::now();
    let _sweep = Process::start(stage, shop, "sweep", &[("GEFT_SWEEPER__API__BASE_URL", &address)])?;
    let arrived = async {
        let (mut connection, _) = listener.accept().await?;
        connection.read_u8().await?;
        Ok::<_, std::io::Error>(began.elapsed())
    };
    Ok(tokio::time::timeout(LIMIT, arrived).await.context("no request came")??)
}

/// A daemon with nothing to do, on the default schedule, for so long.
pub(crate) async fn idle(stage: &Stage, shop: &Shop, time: Duration) -> Result<Idle> {
    let daemon = Process::start(stage, shop, "run", &[EACH_MINUTE])?;
    let pid = daemon.0.id();
    tokio::time::sleep(SETTLED).await;
    let (before, began) = (usage::running(pid)?, Instant::now());
    tokio::time::sleep(time).await;
    let spent = usage::running(pid)?.saturating_sub(before);
    let seconds = began.elapsed().as_secs_f64();
    let memory_kib = usage::memory_kib(pid, "VmRSS").context("the daemon has ended")?;
    Ok(Idle { seconds, memory_kib, cpu_share: spent.as_secs_f64() / seconds })
}
