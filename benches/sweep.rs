//! One sweep of the real program, with everything that it costs.
//!
//! It fails where the sweep did not do its work: a figure of half a sweep is none.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::account::Account;
use crate::figures::{Answers, Sweep};
use crate::stage::{Shop, Stage};
use crate::{per_session, usage};

/// How often the peak of memory is looked at: what the last look misses is the end, when memory is given back.
const LOOK: Duration = Duration::from_millis(10);

/// Sweeps a shop with so many abandoned sessions.
pub(crate) async fn run(stage: &Stage, shop: &Shop, sessions: usize, answers: Answers) -> Result<Sweep> {
    stage.checkpoint().await?;
    let (sandbox, before) = (shop.provider.spent()?, Account::of(stage, shop).await?);
    let children = usage::ended_children()?;
    let began = Instant::now();
    let mut command = Command::new(stage.program());
    command.args(["sweep", "--json", "--config"]).arg(&shop.config_file);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let peak = tokio::spawn(peak_memory_kib(child.id()));
    let (output, seconds) = tokio::task::spawn_blocking(move || {
        let output = child.wait_with_output();
        output.map(|output| (output, began.elapsed().as_secs_f64()))
    })
    .await??;
    let own = usage::ended_children()?.saturating_sub(children);
    let spent = Account::of(stage, shop).await?.since(before);
    verify(shop, sessions, answers, &output).await?;
    Ok(Sweep {
        seconds,
        window_seconds: window(shop).await?,
        own_cpu_us: per_session(own, sessions),
        postgres_cpu_us: per_session(spent.cpu, sessions),
        sandbox_cpu_us: per_session(shop.provider.spent()?.saturating_sub(sandbox), sessions),
        peak_memory_kib: peak.await?,
        wal_bytes: share(spent.wal_bytes, sessions),
        transactions: share(spent.transactions, sessions),
        fsyncs: share(spent.fsyncs, sessions),
    })
}

async fn peak_memory_kib(pid: u32) -> u64 {
    let mut peak = 0;
    // A process that has ended and was not waited for yet has no memory any more.
    while let Some(now) = usage::memory_kib(pid, "VmHWM") {
        peak = now;
        tokio::time::sleep(LOOK).await;
    }
    peak
}

/// Whether each session met its end: by the report, by the audit table, and by the provider.
async fn verify(shop: &Shop, sessions: usize, answers: Answers, output: &Output) -> Result<()> {
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the sweep ended with {}: {told}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    let all = u64::try_from(sessions)?;
    ensure!(number("discovered") == all, "{report}");
    let dealt_with = match answers {
        Answers::Good => number("canceled"),
        Answers::Mixed => ["canceled", "already_terminal", "retried", "failed"].map(number).iter().sum(),
    };
    ensure!(dealt_with == all, "{report}");
    let mut connection = shop.connect().await?;
    let recorded = "SELECT count(*) FROM geft_sweeper.cancel_attempts WHERE instance <> 'an earlier process'";
    let recorded: i64 = sqlx::query_scalar(recorded).fetch_one(&mut connection).await?;
    ensure!(u64::try_from(recorded)? == all, "{recorded} rows of the audit table for {all} sessions");
    let arrived = shop.provider.cancels().await?;
    ensure!(arrived == all, "{arrived} cancel requests for {all} sessions");
    Ok(())
}

/// From the first request to the close of the sweep, in seconds.
async fn window(shop: &Shop) -> Result<f64> {
    let window = "SELECT extract(epoch FROM max(finished_at)
            - (SELECT min(started_at) FROM geft_sweeper.cancel_attempts WHERE instance <> 'an earlier process'))::float8
        FROM geft_sweeper.sweeps";
    Ok(sqlx::query_scalar(window).fetch_one(&mut shop.connect().await?).await?)
}

#[expect(clippy::cast_precision_loss, reason = "far from 2^52")]
fn share(total: i64, sessions: usize) -> f64 {
    total as f64 / sessions as f64
}
