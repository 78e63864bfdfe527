//! The measurements behind the README's figures: the program against what its HTTP client reaches without a database.
//!
//! `script/bench` runs it and shows what comes out; here it is measured, and written as JSON to a file.

mod account;
mod daemons;
mod figures;
mod limit;
mod load;
mod parts;
mod provider;
mod relay;
mod stage;
mod sweep;
mod usage;
mod writers;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use figures::Results;
use stage::{Shop, Stage};
use tokio::process::Command;

/// What was asked for.
#[derive(Debug, Default)]
struct Arguments {
    full: bool,
    only: Vec<String>,
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::read(std::env::args().skip(1))?;
    // Without one, building a client panics. A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(file) = &arguments.json else {
        // As one of the targets of `cargo bench` or `cargo test` it has nothing to prove.
        return Ok(writeln!(io::stderr(), "run script/bench, or say where to: --json FILE")?);
    };
    let mut stage = Stage::start(Path::new(env!("CARGO_BIN_EXE_geft-sweeper"))).await?;
    let results = measure(&mut stage, &arguments).await;
    stage.stop().await?;
    fs::write(file, serde_json::to_vec_pretty(&results?)?).with_context(|| format!("writing {}", file.display()))
}

async fn measure(stage: &mut Stage, arguments: &Arguments) -> Result<Results> {
    let postgres = sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(stage.admin()).await?;
    let mut results = Results { machine: machine()?, postgres, ..Results::default() };
    if arguments.names("sandbox") {
        results.sandbox = Some(parts::sandbox(stage).await?);
    }
    if arguments.names("rounds") {
        for (case, rounds) in parts::cases(arguments.full) {
            for _ in 0..rounds {
                results.rounds.push(parts::round(stage, case).await?);
            }
        }
    }
    if arguments.names("round-trips") {
        results.round_trips = Some(parts::round_trips(stage).await?);
    }
    if arguments.names("history") {
        results.with_history = Some(parts::with_history(stage).await?);
    }
    if arguments.names("scale-out") {
        results.scale_out = parts::scale_out(stage).await?;
    }
    if arguments.names("start") {
        results.start_ms = parts::start(stage).await?;
    }
    if arguments.names("idle") {
        results.idle = Some(parts::idle(stage).await?);
    }
    if arguments.names("notify") {
        results.notify = writers::run(stage).await?;
    }
    Ok(results)
}

impl Arguments {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut read = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--full" => read.full = true,
                "--only" => read.only.push(arguments.next().context("--only needs the name of a part")?),
                "--json" => read.json = Some(arguments.next().context("--json needs a file")?.into()),
                // What cargo adds by itself.
                "--bench" | "--test" => {}
                other => bail!("{other} is no option here: --full, --only PART, --json FILE"),
            }
        }
        Ok(read)
    }

    fn names(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }
}

/// The processor and how many cores of it.
fn machine() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism()?;
    Ok(format!("{cores} × {}", name.unwrap_or("an unknown processor")))
}

/// Says on standard error what is going on.
fn say(what: &str) {
    // Nobody to say it to is no reason to stop.
    writeln!(io::stderr(), "{what}").ok();
}

/// A sweep of which only the result counts.
async fn sweep_alone(stage: &Stage, shop: &Shop, environment: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(stage.program());
    command.args(["sweep", "--json", "--config"]).arg(&shop.config_file).envs(environment.iter().copied());
    Ok(command.output().await?)
}

/// Microseconds a session.
fn per_session(time: Duration, sessions: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far from 2^52 sessions")]
    let sessions = sessions as f64;
    time.as_secs_f64() * 1e6 / sessions
}
