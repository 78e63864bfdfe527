//! What the configuration promises, held against the whole of it: text in, sections and sentences out.

mod again;
mod defaults;
mod places;
mod refusals;
mod secrecy;

use tempfile::NamedTempFile;

use super::promises::{self, REQUIRED};
use super::{Config, Sections};

fn file(text: &str) -> NamedTempFile {
    promises::written(text.as_bytes())
}

fn sections(text: &str, variables: &[(&str, &str)]) -> Sections {
    promises::sections(text.as_bytes(), variables)
}

/// The required settings with `lines` put under their sections: `("api", "timeout = \"1s\"")`.
fn with(lines: &[(&str, &str)]) -> String {
    let mut table: toml::Table = REQUIRED.parse().expect("the required settings");
    for (section, line) in lines {
        let more: toml::Table = line.parse().expect("a line of TOML");
        let section = table.entry((*section).to_owned()).or_insert_with(|| toml::Table::new().into());
        section.as_table_mut().expect("a section").extend(more);
    }
    table.to_string()
}

fn complete(text: &str, variables: &[(&str, &str)]) -> Config {
    let sections = sections(text, variables);
    sections.complete().unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The one sentence that is told.
fn only_problem(text: &str, variables: &[(&str, &str)]) -> String {
    let problems = sections(text, variables).problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    let sentence = problems[0].to_string();
    assert!(!sentence.contains(char::is_control), "one line: {sentence:?}");
    sentence
}

/// Asserts that the lines are refused with one sentence on that setting that says so.
fn refused(lines: &[(&str, &str)], setting: &str, says: &str) {
    let sentence = only_problem(&with(lines), &[]);
    assert!(sentence.starts_with(&format!("{setting} ")), "{sentence}");
    assert!(sentence.contains(says), "{sentence}");
}

fn accepted(lines: &[(&str, &str)]) -> Config {
    complete(&with(lines), &[])
}
