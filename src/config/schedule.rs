//! `[schedule]`: when to sweep, as a cron pattern that the scheduler takes and that means what it seems to.
//!
//! Asks no clock: whether a pattern ever fires is found out from a fixed day.

use chrono::DateTime;
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use super::draft::Draft;
use super::problem::{escaped, quoted};
use super::settings::Schedule;

pub(super) fn read(draft: &mut Draft) -> Option<Schedule> {
    let pattern = draft.text("schedule.sweep")?;
    match with_seconds(&pattern) {
        Ok(sweep) => Some(Schedule { sweep }),
        Err(complaint) => {
            draft.refuse("schedule.sweep", format!("is {}, {complaint}", quoted(&pattern)));
            None
        }
    }
}

/// The pattern with its seconds field, one blank between fields.
fn with_seconds(pattern: &str) -> Result<String, String> {
    let mut fields: Vec<&str> = pattern.split_whitespace().collect();
    match fields.len() {
        5 => fields.insert(0, "0"),
        6 => {}
        number => {
            return Err(format!(
                "which has {number} fields: write five (minute, hour, day of the month, month, day of the week), \
                 or six with the seconds in front"
            ));
        }
    }
    let pattern = fields.join(" ");
    let cron = parse(&pattern).map_err(|reason| format!("which is no cron pattern: {reason}"))?;
    if restricts(fields[3]) && restricts(fields[5]) {
        return Err(
            "which restricts both the day of the month and the day of the week: cron would take days that match \
                    one of them, the scheduler takes only days that match both, so leave one of them as *"
                .to_owned(),
        );
    }
    if cron.find_next_occurrence(&DateTime::UNIX_EPOCH, false).is_err() {
        return Err("which never comes: there is no such day".to_owned());
    }
    Ok(pattern)
}

/// With the scheduler's own options, so that what passes here passes there.
fn parse(pattern: &str) -> Result<Cron, String> {
    let parser = CronParser::builder().seconds(Seconds::Required).dom_and_dow(true).build();
    // Its words have parts of the pattern in them.
    parser.parse(pattern).map_err(|error| escaped(error.to_string().trim_end_matches('.')))
}

fn restricts(field: &str) -> bool {
    !matches!(field, "*" | "?")
}
