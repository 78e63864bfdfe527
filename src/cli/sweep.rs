//! The command `sweep`: one sweep, to its end; or, with `--dry-run`, what it would cancel.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use geft_sweeper::ledger::{Ledger, Sweep, Trigger};
use geft_sweeper::lifecycle::Lifecycle;
use geft_sweeper::session::Candidate;
use geft_sweeper::sweep::{DryRun, Ended, Sweeper};
use geft_sweeper::telemetry;
use tokio_util::sync::CancellationToken;

use super::progress::Bar;
use super::{Verdict, output, wiring};

pub(super) const EXAMPLES: &str = "Examples:
  geft-sweeper sweep --dry-run     what would be canceled now, and why; calls and writes nothing
  geft-sweeper sweep               what is due now
  geft-sweeper sweep --wait 10m    and retries that fall due within ten minutes
  geft-sweeper sweep --json | jq .canceled";

/// Sessions paid after abandonment that the report names at the most; the view has them all.
const PAID: u32 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Wait for retries that fall due within this time, such as 90s or 10m
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = super::duration)]
    wait: Duration,
    /// Print what would be canceled and why; call and write nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments, lifecycle: Lifecycle) -> anyhow::Result<Verdict> {
    let config = wiring::configuration(file)?;
    let bar = Bar::on_terminal();
    let lines = bar.clone();
    let _left_out = telemetry::start_logs(&config.log, move || lines.writer())?;
    let wired = wiring::wire(config)?;
    if arguments.dry_run {
        let schema = wired.ledger.schema().await?;
        return dry_run(wired, schema.is_usable(), arguments.json, lifecycle).await;
    }
    let ended = conduct(&wired, arguments.wait, &bar, lifecycle.stop).await?;
    report(&wired.ledger, &ended.sweep, arguments.json).await?;
    if let Some(held) = ended.held_back.filter(|_| ended.cut_short.is_none()) {
        writeln!(std::io::stderr().lock(), "geft-sweeper: not everything was sent: {}", held.why.sentence()).ok();
    }
    match ended.cut_short {
        Some(why) => Err(anyhow::anyhow!("the sweep was cut short: {why}")),
        None => Ok(Verdict::Good),
    }
}

/// One sweep from its schema to its report, with a progress bar where somebody may be looking.
pub(super) async fn conduct(
    wired: &wiring::Wired,
    wait: Duration,
    bar: &Bar,
    stop: CancellationToken,
) -> anyhow::Result<Ended> {
    wiring::ready_schema(wired).await?;
    let sweeper = Sweeper::new(&wired.config, wired.database.clone(), wired.ledger.clone(), stop)?;
    let showing = bar.show(&sweeper);
    let alive = tokio::spawn(show_alive(sweeper.clone()));
    let ended = sweeper.sweep(Trigger::Command, wait).await;
    alive.abort();
    showing.finish().await;
    sweeper.finish_traces().await;
    // The process ends in any case; a name left on the list is forgotten after a day.
    wired.ledger.say_goodbye().await.ok();
    ended.map_err(wiring::by_fault)
}

async fn report(ledger: &Ledger, sweep: &Sweep, json: bool) -> anyhow::Result<()> {
    if json {
        return wiring::print(&serde_json::to_string(sweep)?);
    }
    wiring::print(&output::sweep(sweep))?;
    let Ok(number @ 1..) = u32::try_from(sweep.paid_after_abandonment) else { return Ok(()) };
    let mut paid = ledger.paid_after_abandonment(number.min(PAID)).await?;
    paid.retain(|session| session.found_at >= sweep.started_at);
    if paid.is_empty() { Ok(()) } else { wiring::print(&output::paid(&paid)) }
}

async fn show_alive(sweeper: Sweeper) {
    let mut interval = tokio::time::interval(Duration::from_secs(5));
    loop {
        interval.tick().await;
        // Whoever needs the database for the sweep itself says what is wrong with it.
        sweeper.show_alive("sweep").await.ok();
    }
}

async fn dry_run(
    wired: wiring::Wired,
    schema_there: bool,
    json: bool,
    lifecycle: Lifecycle,
) -> anyhow::Result<Verdict> {
    if !schema_there {
        let mend = wired.ledger.schema().await?.mend();
        writeln!(
            std::io::stderr().lock(),
            "geft-sweeper: {mend}; until then this lists sessions as if none had been taken on before"
        )
        .ok();
    }
    let stop = lifecycle.stop;
    let sweeper = Sweeper::new(&wired.config, wired.database, wired.ledger, stop.clone())?;
    let mut found = Found::begin(json)?;
    let braked = tokio::select! {
        done = sweeper.dry_run(schema_there, &mut found) => done.map_err(wiring::by_fault)?,
        () = stop.cancelled() => return Ok(Verdict::Bad),
    };
    found.end()?;
    if let Some(sentence) = braked {
        writeln!(std::io::stderr().lock(), "geft-sweeper: a sweep would be held back: {sentence}").ok();
    }
    Ok(Verdict::Good)
}

/// What a dry run finds, written out as it comes, so that memory does not grow with it.
struct Found {
    json: bool,
    candidates: u64,
    skipped: u64,
}

impl Found {
    fn begin(json: bool) -> std::io::Result<Self> {
        if json {
            write!(std::io::stdout().lock(), r#"{{"dry_run":true,"sessions":["#)?;
        }
        Ok(Self { json, candidates: 0, skipped: 0 })
    }

    fn end(&self) -> std::io::Result<()> {
        let Self { candidates, skipped, .. } = self;
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, r#"],"would_cancel":{candidates},"skipped":{skipped}}}"#)
        } else {
            writeln!(
                out,
                "{candidates} sessions would be canceled; {skipped} source rows cannot be used; nothing was called or written"
            )
        }
    }

    fn line(candidate: &Candidate) -> String {
        let created = candidate.source_created_at.map_or_else(|| "-".to_owned(), |at| output::moment(&at));
        let text = |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| output::outside(text));
        format!(
            "{}  {:<10}  {:<14}  {}  {}",
            candidate.session_id,
            output::outside(candidate.reason.as_str()),
            text(candidate.source_status.as_ref()),
            created,
            text(candidate.reference_id.as_ref()),
        )
    }
}

impl DryRun for Found {
    fn candidates(&mut self, candidates: &[Candidate]) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for candidate in candidates {
            if self.json {
                let comma = if self.candidates == 0 { "" } else { "," };
                let one = serde_json::json!({
                    "session_id": candidate.session_id.uuid(),
                    "reference_id": candidate.reference_id,
                    "reason": candidate.reason.as_str(),
                    "source_status": candidate.source_status,
                    "source_created_at": candidate.source_created_at,
                });
                write!(out, "{comma}{one}")?;
            } else {
                writeln!(out, "{}", Self::line(candidate))?;
            }
            self.candidates += 1;
        }
        Ok(())
    }

    fn skipped(&mut self, number: u64) -> std::io::Result<()> {
        self.skipped += number;
        Ok(())
    }
}
