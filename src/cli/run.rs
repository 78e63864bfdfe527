//! The command `run`: the daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use geft_sweeper::daemon::Daemon;
use geft_sweeper::figures;
use geft_sweeper::health::Health;
use geft_sweeper::lifecycle::{Hangups, Lifecycle};
use geft_sweeper::reload::Reloader;
use geft_sweeper::schedule::Schedule;
use geft_sweeper::server::{self, Shown};
use geft_sweeper::sweep::Sweeper;
use geft_sweeper::systemd::{self, Manager};
use geft_sweeper::{telemetry, wake};

use super::{Verdict, wiring};

/// What the loop may take beyond its longest statement and its lease before it counts as wedged.
const SLACK: Duration = Duration::from_secs(30);

pub(super) async fn run(file: Option<&Path>, lifecycle: Lifecycle) -> anyhow::Result<Verdict> {
    // Before anything else: until somebody listens, it ends the process.
    let hangups = Hangups::listen()?;
    let config = wiring::configuration(file)?;
    let logs = telemetry::start_logs(&config.log, std::io::stderr)?;
    let metrics = config.server.listen.map(|_| telemetry::start_metrics()).transpose()?;
    let wired = wiring::wire(config)?;
    let config = wired.config;
    let sweeper = Sweeper::new(&config, wired.database.clone(), wired.ledger.clone(), lifecycle.stop.clone())?;
    let (health, manager) = (Arc::new(Health::default()), Manager::default());
    let patience = (config.retry.lease + config.database.statement_timeout) * 2 + SLACK;
    if let (Some(address), Some(metrics)) = (config.server.listen, metrics) {
        let shown = Shown { health: Arc::clone(&health), sweeper: sweeper.clone(), metrics, patience };
        figures::start(wired.ledger.clone(), Arc::clone(&health), lifecycle.stop.clone());
        let bound = server::start(address, shown, lifecycle.stop.clone()).await?;
        tracing::info!(event = "server.listening", server.address = %bound, "health and metrics are served");
    }
    let _listening = wake::listen(wired.database.clone(), sweeper.wakes());
    let schedule = Schedule::start(&config.schedule).await?;
    tracing::info!(
        event = "process.started",
        process.instance = wired.ledger.instance().name(),
        process.version = geft_sweeper::VERSION,
        process.commit = geft_sweeper::COMMIT,
        schedule.sweep = config.schedule.sweep,
        database.place = wired.database.place(),
        api.base_url = %config.api.base_url,
        "geft-sweeper has started"
    );
    let shown = systemd::Shown {
        health: Arc::clone(&health),
        sweeper: sweeper.clone(),
        ledger: wired.ledger.clone(),
        forecast: schedule.forecast(),
        patience,
        stop: lifecycle.stop.clone(),
    };
    let (database, origin) = (wired.database, config.origin);
    let reloader = Reloader { origin, logs, database, sweeper: sweeper.clone(), manager: manager.clone() };
    let (auto_migrate, stop) = (config.database.auto_migrate, lifecycle.stop);
    let daemon = Daemon { health, sweeper, ledger: wired.ledger, auto_migrate, manager: manager.clone(), stop };
    let ended = tokio::select! {
        (ended, ()) = async { tokio::join!(daemon.run(schedule), manager.keep_told(shown)) } => ended,
        never = reloader.run(hangups) => match never {},
    };
    daemon.sweeper.finish_traces().await;
    tracing::info!(event = "process.ended", "geft-sweeper has ended");
    ended?;
    Ok(Verdict::Good)
}
