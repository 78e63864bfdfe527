//! The parts of the whole: what is measured, on which stage, and how often.
//!
//! Each part begins with new tables and a new provider, and tells what it does on standard error.

use std::time::Duration;

use anyhow::{Result, ensure};
use url::Url;

use crate::figures::{Answers, Case, Idle, Limit, Round, SandboxLimit, ScaleOut, Sweep};
use crate::relay::Relay;
use crate::stage::{Stage, ids};
use crate::{daemons, limit, load, say, sweep, sweep_alone};

/// Sessions of the parts that stand for all.
const USUAL: usize = 20_000;
const IN_FLIGHT: usize = 64;

/// The sandbox's own limit.
pub(crate) async fn sandbox(stage: &mut Stage) -> Result<SandboxLimit> {
    say("the sandbox's own limit");
    let shop = stage.shop(Answers::Good, 0, IN_FLIGHT).await?;
    let sessions = ids(2 * USUAL);
    shop.provider.seed(&sessions, Answers::Good).await?;
    let limit = load::run(&shop.provider, sessions).await?;
    stage.close(shop).await?;
    Ok(limit)
}

/// The cases of limit and sweep, and how many rounds of each.
pub(crate) fn cases(full: bool) -> Vec<(Case, usize)> {
    let mut cases = Vec::new();
    for (latency_ms, answers) in [0, 20].into_iter().flat_map(|ms| [(ms, Answers::Good), (ms, Answers::Mixed)]) {
        for sessions in [1_000, 5_000, USUAL] {
            cases.push((Case { sessions, latency_ms, in_flight: IN_FLIGHT, answers }, 3));
        }
    }
    if full {
        for sessions in [10_000, 100_000, 1_000_000] {
            cases.push((Case { sessions, latency_ms: 0, in_flight: IN_FLIGHT, answers: Answers::Good }, 3));
        }
    }
    cases
}

/// Limit and sweep, one after the other.
pub(crate) async fn round(stage: &mut Stage, case: Case) -> Result<Round> {
    let Case { sessions, latency_ms, answers, .. } = case;
    say(&format!("{sessions} sessions, {latency_ms} ms, {answers:?}"));
    let limit = bare(stage, case).await?;
    let shop = stage.shop(answers, latency_ms, case.in_flight).await?;
    shop.abandon(sessions, answers).await?;
    let sweep = sweep::run(stage, &shop, sessions, answers).await?;
    stage.close(shop).await?;
    say(&format!("    {:.2} s of the limit, {:.2} s of the sweep", limit.seconds, sweep.seconds));
    Ok(Round { case, limit, sweep })
}

async fn bare(stage: &mut Stage, case: Case) -> Result<Limit> {
    let shop = stage.shop(case.answers, case.latency_ms, case.in_flight).await?;
    let sessions = ids(case.sessions);
    shop.provider.seed(&sessions, case.answers).await?;
    let limit = limit::run(&shop.config.api, case.in_flight, &shop.provider, sessions).await?;
    stage.close(shop).await?;
    Ok(limit)
}

/// Round trips to the database, a session.
pub(crate) async fn round_trips(stage: &mut Stage) -> Result<f64> {
    say("round trips");
    let shop = stage.shop(Answers::Good, 0, IN_FLIGHT).await?;
    shop.abandon(USUAL, Answers::Good).await?;
    let folder = tempfile::tempdir()?;
    let relay = Relay::start(&folder.path().join(".s.PGSQL.5432"), stage.socket())?;
    let mut url = Url::parse(&shop.url)?;
    let host: String = url::form_urlencoded::byte_serialize(folder.path().as_os_str().as_encoded_bytes()).collect();
    url.set_host(Some(&host))?;
    let done = sweep_alone(stage, &shop, &[("GEFT_SWEEPER__DATABASE__URL", url.as_str())]).await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    stage.close(shop).await?;
    #[expect(clippy::cast_precision_loss, reason = "far from 2^52")]
    Ok(relay.round_trips() as f64 / USUAL as f64)
}

/// A sweep with 1,000,000 rows of history, right after a checkpoint.
pub(crate) async fn with_history(stage: &mut Stage) -> Result<Sweep> {
    say("1,000,000 rows of history: writing them");
    let shop = stage.shop(Answers::Good, 0, IN_FLIGHT).await?;
    shop.remember(1_000_000).await?;
    shop.abandon(USUAL, Answers::Good).await?;
    say("1,000,000 rows of history: a sweep right after a checkpoint");
    let sweep = sweep::run(stage, &shop, USUAL, Answers::Good).await?;
    stage.close(shop).await?;
    Ok(sweep)
}

/// One, two and four daemons, 20,000 sessions for each of them.
pub(crate) async fn scale_out(stage: &mut Stage) -> Result<Vec<ScaleOut>> {
    let mut all = Vec::new();
    for processes in [1, 2, 4] {
        say(&format!("{processes} processes"));
        let (sessions, in_flight) = (USUAL * processes, IN_FLIGHT * processes);
        let case = Case { sessions, latency_ms: 20, in_flight, answers: Answers::Good };
        let bare = bare(stage, case).await?;
        let shop = stage.shop(Answers::Good, 20, IN_FLIGHT).await?;
        let (seconds, not_once) = daemons::over_a_backlog(stage, &shop, processes, sessions).await?;
        stage.close(shop).await?;
        #[expect(clippy::cast_precision_loss, reason = "far from 2^52")]
        let number = sessions as f64;
        let (per_second, limit_per_second) = (number / seconds, number / bare.seconds);
        all.push(ScaleOut { processes, sessions, per_second, limit_per_second, not_once });
    }
    Ok(all)
}

/// From the start of the program to its first request, five times, in milliseconds.
pub(crate) async fn start(stage: &mut Stage) -> Result<Vec<f64>> {
    say("start");
    let mut all = Vec::new();
    for _ in 0..5 {
        let shop = stage.shop(Answers::Good, 0, IN_FLIGHT).await?;
        shop.abandon(1, Answers::Good).await?;
        all.push(daemons::first_request(stage, &shop).await?.as_secs_f64() * 1_000.0);
        stage.close(shop).await?;
    }
    Ok(all)
}

/// A daemon with nothing to do, over a minute and a tick of the default schedule.
pub(crate) async fn idle(stage: &mut Stage) -> Result<Idle> {
    say("an idle daemon");
    let shop = stage.shop(Answers::Good, 0, IN_FLIGHT).await?;
    let idle = daemons::idle(stage, &shop, Duration::from_mins(1)).await?;
    stage.close(shop).await?;
    Ok(idle)
}
