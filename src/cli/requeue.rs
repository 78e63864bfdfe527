//! The command `requeue`: failed sessions become pending with a fresh budget.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use geft_sweeper::ledger::{Ledger, RequeueSelection, Requeued};
use geft_sweeper::outcome::Outcome;
use geft_sweeper::session::SessionId;

use super::{Misused, Verdict, output, wiring};

pub(super) const EXAMPLES: &str = "Examples:
  geft-sweeper requeue --session 0b5a3c1e-8f5e-4a55-9d0c-2f7b7f3f6d11
  geft-sweeper requeue --outcome rejected --since 2h --dry-run
  geft-sweeper requeue --outcome not_found --since 2026-11-01T00:00:00Z";

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["session", "outcome"]))]
pub(super) struct Arguments {
    /// These sessions
    #[arg(long, value_name = "ID", num_args = 1.., value_parser = session, conflicts_with_all = ["outcome", "since"])]
    session: Vec<SessionId>,
    /// Sessions whose last attempt ended so
    #[arg(long, value_name = "OUTCOME", value_parser = outcome, requires = "since")]
    outcome: Option<Outcome>,
    /// And that failed since then: a time such as 2026-11-01T00:00:00Z, a date (UTC), or how long ago, such as 2h
    #[arg(long, value_name = "TIME", value_parser = since, requires = "outcome")]
    since: Option<Since>,
    /// Only say which
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug)]
enum Since {
    Moment(DateTime<Utc>),
    Ago(Duration),
}

fn session(text: &str) -> Result<SessionId, &'static str> {
    text.parse().map_err(|_| "give a session's UUID, such as 0b5a3c1e-8f5e-4a55-9d0c-2f7b7f3f6d11")
}

fn outcome(text: &str) -> Result<Outcome, String> {
    let known = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == text);
    known.ok_or_else(|| {
        let names: Vec<&str> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        format!("the outcomes are {}", names.join(", "))
    })
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(Since::Moment(moment.to_utc()));
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(Since::Moment(date.and_time(NaiveTime::MIN).and_utc()));
    }
    humantime::parse_duration(text).map(Since::Ago).map_err(|_| {
        "give a time such as 2026-11-01T00:00:00Z, a date such as 2026-11-01, or how long ago, such as 2h".to_owned()
    })
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> anyhow::Result<Verdict> {
    let wired = wiring::wire(wiring::configuration(file)?)?;
    wiring::require_schema(&wired.ledger).await?;
    let selection = selection(arguments, &wired.ledger).await?;
    let requeued = wired.ledger.requeue(&selection, arguments.dry_run).await?;
    for Requeued { session_id, last_outcome, attempts } in &requeued {
        let outcome = last_outcome.as_deref().unwrap_or("-");
        wiring::print(&format!("{session_id}  {outcome}  after {}", output::counted(i64::from(*attempts), "attempt")))?;
    }
    let done = if arguments.dry_run { "would be requeued; nothing was written" } else { "requeued" };
    let number = i64::try_from(requeued.len())?;
    wiring::print(&format!("{} {done}", output::counted(number, "session")))?;
    let missing: Vec<&SessionId> =
        arguments.session.iter().filter(|id| !requeued.iter().any(|one| one.session_id == id.uuid())).collect();
    for id in missing {
        writeln!(std::io::stderr().lock(), "geft-sweeper: session {id} is not failed, so it was left as it is").ok();
    }
    Ok(Verdict::Good)
}

async fn selection(arguments: &Arguments, ledger: &Ledger) -> anyhow::Result<RequeueSelection> {
    let Some(outcome) = arguments.outcome else {
        return Ok(RequeueSelection::Sessions(arguments.session.iter().map(|id| id.uuid()).collect()));
    };
    let since = match arguments.since {
        Some(Since::Moment(moment)) => moment,
        Some(Since::Ago(ago)) => ledger.moment_before(ago.as_secs_f64()).await.context("--since")?,
        None => return Err(Misused("--outcome needs --since".to_owned()).into()),
    };
    Ok(RequeueSelection::Outcome { outcome: outcome.as_str().to_owned(), since })
}
