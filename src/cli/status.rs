//! The command `status`: where things stand, from the database alone. It changes nothing.

use std::path::Path;

use geft_sweeper::ledger::{ActingBrake, Ledger, Process};
use geft_sweeper::throttle::Why;
use serde_json::json;

use super::{Verdict, output, wiring};

/// Sweeps shown.
const SWEEPS: u32 = 10;
/// Sessions paid after abandonment that are shown, the newest; the view has them all.
const PAID: u32 = 20;

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
        "brakes": ledger.acting_brakes().await?,
        "paid_after_abandonment": ledger.count_paid_after_abandonment().await?,
        "latest_paid_after_abandonment": ledger.paid_after_abandonment(PAID).await?,
    });
    Ok(status.to_string())
}

async fn as_text(ledger: &Ledger) -> anyhow::Result<String> {
    let backlog = ledger.backlog().await?;
    let states = backlog.states.iter().map(|(state, number)| vec![state.clone(), number.to_string()]);
    let oldest = backlog.oldest_due.map_or_else(|| "nothing is pending".to_owned(), |at| output::moment(&at));
    let processes = ledger.processes().await?;
    let mut lines = vec![
        output::table(&["state", "sessions"], states),
        String::new(),
        format!("oldest due: {oldest}"),
        paid(ledger).await?,
        String::new(),
        "last sweeps:".to_owned(),
        output::sweeps(&ledger.latest_sweeps(SWEEPS).await?),
        String::new(),
        format!("processes alive: {}", processes.len()),
    ];
    lines.extend(processes.iter().map(process));
    lines.extend(ledger.acting_brakes().await?.iter().map(brake));
    Ok(lines.join("\n"))
}

async fn paid(ledger: &Ledger) -> anyhow::Result<String> {
    let number = ledger.count_paid_after_abandonment().await?;
    let sessions = ledger.paid_after_abandonment(PAID).await?;
    let head = if number > i64::from(PAID) {
        format!("paid after abandonment: {number}, the latest of which are")
    } else {
        format!("paid after abandonment: {number}")
    };
    Ok(if sessions.is_empty() { head } else { format!("{head}\n{}", output::paid(&sessions)) })
}

fn process(process: &Process) -> String {
    let Process { instance, command, version, started_at, held_back_by, held_back_until, circuit, .. } = process;
    let held_back = held_back_by.as_ref().map_or_else(String::new, |reason| {
        let until = held_back_until.map_or_else(String::new, |at| format!(" until {}", output::moment(&at)));
        // A later version may have reasons that this one does not know.
        let means = Why::ALL.into_iter().find(|why| why.as_str() == reason);
        let means = means.map_or_else(String::new, |why| format!(": {}", why.sentence()));
        format!(": sending is held back by {reason}{until}{means}")
    });
    format!("  {instance} ({command} {version}, since {}, circuit {circuit}){held_back}", output::moment(started_at))
}

fn brake(brake: &ActingBrake) -> String {
    let on = brake.instance.as_ref().map_or_else(String::new, |instance| format!(" on {instance}"));
    format!("brake {} acts{on} since {}: {}", brake.name, output::moment(&brake.acting_since), brake.sentence)
}
