//! The command line: a file for each command, and what they share.
//!
//! Standard output carries results alone; errors go to standard error, each as one sentence.

mod accept_api;
mod allow;
mod check;
mod demo;
#[cfg(test)]
mod documents;
mod migrate;
mod output;
mod progress;
mod requeue;
mod run;
mod sandbox;
mod status;
mod sweep;
mod wiring;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use geft_sweeper::config::Problem;
use geft_sweeper::lifecycle::Lifecycle;

/// It could not run, or was cut short.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
const MISUSED: u8 = 2;

/// A name longer than this, in characters, is none.
const LONGEST_NAME: usize = 200;

/// Cancels abandoned Flinks Pay GEFT sessions and keeps an audit trail of every attempt in Postgres.
#[derive(Debug, Parser)]
#[command(name = "geft-sweeper", version = geft_sweeper::VERSION_AND_COMMIT, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    /// The configuration file [default: geft-sweeper.toml here, then /etc/geft-sweeper/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  geft-sweeper demo                        see the main job at work, on a private database
  geft-sweeper check                       prove a set-up before it goes live
  geft-sweeper sweep --dry-run             what would be canceled now, and why
  geft-sweeper run --config sweeper.toml   the daemon

Exit status: 0 it ran to its end, 1 it could not run or was cut short, 2 the command line or the configuration is wrong.";

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon: sweeps on the cron schedule until SIGTERM or SIGINT
    #[command(after_help = "Example:\n  geft-sweeper run --config /etc/geft-sweeper/config.toml")]
    Run,
    /// One sweep, to its end, then exit
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(sweep::Arguments),
    /// Brings the `geft_sweeper` schema up to date, and says what it did
    #[command(after_help = "Example:\n  geft-sweeper migrate --config /etc/geft-sweeper/config.toml")]
    Migrate,
    /// Proves a set-up before it goes live
    #[command(
        after_help = "Examples:\n  geft-sweeper check\n  geft-sweeper check --json | jq '.checks[] | select(.result != \"ok\")'"
    )]
    Check(check::Arguments),
    /// Backlog by state, last sweeps, processes alive, what holds sending back
    #[command(after_help = "Examples:\n  geft-sweeper status\n  geft-sweeper status --json | jq .backlog")]
    Status(status::Arguments),
    /// Failed sessions become pending with a fresh budget
    #[command(after_help = requeue::EXAMPLES)]
    Requeue(requeue::Arguments),
    /// Releases sessions past the limit on how many are taken on within ten minutes
    #[command(after_help = allow::EXAMPLES)]
    Allow(allow::Arguments),
    /// The sessions of this database may be sent to the API of this configuration, or no longer
    #[command(after_help = accept_api::EXAMPLES)]
    AcceptApi(accept_api::Arguments),
    /// A local GEFT API for trying things out, with faults that can be set
    Sandbox(Box<sandbox::SandboxArgs>),
    /// The main job on a private PostgreSQL and the sandbox; leaves nothing behind
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Arguments),
}

/// The configuration is wrong: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{}", sentences(.0))]
struct Misconfigured(Vec<Problem>);

fn sentences(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The command line asks for something that makes no sense: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misused(String);

/// How a command that ran to its end wants the process to end.
enum Verdict {
    Good,
    /// It has said why.
    Bad,
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return say(&anyhow::Error::new(error).context("the runtime could not be started")),
    };
    let code = runtime.block_on(async {
        let lifecycle = match Lifecycle::listen() {
            Ok(lifecycle) => lifecycle,
            Err(error) => return say(&anyhow::Error::new(error).context("signals cannot be listened to")),
        };
        let abort = lifecycle.abort.clone();
        tokio::select! {
            done = dispatch(arguments, lifecycle) => match done {
                Ok(Verdict::Good) => ExitCode::SUCCESS,
                Ok(Verdict::Bad) => ExitCode::from(FAILED),
                Err(error) => say(&error),
            },
            () = abort.cancelled() => ExitCode::from(FAILED),
        }
    });
    // Tasks that are under way are not waited for: what had to be finished has been.
    runtime.shutdown_background();
    code
}

async fn dispatch(arguments: Arguments, lifecycle: Lifecycle) -> anyhow::Result<Verdict> {
    let stop = lifecycle.stop.clone();
    let command = arguments.command;
    let file = arguments.config.as_deref();
    let orderly = matches!(command, Command::Run | Command::Sweep(_) | Command::Sandbox(_) | Command::Demo(_));
    let running = run(command, file, lifecycle);
    tokio::select! {
        done = running => done,
        // The others hold nothing that would have to be put in order.
        () = stop.cancelled(), if !orderly => Ok(Verdict::Bad),
    }
}

async fn run(command: Command, file: Option<&Path>, lifecycle: Lifecycle) -> anyhow::Result<Verdict> {
    match command {
        // Boxed, so that the other commands do not carry it along.
        Command::Run => Box::pin(run::run(file, lifecycle)).await,
        Command::Sweep(arguments) => sweep::run(file, &arguments, lifecycle).await,
        Command::Migrate => migrate::run(file).await,
        Command::Check(arguments) => check::run(file, &arguments).await,
        Command::Status(arguments) => status::run(file, &arguments).await,
        Command::Requeue(arguments) => requeue::run(file, &arguments).await,
        Command::Allow(arguments) => allow::run(file, &arguments).await,
        Command::AcceptApi(arguments) => accept_api::run(file, &arguments).await,
        Command::Sandbox(arguments) => sandbox::run(*arguments, lifecycle.stop).await.map(|()| Verdict::Good),
        Command::Demo(arguments) => demo::run(arguments, lifecycle).await,
    }
}

/// Help is shown as it is; what is wrong with the command line is told in one sentence, as every other error.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Nobody is left to tell where the output is closed.
        error.print().ok();
        return ExitCode::from(if error.use_stderr() { MISUSED } else { 0 });
    }
    say(&Misused(sentence(&error.render().to_string())).into())
}

/// What the parser says, without the usage that it repeats: `--help` has it.
fn sentence(said: &str) -> String {
    let mut sentence = String::new();
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information")) {
        let (line, between) = match line.strip_prefix("tip: ") {
            Some(tip) => (tip, "; "),
            None => (line.strip_prefix("error: ").unwrap_or(line), " "),
        };
        sentence.push_str(if sentence.is_empty() { "" } else { between });
        sentence.push_str(line);
    }
    sentence + "; see --help"
}

/// Reads a duration from the command line.
fn duration(text: &str) -> Result<Duration, &'static str> {
    humantime::parse_duration(text).map_err(|_| "give a duration such as 90s or 10m")
}

/// Reads who does something, from the command line.
fn actor(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.contains(char::is_control) {
        return Err("give the name of whoever takes the responsibility, on one line");
    }
    Ok(name.to_owned())
}

/// Says an error on standard error, a sentence a line, and gives the exit status that belongs to it.
fn say(error: &anyhow::Error) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    for line in error.to_string().lines() {
        // Nobody is left to tell where standard error is closed.
        writeln!(stderr, "geft-sweeper: {line}").ok();
    }
    let misused = error.is::<Misconfigured>() || error.is::<Misused>();
    ExitCode::from(if misused { MISUSED } else { FAILED })
}
