//! The fault laboratory: the real program under faults, and three records reconciled after each.
//!
//! `cargo test` runs its short form, several scenarios at a time; `script/faults` runs the full one, one after the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a scenario fails by a panic, in its helpers too"
)]

mod arguments;
mod barrier;
mod proxy;
mod reconcile;
mod records;
mod report;
mod scenarios;
mod stage;

#[allow(dead_code, unused_imports, reason = "the integration tests use more of their support than the laboratory")]
#[path = "../integration"]
mod harness {
    pub(crate) mod support;
}

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use arguments::{Arguments, Task};
use report::Told;
use scenarios::{ALL, Lab, Scenario};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

/// Scenarios at a time in the short form: most of their time they wait.
const AT_A_TIME: usize = 8;

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => LocalSet::new().run_until(run(&arguments)).await.unwrap_or(ExitCode::FAILURE),
        Err(sentence) => {
            writeln!(io::stderr(), "{sentence}").ok();
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let meant = ALL.iter().filter(|scenario| arguments.full || scenario.is_short);
    let meant: Vec<Scenario> = meant.filter(|scenario| arguments.names(scenario.name)).copied().collect();
    if arguments.task == Task::List {
        let mut out = io::stdout().lock();
        for scenario in meant {
            writeln!(out, "{}: test", scenario.name)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(0..1_000_000));
    let told = tell(&meant, arguments.full, seed).await?;
    report::closing(&told, seed)?;
    Ok(if told.iter().all(Told::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the scenarios and says of each what came of it; in their own order at the end.
async fn tell(meant: &[Scenario], full: bool, seed: u64) -> io::Result<Vec<Told>> {
    let room = Arc::new(Semaphore::new(if full { 1 } else { AT_A_TIME }));
    let mut running = JoinSet::new();
    for (position, scenario) in meant.iter().copied().enumerate() {
        let room = Arc::clone(&room);
        running.spawn_local(async move {
            let _room = room.acquire_owned().await;
            (position, observe(scenario, full, seed).await)
        });
    }
    let mut told = Vec::new();
    while let Some(done) = running.join_next().await {
        let (position, one) = done.map_err(io::Error::other)?;
        report::line(&one)?;
        told.push((position, one));
    }
    told.sort_unstable_by_key(|(position, _)| *position);
    Ok(told.into_iter().map(|(_, one)| one).collect())
}

/// Runs one scenario in a task of its own, so that a panic ends it alone.
async fn observe(scenario: Scenario, full: bool, seed: u64) -> Told {
    // Each has its own chance, whichever others run.
    let own = scenario.name.bytes().fold(seed, |seed, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let lab = Lab { full, random: fastrand::Rng::with_seed(own) };
    let began = Instant::now();
    let result = tokio::task::spawn_local((scenario.run)(lab)).await;
    let result = result.map_err(|error| match error.try_into_panic() {
        Ok(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            words.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
        }
        Err(error) => error.to_string(),
    });
    Told { name: scenario.name, took: began.elapsed(), result }
}
