//! The house rules that the compiler does not know: who may know whom, and how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What a room may know beside itself. The stages do not know each other: `sweep` alone carries values between them.
const KNOWS: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("session", &[]),
    ("outcome", &["session"]),
    ("database", &["config"]),
    ("source", &["session", "config"]),
    ("ledger", &["session", "outcome", "database"]),
    ("geft", &["session", "outcome", "config", "clocks", "pace"]),
    ("backoff", &["config"]),
    ("clocks", &[]),
    ("pace", &[]),
    ("throttle", &["session", "outcome"]),
    ("wake", &["database"]),
    (
        "sweep",
        &[
            "config", "session", "outcome", "database", "source", "ledger", "geft", "backoff", "clocks", "pace",
            "throttle", "traces", "wake",
        ],
    ),
    ("schedule", &["config"]),
    ("lifecycle", &[]),
    ("health", &[]),
    ("reload", &["config", "database", "sweep", "lifecycle", "systemd", "telemetry"]),
    ("daemon", &["ledger", "sweep", "schedule", "health", "systemd"]),
    ("figures", &["session", "ledger", "health"]),
    ("server", &["health", "sweep"]),
    ("systemd", &["health", "ledger", "schedule", "sweep"]),
    ("telemetry", &["config"]),
    ("traces", &["config", "session"]),
    ("postgres", &[]),
    ("sandbox", &[]),
    ("fuzzing", &["config", "source", "geft"]),
];

/// A file longer than this has more than one duty.
const LONGEST_FILE: usize = 400;

#[test]
fn no_room_knows_one_that_it_must_not() {
    let mut forbidden = Vec::new();
    for file in rust_files("src") {
        let Some((room, depth)) = place(&file) else { continue };
        let text = fs::read_to_string(repository().join(&file)).unwrap();
        forbidden.extend(
            forbidden_rooms(&room, depth, &text).into_iter().map(|known| format!("{}: {known}", file.display())),
        );
    }
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

#[test]
fn every_room_is_in_the_table() {
    let map = fs::read_to_string(repository().join("src/lib.rs")).unwrap();
    let rooms: BTreeSet<_> = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let table: BTreeSet<_> = KNOWS.iter().map(|(room, _)| *room).collect();
    assert_eq!(rooms, table);
}

#[test]
fn every_file_says_what_it_does_and_keeps_to_one_duty() {
    let mut faults = Vec::new();
    for file in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        let text = fs::read_to_string(repository().join(&file)).unwrap();
        if !text.starts_with("//! ") {
            faults.push(format!("{} does not open with what it does", file.display()));
        }
        if text.lines().count() > LONGEST_FILE {
            faults.push(format!("{} is longer than {LONGEST_FILE} lines", file.display()));
        }
        let name = file.file_stem().unwrap().to_str().unwrap();
        if ["common", "helpers", "misc", "models", "types", "utils"].contains(&name) {
            faults.push(format!("{} is a name that says nothing", file.display()));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, by its path in the repository.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.strip_prefix(repository()).unwrap().to_owned());
            }
        }
    }
    assert!(!files.is_empty());
    files
}

/// The room that a file belongs to, and how deep its module lies; none for the map and for the binary.
fn place(file: &Path) -> Option<(String, usize)> {
    let module = file.strip_prefix("src").unwrap().with_extension("");
    let names: Vec<_> = module.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    let room = names.first()?.clone();
    (!["lib", "main", "cli"].contains(&room.as_str())).then_some((room, names.len()))
}

/// The rooms that a file names and its room must not know. Tests may set up what they like.
fn forbidden_rooms(room: &str, depth: usize, text: &str) -> BTreeSet<String> {
    let allowed = KNOWS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, allowed)| *allowed);
    let code = code_without_tests(text);
    // `super` often enough leads to the same place as `crate`.
    let roots = ["crate::".to_owned(), "geft_sweeper::".to_owned(), "super::".repeat(depth)];
    let named = roots.iter().flat_map(|root| first_names_after(root, &code));
    named.filter(|name| is_room(name) && name != room && !allowed.contains(&name.as_str())).collect()
}

fn is_room(name: &str) -> bool {
    KNOWS.iter().any(|(room, _)| *room == name)
}

/// The code without its comments and what follows `#[cfg(test)] mod tests {`, with blanks only between words.
fn code_without_tests(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines() {
        for word in line.split("//").next().unwrap_or_default().split_whitespace() {
            if code.ends_with(is_of_a_name) && word.starts_with(is_of_a_name) {
                code.push(' ');
            }
            code.push_str(word);
        }
    }
    code.split("#[cfg(test)]mod tests{").next().unwrap_or_default().to_owned()
}

fn is_of_a_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The names that stand directly after a root: `crate::a::b`, or each of `crate::{a::b, c::{d, e}, f}`.
fn first_names_after(root: &str, code: &str) -> Vec<String> {
    code.match_indices(root)
        // The end of a longer path has another root: `super::super::` where one `super::` is looked for.
        .filter(|(at, _)| !code[..*at].ends_with(|before| before == ':' || is_of_a_name(before)))
        .flat_map(|(at, _)| names_at_the_top(&code[at + root.len()..]))
        .collect()
}

/// The names at the top of a path, which may be a group.
fn names_at_the_top(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![leading_name(path)];
    };
    let mut names = Vec::new();
    let mut depth = 0_u32;
    let mut starts = true;
    for (at, character) in group.char_indices() {
        if starts && depth == 0 {
            names.push(leading_name(&group[at..]));
        }
        starts = character == ',';
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

fn leading_name(path: &str) -> String {
    path.chars().take_while(|character| is_of_a_name(*character)).collect()
}

#[test]
fn the_reader_finds_what_is_forbidden() {
    let found = |room: &str, depth: usize, text: &str| Vec::from_iter(forbidden_rooms(room, depth, text));
    assert_eq!(found("geft", 1, "use crate::ledger::Ledger;"), ["ledger"]);
    assert_eq!(found("geft", 1, "pub(crate) use crate::ledger;"), ["ledger"]);
    assert_eq!(
        found("geft", 1, "use crate::{\n    outcome::{Result, sweep},\n    ledger::{Claim, Record},\n};"),
        ["ledger"]
    );
    assert_eq!(found("geft", 1, "use crate::{sandbox, session::{Claim}, source};"), ["sandbox", "source"]);
    assert_eq!(found("session", 1, "fn f() { crate::config::read(); }"), ["config"]);
    assert_eq!(found("session", 1, "use super::config::Config;"), ["config"]);
    assert_eq!(found("ledger", 2, "use super::super::sweep;"), ["sweep"]);
    assert_eq!(found("pace", 1, "use geft_sweeper::config::Config;"), ["config"]);
}

#[test]
fn the_reader_leaves_alone_what_is_allowed() {
    let found = |room: &str, depth: usize, text: &str| Vec::from_iter(forbidden_rooms(room, depth, text));
    let nothing = Vec::<String>::new();
    assert_eq!(found("geft", 1, "use crate::session::SessionId;"), nothing);
    assert_eq!(found("geft", 1, "use crate::geft::token::Token;"), nothing);
    assert_eq!(found("geft", 1, "//! See [`crate::sweep`].\nuse other_crate::ledger;"), nothing);
    assert_eq!(found("ledger", 2, "use super::sweep;"), nothing, "a part of the ledger's own");
    assert_eq!(found("geft", 1, "#[cfg(test)]\nmod tests {\n    use crate::sandbox;\n}"), nothing);
}
