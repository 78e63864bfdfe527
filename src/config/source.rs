//! `[source]`: which sessions to cancel, by table or by query.
//!
//! Refuses settings that could cancel more, or less, than was meant. Whether the table exists is the database's business.

use std::time::Duration;

use super::draft::Draft;
use super::keys::KEYS;
use super::problem::quoted;
use super::settings::{Columns, InProgress, Selection, Source, Table};

pub(super) fn read(draft: &mut Draft) -> Option<Source> {
    let lookback = draft.duration("source.lookback");
    let selection = match (draft.gives("source.table"), draft.gives("source.query")) {
        (true, true) => {
            draft.refuse("source.query", "is given together with source.table: leave one of them out");
            None
        }
        (false, true) => query(draft),
        (_, false) => table(draft, lookback),
    };
    let in_progress = in_progress(draft);
    Some(Source { selection: selection?, lookback: lookback?, in_progress: in_progress? })
}

fn in_progress(draft: &mut Draft) -> Option<InProgress> {
    let grace = draft.duration("source.in_progress_grace")?;
    draft.choice("source.in_progress", &[("cancel", InProgress::Cancel), ("wait", InProgress::Wait { grace })])
}

/// A query decides by itself: settings that would seem to limit it, and do not, are refused.
fn query(draft: &mut Draft) -> Option<Selection> {
    let query = draft.text("source.query");
    let idle = KEYS.iter().map(|key| key.path).filter(|path| {
        path.starts_with("source.")
            && !path.starts_with("source.in_progress")
            && !matches!(*path, "source.table" | "source.query" | "source.lookback")
    });
    // One sentence for a table of columns, not one more for each of them.
    let whole_table = draft.gives("source.columns");
    for path in idle.filter(|path| !(whole_table && path.starts_with("source.columns."))) {
        if draft.gives(path) {
            draft.refuse(path, "has no effect together with source.query: take it out and let the query decide");
        }
    }
    Some(Selection::Query(query?))
}

fn table(draft: &mut Draft, lookback: Option<Duration>) -> Option<Selection> {
    if !draft.gives("source.table") {
        let sentence = "is missing: write `table = \"public.payment_sessions\"` under [source], or set \
                        GEFT_SWEEPER__SOURCE__TABLE; or give source.query instead";
        draft.refuse("source.table", sentence);
    }
    let table = draft.text("source.table");
    let columns = columns(draft);
    let time_zone = draft.text("source.time_zone");
    let abandoned_statuses = draft.texts("source.abandoned_statuses");
    let open_statuses = draft.texts("source.open_statuses").unwrap_or_default();
    let max_age = draft.duration("source.max_age");
    check_age(draft, max_age, &open_statuses, lookback);
    if let Some(abandoned) = &abandoned_statuses {
        check_statuses(draft, abandoned, &open_statuses);
    }
    let (table, columns, abandoned_statuses) = (table?, columns?, abandoned_statuses?);
    Some(Selection::Table(Box::new(Table { table, columns, time_zone, abandoned_statuses, open_statuses, max_age })))
}

fn columns(draft: &mut Draft) -> Option<Columns> {
    let session_id = draft.text("source.columns.session_id");
    let reference_id = draft.text("source.columns.reference_id");
    let status = draft.text("source.columns.status");
    let created_at = draft.text("source.columns.created_at");
    let updated_at = draft.text("source.columns.updated_at");
    Some(Columns {
        session_id: session_id?,
        reference_id: reference_id?,
        status: status?,
        created_at: created_at?,
        updated_at,
    })
}

fn check_age(draft: &mut Draft, max_age: Option<Duration>, open_statuses: &[String], lookback: Option<Duration>) {
    let Some(max_age) = max_age else { return };
    if open_statuses.is_empty() && !draft.is_refused("source.open_statuses") {
        let sentence = "needs source.open_statuses: name the statuses that may be canceled for their age";
        draft.refuse("source.max_age", sentence);
    }
    if lookback.is_some_and(|lookback| max_age >= lookback) {
        let sentence = format!(
            "is {}, which is not shorter than source.lookback: no session would be old enough and still looked at",
            humantime::format_duration(max_age)
        );
        draft.refuse("source.max_age", sentence);
    }
}

fn check_statuses(draft: &mut Draft, abandoned: &[String], open: &[String]) {
    if abandoned.is_empty() && !draft.gives("source.max_age") {
        let sentence = "is empty and there is no source.max_age, so nothing could ever be canceled: give one of them";
        draft.refuse("source.abandoned_statuses", sentence);
    }
    let is_abandoned = |status: &String| abandoned.iter().any(|other| other.to_lowercase() == status.to_lowercase());
    if let Some(both) = open.iter().find(|status| is_abandoned(status)) {
        let sentence = format!(
            "holds {}, which source.abandoned_statuses holds too (letter case aside): take it out of one of them",
            quoted(both)
        );
        draft.refuse("source.open_statuses", sentence);
    }
}
