//! The command `status`: where things stand, from the database alone. It changes nothing.

use std::path::Path;

use geft_sweeper::ledger::Ledger;
use serde_json::json;

use super::{Verdict, output, wiring};

/// Sweeps shown.
const SWEEPS: u32 = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> anyhow::Result<Verdict> {
    let wired = wiring::wire(wiring::configuration(file)?)?;
    wiring::require_schema(&wired.ledger).await?;
    let shown = if arguments.json { as_json(&wired.ledger).await? } else { as_text(&wired.ledger).await? };
    wiring::print(&shown)?;
    Ok(Verdict::Good)
}

async fn as_json(ledger: &Ledger) -> anyhow::Result<String> {
    let backlog = ledger.backlog().await?;
    let processes = ledger.processes().await?;
    let held_back_by: Vec<_> = processes
        .iter()
        .filter_map(|process| {
            let reason = process.held_back_by.as_ref()?;
            Some(json!({ "instance": process.instance, "reason": reason, "until": process.held_back_until }))
        })
        .collect();
    let status = json!({
        "backlog": backlog.states,
        "oldest_due": backlog.oldest_due,
        "sweeps": ledger.latest_sweeps(SWEEPS).await?,
        "processes": processes,
        "held_back_by": held_back_by,
        "paid_after_abandonment": ledger.count_paid_after_abandonment().await?,
    });
    Ok(status.to_string())
}

async fn as_text(ledger: &Ledger) -> anyhow::Result<String> {
    let backlog = ledger.backlog().await?;
    let states = backlog.states.iter().map(|(state, number)| vec![state.clone(), number.to_string()]);
    let mut text = output::table(&["state", "sessions"], states);
    let oldest = backlog.oldest_due.map_or_else(|| "nothing is pending".to_owned(), |at| output::moment(&at));
    text += &format!("\n\noldest due: {oldest}");
    text += &format!("\npaid after abandonment: {}", ledger.count_paid_after_abandonment().await?);
    let sweeps = ledger.latest_sweeps(SWEEPS).await?;
    text += &format!("\n\nlast sweeps:\n{}", output::sweeps(&sweeps));
    let processes = ledger.processes().await?;
    text += "\n\nprocesses alive:";
    if processes.is_empty() {
        text += " none";
    }
    for process in processes {
        text += &format!(
            "\n  {} ({} {}, since {})",
            process.instance,
            process.command,
            process.version,
            output::moment(&process.started_at)
        );
        if let Some(reason) = process.held_back_by {
            let until =
                process.held_back_until.map_or_else(String::new, |at| format!(" until {}", output::moment(&at)));
            text += &format!(": sending is held back by {reason}{until}");
        }
    }
    Ok(text)
}
