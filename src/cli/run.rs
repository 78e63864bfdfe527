//! The command `run`: the daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use geft_sweeper::daemon::Daemon;
use geft_sweeper::health::Health;
use geft_sweeper::lifecycle::Lifecycle;
use geft_sweeper::schedule::Schedule;
use geft_sweeper::server::{self, Shown};
use geft_sweeper::sweep::Sweeper;
use geft_sweeper::telemetry;

use super::{Verdict, wiring};

/// What the loop may take beyond its longest statement and its lease before it counts as wedged.
const SLACK: Duration = Duration::from_secs(30);

pub(super) async fn run(file: Option<&Path>, lifecycle: Lifecycle) -> anyhow::Result<Verdict> {
    let config = wiring::configuration(file)?;
    let _left_out = telemetry::start_logs(&config.log, std::io::stderr)?;
    let counters = telemetry::start_counters()?;
    let wired = wiring::wire(config)?;
    let config = wired.config;
    let sweeper = Sweeper::new(&config, wired.database.clone(), wired.ledger.clone(), lifecycle.stop.clone())?;
    let health = Arc::new(Health::default());
    if let Some(address) = config.server.listen {
        let patience = (config.retry.lease + config.database.statement_timeout) * 2 + SLACK;
        let shown = Shown { health: Arc::clone(&health), sweeper: sweeper.clone(), counters, patience };
        let bound = server::start(address, shown, lifecycle.stop.clone()).await?;
        tracing::info!(event = "server.listening", address = %bound, "health and metrics are served");
    }
    let schedule = Schedule::start(&config.schedule).await?;
    tracing::info!(
        event = "process.started",
        instance = wired.ledger.instance().name(),
        version = env!("CARGO_PKG_VERSION"),
        schedule = config.schedule.sweep,
        database = wired.database.place(),
        api = %config.api.base_url,
        "geft-sweeper has started"
    );
    let daemon = Daemon {
        health,
        sweeper,
        ledger: wired.ledger,
        auto_migrate: config.database.auto_migrate,
        stop: lifecycle.stop,
    };
    let ended = daemon.run(schedule).await;
    tracing::info!(event = "process.ended", "geft-sweeper has ended");
    ended?;
    Ok(Verdict::Good)
}
