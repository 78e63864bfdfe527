//! The command `check`: proves a set-up before it goes live, and finds every fault in one run.
//!
//! It writes nothing, migrates nothing and cancels nothing; it asks the API for one token.

mod api;
mod lines;

use std::path::Path;
use std::time::Duration;

use geft_sweeper::config::{self, Sections, Selection};
use geft_sweeper::database::Database;
use geft_sweeper::ledger::{self, Instance, Ledger, Schema};
use geft_sweeper::source::{Census, Changes, Fate, Plan, Plans, Source, StatusCount, Triggers};
use sqlx::PgConnection;

use super::{Verdict, output, wiring};
use lines::Lines;

/// The oldest PostgreSQL that is supported.
const OLDEST_SERVER: i32 = 150_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(file: Option<&Path>, arguments: &Arguments) -> anyhow::Result<Verdict> {
    let sections = config::from_process(file);
    let mut lines = Lines::default();
    check_configuration(&sections, &mut lines);
    let ledger = check_database(&sections, &mut lines).await;
    api::check(&sections, ledger.as_ref(), &mut lines).await;
    if arguments.json {
        wiring::print(&lines.json())?;
    } else {
        wiring::print(&lines.text())?;
    }
    Ok(if lines.failed() { Verdict::Bad } else { Verdict::Good })
}

fn check_configuration(sections: &Sections, lines: &mut Lines) {
    for problem in &sections.problems {
        lines.fail("configuration", problem.to_string());
    }
    if sections.problems.is_empty() {
        let read = sections
            .file
            .as_ref()
            .map_or_else(|| "the environment alone".to_owned(), |file| file.display().to_string());
        lines.ok("configuration", format!("read from {read}"));
    }
}

/// Gives the ledger, where the database answers.
async fn check_database(sections: &Sections, lines: &mut Lines) -> Option<Ledger> {
    let settings = sections.database.as_ref()?;
    let instance = Instance::new("check");
    let mut failed = |error: geft_sweeper::database::Error| lines.fail("database", error.to_string());
    let database = Database::new(settings, &instance.application_name()).map_err(&mut failed).ok()?;
    check_way(&database, lines);
    let failed = |error: geft_sweeper::database::Error| lines.fail("database", error.to_string());
    let mut connection = database.connect().await.map_err(failed).ok()?;
    let ledger = Ledger::new(database.clone(), instance);
    check_server(&ledger, &database, lines).await;
    check_schema(&ledger, settings.auto_migrate, lines).await;
    if let Some(settings) = &sections.source {
        check_source(settings, &mut connection, lines).await;
    }
    Some(ledger)
}

async fn check_server(ledger: &Ledger, database: &Database, lines: &mut Lines) {
    match ledger.server_version().await {
        Ok((number, text)) if number < OLDEST_SERVER => {
            lines.fail(
                "database",
                format!("PostgreSQL {text} at {} is too old: 15 or later is needed", database.place()),
            );
        }
        Ok((_, text)) => lines.ok("database", format!("PostgreSQL {text} at {}", database.place())),
        Err(error) => lines.fail("database", error.to_string()),
    }
}

/// By the URL alone, so that it is told even where nobody answers there.
fn check_way(database: &Database, lines: &mut Lines) {
    match database.weakness() {
        Some(weakness) => lines.warn("tls", weakness),
        None => lines.ok("tls", "the way to the database is local or verified"),
    }
}

async fn check_schema(ledger: &Ledger, auto_migrate: bool, lines: &mut Lines) {
    let schema = match ledger.schema().await {
        Ok(schema) => schema,
        Err(error) => {
            // The version cannot be read without rights either.
            let lacking = matches!(error, ledger::Error::Rights(_));
            let sentence = "its version cannot be read: this role lacks the rights named below".to_owned();
            lines.fail("schema", if lacking { sentence } else { error.to_string() });
            return check_rights(ledger, lines).await;
        }
    };
    match schema {
        Schema::Current | Schema::NewerCompatible { .. } => lines.ok("schema", schema.mend()),
        Schema::TooNew { .. } => return lines.fail("schema", schema.mend()),
        Schema::Missing | Schema::Behind { .. } if !auto_migrate => return lines.fail("schema", schema.mend()),
        Schema::Missing | Schema::Behind { .. } => {
            match ledger.missing_to_migrate().await {
                Ok(None) => lines.ok("schema", soon(schema)),
                Ok(Some(grant)) => lines.fail(
                    "schema",
                    format!(
                        "the schema geft_sweeper is missing or behind, and this role may not mend that: {grant} or run \
                         `geft-sweeper migrate` as a role that may"
                    ),
                ),
                Err(error) => lines.fail("schema", error.to_string()),
            }
            return;
        }
    }
    check_rights(ledger, lines).await;
}

/// What is said of a schema that `run` and `sweep` take care of.
fn soon(schema: Schema) -> &'static str {
    match schema {
        Schema::Missing => "the schema geft_sweeper is missing: `run` and `sweep` create it when they start",
        _ => "the schema geft_sweeper is behind: `run` and `sweep` bring it up to date when they start",
    }
}

async fn check_rights(ledger: &Ledger, lines: &mut Lines) {
    match ledger.missing_rights().await {
        Ok(missing) if missing.is_empty() => lines.ok("rights", "this role may do all that is needed in geft_sweeper"),
        Ok(missing) => missing.iter().for_each(|grant| lines.fail("rights", format!("a right is missing: {grant}"))),
        Err(error) => lines.fail("rights", error.to_string()),
    }
}

async fn check_source(settings: &config::Source, connection: &mut PgConnection, lines: &mut Lines) {
    let source = match Source::inspect(settings, connection).await {
        Ok(source) => source,
        Err(error) => return error.sentences().iter().for_each(|sentence| lines.fail("source", sentence)),
    };
    lines.ok(
        "source",
        match &settings.selection {
            Selection::Table(table) => format!("{}: its columns and their types fit", table.table),
            Selection::Query(_) => "the query gives session_id, reference_id and reason".to_owned(),
        },
    );
    match source.plans(connection).await {
        Ok(Plans { discovery, changes, look_again }) => {
            check_plan("finding sessions", &discovery, lines);
            check_changes(&settings.selection, &changes, lines);
            check_plan("looking at them again", &look_again, lines);
        }
        Err(error) => lines.fail("plan", error.to_string()),
    }
    match source.triggers(connection).await {
        Ok(triggers) => check_triggers(&triggers, lines),
        Err(error) => lines.fail("notify", error.to_string()),
    }
    match source.census(connection).await {
        Ok(census) => check_census(&census, lines),
        Err(error) => lines.fail("statuses", error.to_string()),
    }
}

fn check_plan(purpose: &str, plan: &Plan, lines: &mut Lines) {
    if plan.uses_index() {
        return lines.ok("plan", format!("{purpose}: by index"));
    }
    let advice = plan.advice.as_ref().map_or_else(String::new, |statement| format!("; mend it with: {statement}"));
    lines.warn("plan", format!("{purpose}: reads the whole of {}{advice}", plan.scanned.join(", ")));
}

fn check_changes(selection: &Selection, changes: &Changes, lines: &mut Lines) {
    match (selection, changes) {
        (Selection::Query(_), _) => {}
        (Selection::Table(_), Changes::ByIndex) => lines.ok("plan", "finding what changed: by index"),
        (Selection::Table(_), Changes::Untold) => lines.ok(
            "plan",
            "finding what changed: each sweep reads all abandoned and aged sessions of the lookback; to read what changed \
             alone, map a column that says when a row was last changed, as source.columns.updated_at",
        ),
        (Selection::Table(_), Changes::Unserved(statement)) => lines.warn(
            "plan",
            format!("finding what changed: no index serves source.columns.updated_at; mend it with: {statement}"),
        ),
    }
}

fn check_triggers(triggers: &Triggers, lines: &mut Lines) {
    let name = "notify";
    match triggers {
        Triggers::Absent => lines.ok(name, "no trigger of deploy/notify.sql: sessions are found at the next tick"),
        Triggers::Right => lines.ok(name, "the table says at once what becomes abandoned"),
        Triggers::Wrong(sentence) => lines.warn(name, format!("{sentence}: mend it by running that file again")),
    }
}

fn check_census(census: &Census, lines: &mut Lines) {
    for StatusCount { status, rows, fate, due } in &census.statuses {
        let fate = match fate {
            Fate::Abandoned => format!("canceled as abandoned ({due} now)"),
            Fate::Aged => format!("canceled when older than source.max_age ({due} now)"),
            Fate::LeftAlone => "left alone: it is in neither list".to_owned(),
            Fate::Queried => format!("canceled for this reason ({due} now)"),
        };
        let status =
            status.as_deref().map_or_else(|| "NULL".to_owned(), |status| format!("\"{}\"", output::outside(status)));
        lines.ok("status", format!("{status}: {} within the lookback: {fate}", output::counted(*rows, "row")));
    }
    if census.in_future > 0 {
        lines.warn(
            "dates",
            format!("dated in the future, and so never aged: {}", output::counted(census.in_future, "row")),
        );
    }
    if census.without_date > 0 {
        lines.warn(
            "dates",
            format!("without a date, and so not discovered: {}", output::counted(census.without_date, "row")),
        );
    }
    match (census.newest, census.newest_age) {
        (Some(newest), Some(age)) => {
            let age = humantime::format_duration(Duration::from_secs(age.as_secs()));
            lines.ok("newest row", format!("created at {}, {age} ago", output::moment(&newest)));
        }
        _ => lines.warn("newest row", "there is none with a date: is this the right table?"),
    }
}
