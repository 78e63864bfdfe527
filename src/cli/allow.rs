//! The command `allow`: releases sessions past the limit of the blast-radius brake, for a while, and says so.
//!
//! It takes nothing on: the next sweep does.

use std::path::Path;
use std::time::Duration;

use super::{Verdict, output, wiring};

pub(super) const EXAMPLES: &str = "Examples:
  geft-sweeper sweep --dry-run                               look first: is it right that they are canceled?
  geft-sweeper allow 2500 --for 1h --actor jane@example.com";

/// Longer, and it would be no exception any more: that is what `brakes.max_discovered` is for.
const LONGEST: Duration = Duration::from_hours(7 * 24);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How many sessions may be taken on past the limit
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    sessions: u32,
    /// For how long, such as 30m or 2h
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = time)]
    time: Duration,
    /// Who says so, for the record
    #[arg(long, value_name = "NAME", value_parser = super::actor)]
    actor: String,
}

fn time(text: &str) -> Result<Duration, &'static str> {
    let time = super::duration(text)?;
    if time.is_zero() || time > LONGEST {
        return Err("give a duration up to 7d; what is to last belongs into brakes.max_discovered");
    }
    Ok(time)
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> anyhow::Result<Verdict> {
    let Arguments { sessions, time, actor } = arguments;
    let wired = wiring::wire(wiring::configuration(file)?)?;
    wiring::require_schema(&wired.ledger).await?;
    let until = wired.ledger.allow(*sessions, time.as_secs_f64(), actor).await?;
    wiring::print(&format!(
        "{} may be taken on past the limit until {}; recorded as released by {actor}",
        output::counted(*sessions, "session"),
        output::moment(&until),
    ))?;
    Ok(Verdict::Good)
}
