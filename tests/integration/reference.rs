//! Holds the README's reference against the program: each name that one of them has, the other has too.
//!
//! It compares names, and values that both sides state. Whether a sentence is true it cannot know.

mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use geft_sweeper::config::KEYS;
use geft_sweeper::outcome::Outcome;
use geft_sweeper::sandbox::{Fault, Faults};
use geft_sweeper::session::State;
use serde_json::Value;
use toml::Table;

pub(crate) use log::log_events;

use crate::support::{PaymentSessions, Program, TestDatabase};

type Names = BTreeSet<String>;

/// An address of this machine at which nothing listens.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn every_setting_is_in_the_readme_and_no_other() {
    let known = KEYS.iter().map(|key| key.path.to_owned()).collect();
    let described: Names = settings().into_keys().collect();
    assert_same("settings", &known, &described);
}

#[test]
fn the_defaults_in_the_readme_are_those_of_the_program() {
    let sample: Table = read("config/geft-sweeper.toml").parse().unwrap();
    for (path, cells) in settings() {
        let default =
            path.split('.').try_fold(&toml::Value::Table(sample.clone()), |value, name| value.get(name)).cloned();
        // Its columns are described one by one.
        if path != "source.columns" {
            let stated =
                code(&cells[1]).map(|text| format!("value = {text}").parse::<Table>().unwrap()["value"].clone());
            assert_eq!(stated, default, "the default of {path}");
        }
    }
}

#[test]
fn every_command_is_in_the_readme_and_no_other() {
    assert_same("commands", &commands(), &names("Commands"));
}

#[test]
fn every_option_is_in_the_readme_and_no_other() {
    let mut known = long_options(&help(&[]));
    // The help of `help` is the help of the command that it is given.
    for command in commands().iter().filter(|command| *command != "help") {
        let own = long_options(&help(&[command]));
        known.extend(own.iter().filter(|option| !is_everywhere(option)).map(|option| format!("{command} {option}")));
    }
    let described = ["Options", "Options of the sandbox"].map(first_codes).concat();
    assert_same("options", &known, &described.iter().map(|code| option_alone(code)).collect());
}

#[test]
fn every_metric_is_in_the_readme_and_no_other() {
    let is_macro = |text: &str, at: usize| text[..at].trim_end().ends_with("!(");
    let metrics = |text: String| {
        let found = quoted_after(&text, "\"geft_sweeper_").into_iter().filter(|(at, _)| is_macro(&text, *at));
        found.map(|(_, rest)| format!("geft_sweeper_{rest}")).collect::<Vec<_>>()
    };
    let known = sources().into_iter().flat_map(metrics).collect();
    assert_same("metrics", &known, &names("Metrics"));
}

#[test]
fn every_outcome_is_in_the_readme_and_what_counts_is_said() {
    let known = Outcome::ALL.map(|outcome| outcome.as_str().to_owned()).into();
    assert_same("outcomes", &known, &names("Outcomes"));
    for cells in rows("Outcomes") {
        let outcome = Outcome::ALL.into_iter().find(|outcome| Some(outcome.as_str()) == code(&cells[0]).as_deref());
        assert_eq!(outcome.unwrap().counts(), cells[3] == "yes", "{cells:?}");
    }
}

#[test]
fn every_state_is_in_the_readme_and_no_other() {
    assert_same("states", &State::ALL.map(|state| state.as_str().to_owned()).into(), &names("States"));
}

#[tokio::test]
async fn every_table_and_column_is_in_the_readme_and_no_other() {
    let database = TestDatabase::new().await;
    let known: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
          WHERE table_schema = 'geft_sweeper' AND table_name <> '_sqlx_migrations'",
    )
    .fetch_all(database.pool())
    .await
    .unwrap();
    database.close().await;
    let known: Names = known.into_iter().map(|(table, column)| format!("{table}.{column}")).collect();
    let tables: Names = rows_of_chapter("The database").into_iter().filter_map(|(heading, _)| code(&heading)).collect();
    let described =
        tables.iter().flat_map(|table| names(table).into_iter().map(move |column| format!("{table}.{column}")));
    assert_same("columns", &known, &described.collect());
}

#[tokio::test]
async fn the_json_of_every_command_has_the_fields_of_the_readme() {
    let database = TestDatabase::new().await;
    PaymentSessions::create(database.pool()).await;
    let program = Program::new(database.url(), NOBODY);
    let sweep = program.run(["sweep", "--json"]).await.expect_code(0).json();
    assert_same("sweep --json", &fields(&sweep), &names("sweeps"));
    let dry_run = program.run(["sweep", "--dry-run", "--json"]).await.expect_code(0).json();
    assert_same("sweep --dry-run --json", &fields(&dry_run), &names("sweep --dry-run --json"));
    let status = program.run(["status", "--json"]).await.expect_code(0).json();
    assert_same("status --json", &fields(&status), &names("status --json"));
    assert_same("sweeps of status", &fields(&status["sweeps"][0]), &names("sweeps"));
    // Nobody answers at the API's address.
    let check = program.run(["check", "--json"]).await.expect_code(1).json();
    assert_same("check --json", &fields(&check), &names("check --json"));
    database.close().await;
}

#[tokio::test]
async fn the_health_answers_have_the_fields_of_the_readme() {
    let database = TestDatabase::new().await;
    PaymentSessions::create(database.pool()).await;
    let program = Program::new(database.url(), NOBODY).with("server.listen", "127.0.0.1:0");
    let running = program.start(["run"]);
    running.logged("server.listening").await;
    let logged = running.stderr();
    let line = logged.lines().find(|line| line.contains("server.listening")).unwrap();
    let address = serde_json::from_str::<Value>(line).unwrap()["server.address"].as_str().unwrap().to_owned();
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/healthz", "/readyz"] {
        let answer = client.get(format!("http://{address}{path}")).send().await.unwrap();
        let body = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_same(path, &fields(&body), &names(path));
    }
    drop(running);
    database.close().await;
}

#[test]
fn every_control_of_the_sandbox_is_in_the_readme_and_no_other() {
    let routes = quoted_after(&read("src/sandbox/control.rs"), ".route(\"");
    let known = routes.into_iter().map(|(_, path)| path).collect();
    let described: Names =
        first_codes("Control calls").iter().filter_map(|call| Some(call.split_once(' ')?.1.to_owned())).collect();
    assert_same("controls", &known, &described);
    assert_same("fault setting", &fields(&serde_json::to_value(Faults::default()).unwrap()), &names("Fault setting"));
    for name in names("Faults") {
        assert_eq!(name.parse::<Fault>().unwrap().to_string(), name);
    }
}

#[test]
fn every_scenario_of_the_fault_laboratory_is_in_the_readme_and_no_other() {
    let text = read("tests/faults/scenarios.rs");
    let scenarios = ["short", "full"].map(|form| quoted_after(&text, &format!(" {form}(\"")));
    let known = scenarios.into_iter().flatten().map(|(_, name)| name).collect();
    assert_same("scenarios", &known, &names("Scenarios"));
}

#[test]
fn every_dependency_has_its_reason_in_the_readme() {
    let manifest: Table = read("Cargo.toml").parse().unwrap();
    for (section, heading) in [("dependencies", "Dependencies"), ("dev-dependencies", "For tests alone")] {
        let known = manifest[section].as_table().unwrap().keys().cloned().collect();
        assert_same(section, &known, &names(heading));
    }
}

#[test]
fn the_reader_tells_tables_apart() {
    let text = "# A\n\n| `not` |\n\n## B\n\n| key | x |\n|---|---|\n| `one` | 1 |\n| `two` `x` | `2` |\n\n### C\n\n| `no` | |\n";
    let found = tables(text);
    assert_eq!(found.iter().map(|(heading, _)| heading.as_str()).collect::<Vec<_>>(), ["A", "B", "C"]);
    assert_eq!(found[1].1, [["`one`", "1"], ["`two` `x`", "`2`"]]);
    assert_eq!(code("`two` `x`").as_deref(), Some("two"));
    assert_eq!(code("–"), None);
    assert_eq!(option_alone("sweep --wait DURATION"), "sweep --wait");
    assert_eq!(option_alone("--config FILE"), "--config");
}

/// Fails with what is in one of the two alone.
#[track_caller]
fn assert_same(what: &str, known: &Names, described: &Names) {
    assert!(!known.is_empty(), "no {what} found in the program");
    let missing: Vec<_> = known.difference(described).collect();
    let invented: Vec<_> = described.difference(known).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what}: the README lacks {missing:?} and makes up {invented:?}"
    );
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// The settings that the README describes: the path, and the cells of the row.
fn settings() -> BTreeMap<String, Vec<String>> {
    let sections = rows_of_chapter("Settings").into_iter();
    let sections = sections.filter_map(|(heading, rows)| {
        let section = code(&heading)?.trim_matches(['[', ']']).to_owned();
        Some(rows.into_iter().map(move |cells| (format!("{section}.{}", code(&cells[0]).unwrap()), cells)))
    });
    sections.flatten().collect()
}

/// Every heading of the README with the rows of the tables directly under it, without the heads of the tables.
fn tables(text: &str) -> Vec<(String, Vec<Vec<String>>)> {
    let mut tables: Vec<(String, Vec<Vec<String>>)> = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        in_code ^= line.starts_with("```");
        if line.starts_with('#') && !in_code {
            tables.push((line.trim_start_matches('#').trim().to_owned(), Vec::new()));
        } else if line.starts_with("| `")
            && let Some((_, rows)) = tables.last_mut()
        {
            let cells = line.trim_matches(['|', ' ']).split(" | ");
            rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
        }
    }
    tables
}

/// The tables of a chapter, by the headings that stand under it.
fn rows_of_chapter(chapter: &str) -> Vec<(String, Vec<Vec<String>>)> {
    let text = read("README.md");
    let (_, rest) = text.split_once(&format!("\n## {chapter}\n")).unwrap_or_else(|| panic!("no chapter {chapter}"));
    tables(rest.split("\n## ").next().unwrap_or_default())
}

/// The rows under a heading, which may be written as code.
#[track_caller]
fn rows(heading: &str) -> Vec<Vec<String>> {
    let all = tables(&read("README.md"));
    let found = all.into_iter().find(|(found, _)| found.trim_matches('`') == heading);
    found.unwrap_or_else(|| panic!("the README has no heading {heading}")).1
}

#[track_caller]
fn first_codes(heading: &str) -> Vec<String> {
    rows(heading).iter().filter_map(|cells| code(&cells[0])).collect()
}

/// The names in the first column under a heading; one that stands there twice is a mistake.
#[track_caller]
fn names(heading: &str) -> Names {
    let codes = first_codes(heading);
    let names: Names = codes.iter().cloned().collect();
    assert_eq!(names.len(), codes.len(), "under {heading} a name stands twice: {codes:?}");
    names
}

/// The first piece of code in a text.
fn code(cell: &str) -> Option<String> {
    cell.split('`').nth(1).map(|code| code.trim().to_owned())
}

fn fields(object: &Value) -> Names {
    object.as_object().unwrap().keys().cloned().collect()
}

/// What the real program says of itself.
fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_geft-sweeper")).args(command).arg("--help").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn commands() -> Names {
    let help = help(&[]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let first = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    first.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn long_options(help: &str) -> Names {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let long = lines.filter_map(|line| line.split_once("--"));
    let is_of_a_name = |character: &char| character.is_ascii_alphanumeric() || *character == '-';
    long.map(|(_, rest)| format!("--{}", rest.chars().take_while(is_of_a_name).collect::<String>())).collect()
}

/// Whether every command has it.
fn is_everywhere(option: &str) -> bool {
    ["--config", "--help"].contains(&option)
}

/// `sweep --wait DURATION` without what the option takes.
fn option_alone(code: &str) -> String {
    let end = code.split_whitespace().position(|word| word.starts_with("--")).map_or(0, |at| at + 1);
    code.split_whitespace().take(end).collect::<Vec<_>>().join(" ")
}

/// Every source file of the program, without its comments.
fn sources() -> Vec<String> {
    let mut texts = Vec::new();
    let mut paths: Vec<PathBuf> = vec![repository().join("src")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            texts.push(code.collect::<Vec<_>>().join("\n"));
        }
    }
    texts
}

/// What stands between each such beginning and the next quote, and where the beginning stands.
fn quoted_after(text: &str, beginning: &str) -> Vec<(usize, String)> {
    let found = text.match_indices(beginning);
    found.map(|(at, _)| (at, text[at + beginning.len()..].split('"').next().unwrap().to_owned())).collect()
}
