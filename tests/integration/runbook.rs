//! Holds `deploy/RUNBOOK.md` against what it speaks of: alerts, commands, SQL, units, manifests, settings and log events.
//!
//! Whether its advice is good it cannot know: each procedure was walked by hand.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use geft_sweeper::config::KEYS;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::commands::geft_sweeper;
use crate::reference::log_events;
use crate::roles::{set_up, take_down};

#[test]
fn every_alert_has_its_section_and_every_such_section_its_alert() {
    let rules = read("deploy/prometheus/geft-sweeper.rules.yaml");
    let alerts: BTreeSet<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let runbook = runbook();
    let sections: Vec<_> = headings(&runbook).filter(|heading| heading.starts_with("GeftSweeper")).collect();
    assert_eq!(sections.iter().copied().collect::<BTreeSet<_>>(), alerts);
    assert_eq!(sections.len(), alerts.len(), "a section stands twice");
    for section in sections {
        let (_, rest) = runbook.split_once(&format!("\n## {section}\n")).unwrap();
        let text = rest.split("\n## ").next().unwrap();
        for part in ["**Money.**", "**Look.**", "**Mend.**"] {
            assert!(text.contains(part), "{section} lacks {part}");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let runbook = runbook();
    let anchors = |text: &str| headings(text).map(anchor).collect::<BTreeSet<_>>();
    for link in runbook.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        let (file, section) = link.split_once('#').unwrap_or((link, ""));
        let text = if file.is_empty() { runbook.clone() } else { read(&format!("deploy/{file}")) };
        assert!(section.is_empty() || anchors(&text).contains(section), "{link}");
    }
}

#[tokio::test]
async fn every_command_line_is_one_that_the_program_takes() {
    let folder = tempfile::tempdir().unwrap();
    let runbook = runbook();
    let lines = command_lines(&runbook);
    assert!(lines.len() > 20, "{lines:#?}");
    for line in lines {
        let mut arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
        if !arguments.contains(&"--config") {
            arguments.extend(["--config", "none.toml"]);
        }
        // Without a configuration nothing begins; a line that is misspelled is refused before that.
        let said = geft_sweeper(folder.path(), &arguments, &[]).await;
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains(".toml cannot be read as the configuration file"), "{line}: {text}");
    }
}

#[test]
fn every_block_for_the_shell_is_one() {
    for block in blocks(&runbook(), "sh") {
        let read = Command::new("bash").args(["-n", "-c", &block]).output().unwrap();
        assert!(read.status.success() && read.stderr.is_empty(), "{block}: {read:?}");
    }
}

#[tokio::test]
async fn every_block_of_sql_runs_as_the_role_that_it_names() {
    let (shop, roles) = set_up().await;
    let blocks = blocks(&runbook(), "sql");
    assert!(blocks.len() > 10, "{blocks:#?}");
    let names = [
        ("geft_sweeper_owner", &roles.owner),
        ("geft_sweeper_runtime", &roles.runtime),
        ("geft_sweeper_audit", &roles.audit),
    ];
    for block in blocks {
        let first = block.lines().next().unwrap().strip_prefix("-- ").unwrap_or_else(|| panic!("no role: {block}"));
        let role = first.split(':').next().unwrap();
        let its_name = names.iter().find(|(name, _)| *name == role);
        assert!(its_name.is_some() || role == "superuser", "{role}");
        let become_it = its_name.map_or_else(String::new, |(_, name)| format!("SET LOCAL ROLE \"{name}\";"));
        let renamed = names.iter().fold(block.clone(), |sql, (name, real)| sql.replace(name, &format!("\"{real}\"")));
        let mut connection = PgConnection::connect(shop.database.url()).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        let sql = AssertSqlSafe(format!("{become_it} {renamed}"));
        sqlx::raw_sql(sql).execute(&mut *transaction).await.unwrap_or_else(|error| panic!("{block}: {error}"));
        transaction.rollback().await.unwrap();
        connection.close().await.unwrap();
    }
    take_down(shop, roles).await;
}

#[test]
fn every_unit_manifest_and_file_exists() {
    let runbook = runbook();
    let words: BTreeSet<_> = runbook.split([' ', '\n', '`', '(', ')', '\'', ',', ';']).collect();
    let units = words.iter().filter(|word| is_a(word, "timer") || is_a(word, "service"));
    let units: Vec<_> = units.map(|unit| format!("deploy/systemd/{unit}")).collect();
    let files = words.iter().filter(|word| word.starts_with("deploy/")).map(|word| (*word).to_owned());
    let parts =
        words.iter().filter(|word| word.starts_with("components/")).map(|word| format!("deploy/kubernetes/{word}"));
    assert!(!units.is_empty());
    for path in units.into_iter().chain(files).chain(parts) {
        assert!(repository().join(&path).exists(), "{path}");
    }
    for unit in ["geft-sweeper", "geft-sweeper-sweep"] {
        assert!(repository().join(format!("deploy/systemd/{unit}.service")).exists());
    }
    for (kind, path) in [("deployment", "base/deployment.yaml"), ("cronjob", "components/cron-job/cron-job.yaml")] {
        assert!(read(&format!("deploy/kubernetes/{path}")).contains("\n  name: geft-sweeper\n"), "{kind}");
    }
    let named = words.iter().filter_map(|word| word.strip_prefix("deployment/"));
    assert!(named.clone().count() > 0);
    named.for_each(|name| assert_eq!(name, "geft-sweeper"));
}

#[test]
fn every_setting_and_log_event_is_one() {
    let mut known: BTreeSet<_> = KEYS.iter().map(|key| key.path.to_owned()).collect();
    known.extend(log_events().into_keys());
    let runbook = runbook();
    let spans =
        runbook.lines().filter(|line| !line.starts_with("```")).flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_dotted = |span: &&str| {
        let is_part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        span.contains('.') && !is_a(span, "yaml") && span.split('.').all(is_part)
    };
    let named: Vec<_> = spans.filter(is_dotted).collect();
    assert!(named.len() > 15, "{named:#?}");
    for name in named {
        assert!(known.contains(name), "{name} is neither a setting nor a log event");
    }
}

fn is_a(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn runbook() -> String {
    read("deploy/RUNBOOK.md")
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with("##")).map(|line| line.trim_start_matches('#').trim())
}

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The blocks of code in a language, without the indentation that a list gives them.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let inside = line.trim_start();
        if inside == format!("```{language}") {
            let indented = line.len() - inside.len();
            let block = lines.by_ref().take_while(|line| line.trim() != "```");
            blocks.push(block.map(|line| line.get(indented..).unwrap_or_default()).collect::<Vec<_>>().join("\n"));
        }
    }
    blocks
}

/// Every call of the program: in blocks where it is the command of a line, and in the text.
fn command_lines(runbook: &str) -> Vec<String> {
    let in_blocks = blocks(runbook, "sh");
    let in_blocks = in_blocks.iter().flat_map(|block| block.lines()).map(|line| {
        // Variables that are set for one command stand before it.
        let words = line.split_whitespace().skip_while(|word| word.contains('=') && word.starts_with("GEFT_SWEEPER__"));
        let line = words.collect::<Vec<_>>().join(" ");
        // The new program of an upgrade is called where it was unpacked.
        line.strip_prefix("new/usr/bin/").map_or(line.clone(), str::to_owned)
    });
    let in_the_text = runbook.split('`').map(str::to_owned);
    let calls = in_blocks.chain(in_the_text).filter(|line| line.starts_with("geft-sweeper ") && !line.contains('\n'));
    calls.map(|line| line.split(['#', '|', '>']).next().unwrap().trim().to_owned()).collect()
}
