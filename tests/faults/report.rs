//! What the laboratory prints: a line for each scenario, what is wrong in full, and a closing table with the seed.

use std::io::{self, Write};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::records::Tally;

/// What came of a scenario: its tally, or why it broke off.
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) result: Result<Tally, String>,
}

impl Told {
    /// Whether nothing is wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.result.as_ref().is_ok_and(|tally| tally.findings.is_empty())
    }

    fn cells(&self) -> Vec<String> {
        let seconds = format!("{:.1}", self.took.as_secs_f64());
        match &self.result {
            Ok(tally) => vec![
                self.name.to_owned(),
                tally.faults.to_string(),
                tally.processes.to_string(),
                tally.requests.to_string(),
                tally.rows.to_string(),
                tally.lost.to_string(),
                seconds,
            ],
            Err(_) => {
                [self.name, "broke off", "", "", "", ""].map(str::to_owned).into_iter().chain([seconds]).collect()
            }
        }
    }
}

/// The line of one scenario, and below it what was measured and everything that is wrong.
pub(crate) fn line(told: &Told) -> io::Result<()> {
    let verdict = if told.is_good() { "ok" } else { "FAILED" };
    let mut out = io::stdout().lock();
    match &told.result {
        Ok(tally) => {
            let Tally { faults, processes, requests, rows, lost, findings, measured } = tally;
            let seconds = told.took.as_secs_f64();
            writeln!(
                out,
                "{verdict:6} {:34} faults {faults:4}  processes {processes}  requests {requests:6}  rows {rows:6}  \
                 lost {lost}  {seconds:6.1} s",
                told.name
            )?;
            for line in measured {
                writeln!(out, "         {line}")?;
            }
            for finding in findings {
                writeln!(out, "         {finding}")?;
            }
        }
        Err(why) => writeln!(out, "{verdict:6} {:34} broke off: {why}", told.name)?,
    }
    out.flush()
}

/// The table of all scenarios with the totals and the seed, and the line that counts them.
pub(crate) fn closing(all: &[Told], seed: u64) -> io::Result<()> {
    let good = all.iter().filter(|told| told.is_good()).count();
    let mut out = io::stdout().lock();
    if !all.is_empty() {
        writeln!(out, "\n{}\n\nseed {seed}", table(all))?;
    }
    writeln!(out, "{good} passed, {} failed", all.len() - good)?;
    out.flush()
}

fn table(all: &[Told]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["scenario", "faults", "processes", "requests", "rows", "lost", "seconds"]);
    for told in all {
        table.add_row(told.cells());
    }
    let tallies = || all.iter().filter_map(|told| told.result.as_ref().ok());
    table.add_row([
        "total".to_owned(),
        tallies().map(|tally| tally.faults).sum::<u64>().to_string(),
        tallies().map(|tally| tally.processes).max().unwrap_or_default().to_string(),
        tallies().map(|tally| tally.requests).sum::<usize>().to_string(),
        tallies().map(|tally| tally.rows).sum::<usize>().to_string(),
        tallies().map(|tally| tally.lost).sum::<usize>().to_string(),
        format!("{:.1}", all.iter().map(|told| told.took.as_secs_f64()).sum::<f64>()),
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
