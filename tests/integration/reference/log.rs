//! The README's log events and fields against those of the program's source: names, levels, and the scheme of the names.
//!
//! It reads the macros as text; what a line looks like in the end is shown in [`crate::log`].

use std::collections::BTreeMap;

use super::{Names, assert_same, code, names, quoted_after, rows, sources};

/// What *attempt* stands for in the README, and the macro `tell!` in the source.
const OF_AN_ATTEMPT: [&str; 5] = ["attempt.number", "claim.id", "session.id", "sweep.id", "trace.id"];
/// Words in the name of a field that measures.
const MEASURES: [&str; 8] = ["age", "bytes", "delay", "duration", "pause", "retry_in", "size", "wait"];
const UNITS: [&str; 3] = ["_bytes", "_ms", "_s"];

/// An event as the source has it, or the README.
#[derive(Debug, Default, PartialEq)]
struct Event {
    levels: Names,
    fields: Names,
}

#[test]
fn every_log_event_is_in_the_readme_with_its_levels_and_fields() {
    let (known, described) = (in_the_source(), in_the_readme());
    assert_same("log events", &known.keys().cloned().collect(), &described.keys().cloned().collect());
    for (name, event) in &known {
        assert_same(&format!("levels of {name}"), &event.levels, &described[name].levels);
        let fields = |event: &Event| event.fields.iter().cloned().chain(["event".to_owned()]).collect();
        assert_same(&format!("fields of {name}"), &fields(event), &fields(&described[name]));
    }
}

#[test]
fn every_log_field_is_in_the_readme_and_no_other() {
    let known = in_the_source().into_values().flat_map(|event| event.fields).collect();
    assert_same("log fields", &known, &names("Log fields"));
}

#[test]
fn a_log_field_has_a_dotted_name_and_a_unit_where_it_measures() {
    for name in names("Log fields") {
        assert!(keeps_to_the_scheme(&name), "{name}");
    }
    for odd in ["session_id", "Session.id", "session.", "attempt.duration", "hold.wait", "a b.c"] {
        assert!(!keeps_to_the_scheme(odd), "{odd}");
    }
}

#[test]
fn the_reader_finds_the_fields_of_each_macro() {
    let text = r#"tracing::$level!(event = $event); tell!(debug, claim.names(), event = "a.b", c.d = f("x, y", z), "said {}", e);
        if x { tracing::info!(event = "a.b", %g.h, i, "said"); }"#;
    let found = events(text);
    assert_eq!(found["a.b"].levels, Names::from(["debug".to_owned(), "info".to_owned()]));
    let fields = ["c.d", "g.h", "i"].into_iter().chain(OF_AN_ATTEMPT).map(str::to_owned).collect();
    assert_eq!(found["a.b"].fields, fields);
}

fn keeps_to_the_scheme(name: &str) -> bool {
    let is_word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let Some((_, last)) = name.rsplit_once('.') else { return false };
    let measures = MEASURES.iter().any(|word| last.split('_').any(|part| part == *word) || last.contains("retry_in"));
    name.split('.').all(is_word) && (!measures || UNITS.iter().any(|unit| last.ends_with(unit)))
}

fn in_the_readme() -> BTreeMap<String, Event> {
    let mut described = BTreeMap::new();
    for cells in rows("Log events") {
        let levels = cells[1].split(", ").map(str::to_owned).collect();
        let mut fields: Names = cells[3].split(", ").filter_map(code).collect();
        if cells[3].contains("*attempt*") {
            fields.extend(OF_AN_ATTEMPT.map(str::to_owned));
        }
        described.insert(code(&cells[0]).unwrap(), Event { levels, fields });
    }
    described
}

/// Each event of the README with its fields.
pub(crate) fn log_events() -> BTreeMap<String, Names> {
    in_the_readme().into_iter().map(|(name, event)| (name, event.fields)).collect()
}

fn in_the_source() -> BTreeMap<String, Event> {
    let mut known: BTreeMap<String, Event> = BTreeMap::new();
    for (name, event) in sources().iter().flat_map(|text| events(text)) {
        let entry = known.entry(name).or_default();
        entry.levels.extend(event.levels);
        entry.fields.extend(event.fields);
    }
    known
}

fn events(text: &str) -> BTreeMap<String, Event> {
    let mut found: BTreeMap<String, Event> = BTreeMap::new();
    for (at, name) in quoted_after(text, "event = \"") {
        let begin = text[..at].rfind("!(").expect("an event stands in a macro") + 2;
        let mut arguments = arguments(&text[begin..]).into_iter();
        let event = found.entry(name).or_default();
        if text[..begin].ends_with("tell!(") {
            event.levels.extend(arguments.next());
            arguments.next();
            event.fields.extend(OF_AN_ATTEMPT.map(str::to_owned));
        } else {
            let (_, level) = text[..begin - 2].rsplit_once("tracing::").expect("a macro of tracing");
            event.levels.insert(level.to_owned());
        }
        let fields = arguments.take_while(|argument| !argument.starts_with('"'));
        let fields = fields.map(|field| field.split(" = ").next().unwrap().trim_start_matches(['%', '?']).to_owned());
        event.fields.extend(fields.filter(|field| field != "event"));
    }
    found
}

/// The arguments of a macro from its opening parenthesis on, without those in parentheses of their own.
fn arguments(text: &str) -> Vec<String> {
    let mut arguments = vec![String::new()];
    let (mut depth, mut quoted) = (0_u32, false);
    for character in text.chars() {
        quoted ^= character == '"';
        match character {
            ')' | ']' | '}' if !quoted && depth == 0 => break,
            ')' | ']' | '}' if !quoted => depth -= 1,
            '(' | '[' | '{' if !quoted => depth += 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(String::new());
                continue;
            }
            _ => {}
        }
        arguments.last_mut().unwrap().push(character);
    }
    arguments.iter().map(|argument| argument.trim().to_owned()).filter(|argument| !argument.is_empty()).collect()
}
