//! The command `migrate`: brings the schema up to date, and says what it did.

use std::path::Path;

use geft_sweeper::ledger::{Migrated, Schema};

use super::{Verdict, wiring};

pub(super) async fn run(file: Option<&Path>) -> anyhow::Result<Verdict> {
    let wired = wiring::wire(wiring::configuration(file)?)?;
    let Migrated { from, to } = wired.ledger.migrate().await?;
    let schema = wired.ledger.schema().await?;
    anyhow::ensure!(schema.is_usable(), schema.mend());
    wiring::print(&match from {
        None => format!("created the schema geft_sweeper, at version {to}"),
        Some(from) if from == to && schema == Schema::Current => {
            format!("the schema geft_sweeper is current, at version {to}: nothing was written")
        }
        Some(from) if from == to => format!("{}: nothing was written", schema.mend()),
        Some(from) => format!("brought the schema geft_sweeper from version {from} to version {to}"),
    })?;
    Ok(Verdict::Good)
}
