//! How results look to people: tables, times.

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use geft_sweeper::ledger::{PaidAfterAbandonment, Sweep};

/// A time for people, to the second, in UTC.
pub(super) fn moment(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A number of things, in the singular where there is one.
pub(super) fn counted(number: impl Into<i128>, thing: &str) -> String {
    let number = number.into();
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A text from outside, for a line on a terminal: what could steer the terminal or begin another line is not let through.
pub(super) fn outside(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }).collect()
}

/// A table with a head.
pub(super) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(head.to_vec());
    table.add_rows(rows);
    table.to_string()
}

/// The report of one sweep.
pub(super) fn sweep(sweep: &Sweep) -> String {
    let lasted = sweep.finished_at.and_then(|end| (end - sweep.started_at).to_std().ok()).unwrap_or_default();
    let counts = [
        ("discovered", Some(sweep.discovered), "sessions taken on"),
        ("canceled", Some(sweep.canceled), "the provider confirmed the cancellation"),
        ("already_terminal", Some(sweep.already_terminal), "had ended before: a success"),
        ("retried", Some(sweep.retried), "attempts that will be repeated"),
        ("failed", Some(sweep.failed), "given up: see `geft-sweeper requeue`"),
        ("withdrawn", Some(sweep.withdrawn), "no longer named by the source"),
        ("waiting", Some(sweep.waiting), "left for the next sweep: the customer is at them"),
        ("skipped", Some(sweep.skipped), "source rows that could not be used"),
        ("left_alone", sweep.left_alone, "source rows whose status is in neither list"),
        ("dated_ahead", sweep.dated_ahead, "source rows dated in the future"),
        ("paid_after_abandonment", Some(sweep.paid_after_abandonment), "completed although selected: money may move"),
    ];
    let mut lines = vec![format!("sweep {} {} after {:.1} s", sweep.id, sweep.status, lasted.as_secs_f64())];
    for (name, number, meaning) in counts {
        if let Some(number) = number {
            lines.push(format!("  {name:<22} {number:>9}   {meaning}"));
        }
    }
    lines.join("\n")
}

/// The latest sweeps, a line each.
pub(super) fn sweeps(sweeps: &[Sweep]) -> String {
    let head = [
        "started",
        "trigger",
        "status",
        "discovered",
        "canceled",
        "already terminal",
        "retried",
        "failed",
        "withdrawn",
    ];
    let shown = table(
        &head,
        sweeps.iter().map(|sweep| {
            let numbers = [
                sweep.discovered,
                sweep.canceled,
                sweep.already_terminal,
                sweep.retried,
                sweep.failed,
                sweep.withdrawn,
            ];
            let mut row = vec![moment(&sweep.started_at), sweep.trigger.clone(), sweep.status.clone()];
            row.extend(numbers.iter().map(ToString::to_string));
            row
        }),
    );
    // Sentences, which would make the table wider than any terminal.
    let errors = sweeps.iter().filter_map(|sweep| Some((sweep, sweep.error.as_ref()?)));
    errors.fold(shown, |shown, (sweep, error)| format!("{shown}\n  {}: {error}", moment(&sweep.started_at)))
}

/// Sessions that were paid although they were selected, a line each.
pub(super) fn paid(sessions: &[PaidAfterAbandonment]) -> String {
    let line = |session: &PaidAfterAbandonment| {
        let PaidAfterAbandonment { session_id, reference_id, kind, amount, found_at, .. } = session;
        let reference = reference_id.as_deref().map_or_else(|| "-".to_owned(), outside);
        let amount = amount.as_ref().map_or_else(String::new, |amount| format!(", amount {amount}"));
        format!("  {session_id}  {reference}  {kind}{amount}, found at {}", moment(found_at))
    };
    sessions.iter().map(line).collect::<Vec<_>>().join("\n")
}
