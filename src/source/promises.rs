//! What holds whatever stands in the settings and in the merchant's rows: asserted here, and held by the tests and the
//! fuzz targets against texts made up at random.
//!
//! Asks no database, and is compiled for those two alone.

use std::time::Duration;

use chrono::DateTime;

use super::catalog::Column;
use super::identifier::TableName;
use super::inspect::qualified;
use super::key::{Key, LONGEST};
use super::moment::Moment;
use super::read::{Row, page};
use super::statement::{Spellings, Table};
use crate::session::SessionId;

/// A name that is taken is quoted as the same name, and as nothing beside it.
pub(crate) fn name(written: &str) {
    let Ok(name) = TableName::parse(written) else { return };
    assert_eq!(TableName::parse(&name.quoted()).as_ref(), Ok(&name));
    let (rest, quoted) = taken_apart(&name.quoted());
    assert!(quoted.iter().all(|part| !part.is_empty()), "{name:?}");
    let parts: Vec<String> = name.schema.into_iter().chain([name.table]).collect();
    assert_eq!((rest.as_str(), quoted), (if parts.len() == 1 { "\"\"" } else { "\"\".\"\"" }, parts));
}

/// Whatever a table, its columns and its statuses are called: the statements are the same but for the quoted parts,
/// and in those stands what was given, character for character.
pub(crate) fn statements(called: &str) {
    let made_of = |called: &str| {
        let table = table(called);
        let since = Some(DateTime::UNIX_EPOCH);
        [table.discovery(None, Some("{session_id} IS NULL"), since), table.still_named(), table.spellings(9)]
    };
    for (statement, plain) in made_of(called).iter().zip(made_of("plain")) {
        let ((rest, quoted), (plain_rest, plain_quoted)) = (taken_apart(statement), taken_apart(&plain));
        assert_eq!(rest, plain_rest);
        let expected = plain_quoted.iter().map(|part| if part == "plain" { called } else { part });
        assert!(quoted.iter().eq(expected), "{statement}");
    }
}

/// Every row is a candidate or is skipped; candidates are sorted, each session once, under a key that is its own.
pub(crate) fn rows(rows: Vec<Row>) {
    let number = rows.len();
    let page = page(rows, 9);
    assert_eq!(page.is_last, number < 9);
    assert!(page.candidates.len() + page.skipped.len() <= number);
    assert!(number == 0 || page.candidates.len() + page.skipped.len() > 0);
    assert!(page.candidates.windows(2).all(|two| two[0].session_id < two[1].session_id));
    for candidate in &page.candidates {
        assert_eq!(candidate.source_key.parse(), Ok(candidate.session_id));
        assert!(candidate.source_key.chars().count() <= LONGEST);
        let reason = candidate.reason.as_str();
        assert!(!reason.is_empty() && reason.trim() == reason, "{reason:?}");
    }
    let is_usable = |key: &String| key.parse::<SessionId>().is_ok() && key.chars().count() <= LONGEST;
    assert!(!page.skipped.iter().filter_map(|row| row.key.as_ref()).any(is_usable), "{:?}", page.skipped);
}

/// What is read as a session's id is shown in one spelling, with the same digits.
pub(crate) fn session_id(text: &str) {
    let Ok(id) = text.parse::<SessionId>() else { return };
    let shown = id.to_string();
    assert_eq!((shown.len(), shown.parse()), (36, Ok(id)));
    let digits = |text: &str| text.to_lowercase().replace(|character: char| !character.is_ascii_hexdigit(), "");
    // `urn:uuid:` has one letter that is a digit.
    let given = digits(text);
    assert!(given == digits(&shown) || given.strip_prefix('d') == Some(&digits(&shown)), "{text:?} as {shown}");
}

/// A table in which everything that can be called something is called so.
fn table(called: &str) -> Table {
    let relation = TableName { schema: Some(called.to_owned()), table: called.to_owned() }.quoted();
    let text = Column {
        name: called.to_owned(),
        type_name: "text".to_owned(),
        type_oid: sqlx::postgres::types::Oid(25),
        type_kind: "b".to_owned(),
        type_category: "S".to_owned(),
        equals_schema: called.to_owned(),
        readable: true,
        leads_index: true,
    };
    let moment = Moment { column: qualified(called), zone: Some(called.to_owned()) };
    Table {
        relation,
        is_partitioned: false,
        can_have_index: true,
        key: Key::of(qualified(called), &text).unwrap(),
        reference_id: qualified(called),
        status: qualified(called),
        spellings: Spellings::AskIndex,
        created_at: moment.clone(),
        updated_at: Some(moment),
        abandoned: vec![called.to_owned(), called.to_owned()],
        open: vec![called.to_owned()],
        max_age: Some(Duration::from_secs(1)),
        lookback: Duration::from_secs(9),
    }
}

/// A statement as the server's scanner takes it apart: what stands outside quotes, and what stands within each.
fn taken_apart(statement: &str) -> (String, Vec<String>) {
    let (mut rest, mut quoted) = (String::new(), Vec::new());
    let mut characters = statement.chars().peekable();
    while let Some(character) = characters.next() {
        if !matches!(character, '"' | '\'') {
            rest.push(character);
            continue;
        }
        // An E before it says that backslashes escape; the text is the same with and without it.
        let escapes = character == '\'' && rest.ends_with('E') && rest.pop().is_some();
        let mut text = String::new();
        while let Some(next) = characters.next() {
            let is_doubled = next == character && characters.next_if_eq(&character).is_some();
            match next {
                _ if is_doubled => text.push(next),
                '\\' if escapes => text.extend(characters.next()),
                // What it means depends on a setting of the server.
                '\\' if character == '\'' => panic!("a backslash in plain quotes: {statement}"),
                _ if next == character => break,
                _ => text.push(next),
            }
        }
        rest.extend([character, character]);
        quoted.push(text);
    }
    (rest, quoted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scanner_takes_a_statement_apart() {
        let (rest, quoted) = taken_apart(r#"a "b""\" E'\\''\'' 'd' e"#);
        assert_eq!(rest, "a \"\" '' '' e");
        assert_eq!(quoted, ["b\"\\", "\\''", "d"]);
    }

    const ID: &str = "(urn:uuid:|\\{)?[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9A-F]{12}\\}?|[0-9a-f]{31,33}";

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![4 => ID, 1 => "[ \t\n\u{a0}]{0,3}", 1 => any::<String>()]
            .prop_flat_map(|key| "[ \t\n\u{a0}]{0,2}| {80,90}".prop_map(move |blanks| format!("{blanks}{key}{blanks}")))
    }

    proptest! {
        #[test]
        fn a_name_that_is_taken_is_that_name_and_nothing_else(
            written in "\\PC{0,30}|[a-zA-Z0-9_$é\". ]{0,12}|\"[^\0]{0,9}\"(\\.\"[^\0]{0,9}\")?",
        ) {
            name(&written);
        }

        #[test]
        fn statements_are_the_same_whatever_things_are_called(called in "[^\0]{0,20}|['\"\\\\E;$-]{0,10}") {
            statements(&called);
        }

        #[test]
        fn every_row_is_a_candidate_or_is_skipped(
            texts in proptest::collection::vec((proptest::option::of(key()), proptest::option::of("[ a\u{a0}]{0,3}")), 0..9),
        ) {
            rows(texts.into_iter().map(|(key, reason)| (key, None, None, None, reason)).collect());
        }

        #[test]
        fn an_id_is_shown_in_one_spelling(text in key()) {
            session_id(&text);
        }
    }
}
