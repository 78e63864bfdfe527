//! The command `accept-api`: the sessions of this database may be sent to the API of this configuration, or no longer.

use std::path::Path;

use anyhow::bail;

use super::{Verdict, wiring};

pub(super) const EXAMPLES: &str = "Examples:
  geft-sweeper accept-api --actor alice             new credentials, beside those that are in use
  geft-sweeper accept-api --actor alice --retire    the API of this configuration is not to be used any more";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Who says so, for the record
    #[arg(long, value_name = "NAME", value_parser = super::actor)]
    actor: String,
    /// Not to be sent to any more; processes that do stop within seconds
    #[arg(long)]
    retire: bool,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> anyhow::Result<Verdict> {
    let wired = wiring::wire(wiring::configuration(file)?)?;
    wiring::require_schema(&wired.ledger).await?;
    let api = wiring::api(&wired.config.api);
    let which = format!("{} with this client id", api.origin);
    let actor = &arguments.actor;
    if !arguments.retire {
        let accepted = wired.ledger.accept_api(&api, actor).await?;
        wiring::print(&if accepted {
            format!(
                "{which} is accepted from now on, in the name of {actor}; processes that wait for it go on within seconds"
            )
        } else {
            format!("{which} was accepted already: nothing was written")
        })?;
        return Ok(Verdict::Good);
    }
    let Some(users) = wired.ledger.retire_api(&api, actor).await? else {
        bail!("{which} is not accepted, so there is nothing to retire");
    };
    wiring::print(&format!("{which} is retired, in the name of {actor}"))?;
    if !users.is_empty() {
        wiring::print(&format!("it is in use by {}, which will stop sending within seconds", users.join(", ")))?;
    }
    Ok(Verdict::Good)
}
