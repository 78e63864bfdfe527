//! The command `demo`: the main job on an embedded default, from an empty machine to the audit rows.
//!
//! It makes the surroundings and shows the results; the sweep between the two is the one of the command `sweep`. It touches
//! no database but its own, and leaves nothing behind: whatever it writes lies in the folder of the private PostgreSQL, whose
//! watchdog removes it even when this process is killed.

mod made_up;
mod stage;
mod telling;

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use geft_sweeper::ledger::Ledger;
use geft_sweeper::lifecycle::Lifecycle;
use geft_sweeper::postgres::{Options, PrivatePostgres};
use tokio_util::sync::CancellationToken;

use super::progress::Bar;
use super::{Verdict, output, sweep, wiring};
use made_up::Session;
use stage::Stage;

pub(super) const EXAMPLES: &str = "Examples:
  geft-sweeper demo                     some seconds, then everything is gone again
  geft-sweeper demo --keep-running      everything stays up to be played with, until Ctrl-C
  geft-sweeper demo --sessions 20000 --seed 7";

/// Longer than any demo: the sweep ends as soon as nothing is left to do.
const WAIT: Duration = Duration::from_hours(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How many sessions to make up
    #[arg(long, value_name = "NUMBER", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sessions: u32,
    /// The same seed makes up the same sessions, and the same faults
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Keep database and API up until Ctrl-C, and print commands for another terminal
    #[arg(long)]
    keep_running: bool,
}

pub(super) async fn run(arguments: Arguments, lifecycle: Lifecycle) -> anyhow::Result<Verdict> {
    wiring::print("Starting a private PostgreSQL and a local GEFT API; nothing else here is touched.")?;
    let postgres = PrivatePostgres::start(Options::default()).await?;
    let shown = show(&postgres, &arguments, &lifecycle.stop).await;
    // In any case, and to its end: whatever is said below is said when nothing is left.
    let gone = postgres.stop().await;
    shown?;
    gone?;
    wiring::print(&telling::farewell(arguments.keep_running))?;
    Ok(Verdict::Good)
}

/// Everything between the start of the server and its end.
async fn show(postgres: &PrivatePostgres, arguments: &Arguments, stop: &CancellationToken) -> anyhow::Result<()> {
    let sessions = made_up::sessions(arguments.sessions, arguments.seed);
    let stage = Stage::set(postgres, arguments.seed, &sessions).await?;
    wiring::print(&telling::introduction(&sessions))?;
    let wired = wiring::wire(stage.configuration()?)?;
    let (database, ledger) = (wired.database.clone(), wired.ledger.clone());
    let ended = sweep::conduct(&wired, WAIT, &Bar::on_terminal(), stop.clone()).await?;
    if let Some(why) = ended.cut_short {
        anyhow::bail!("the demo was cut short: {why}");
    }
    // The progress bar stands between, where there is one.
    let gap = if std::io::stderr().is_terminal() { "\n" } else { "" };
    wiring::print(&format!("{gap}{}", output::sweep(&ended.sweep)))?;
    tell_what_was_found(&ledger, database.pool()).await?;
    if arguments.keep_running { stay(&stage, &sessions, stop).await } else { Ok(()) }
}

/// What the ledger says, read as anybody may read it.
async fn tell_what_was_found(ledger: &Ledger, pool: &sqlx::PgPool) -> anyhow::Result<()> {
    let paid = ledger.paid_after_abandonment(telling::PAID_SHOWN).await?;
    let number = ledger.count_paid_after_abandonment().await?;
    wiring::print(&telling::paid(&paid, number))?;
    let rows = telling::audit_rows(pool).await.context("the audit table could not be read")?;
    wiring::print(&telling::audit(&rows))
}

/// Keeps everything up until the user has enough.
async fn stay(stage: &Stage, sessions: &[Session], stop: &CancellationToken) -> anyhow::Result<()> {
    // What the user tries next is to work at the first go.
    stage.sandbox.set_faults(stage::calm())?;
    wiring::print(&telling::invitation(stage, sessions))?;
    stop.cancelled().await;
    Ok(())
}
