//! The column that holds the session's id, as SQL: compared in its own type, so that its index serves.

use super::catalog::Column;
use super::identifier::quote;

/// Longer keys than this are no UUID in any spelling.
pub(super) const LONGEST: usize = 200;

/// The id column, of type uuid or text-like.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// The column as it stands in SQL, qualified and quoted.
    pub(super) column: String,
    type_name: String,
    equals_schema: String,
    pub(super) is_uuid: bool,
}

impl Key {
    /// The key, where the column's type can be one.
    pub(super) fn of(expression: String, column: &Column) -> Option<Self> {
        let is_uuid = column.type_name == "uuid";
        (is_uuid || column.is_text()).then(|| Self {
            column: expression,
            type_name: column.type_name.clone(),
            equals_schema: column.equals_schema.clone(),
            is_uuid,
        })
    }

    /// The id in the column's own spelling; one character more than the longest, so that a cut is seen.
    pub(super) fn text(&self) -> String {
        format!("left({}::text, {})", self.column, LONGEST + 1)
    }

    /// The id as a uuid; NULL where a text is none.
    pub(super) fn uuid(&self) -> String {
        if self.is_uuid { self.column.clone() } else { uuid_of(&self.column) }
    }

    /// True where the column is one of the texts in the first parameter.
    pub(super) fn among_parameter(&self) -> String {
        let Self { column, type_name, equals_schema, .. } = self;
        format!("{column} OPERATOR({}.=) ANY ($1::text[]::{type_name}[])", quote(equals_schema))
    }
}

/// A text as a uuid, in each spelling that a session's id is read in; NULL where it is none. (Postgres 15 has no
/// `pg_input_is_valid`.) A spelling that the server did not know would be new to it in every sweep.
pub(super) fn uuid_of(text: &str) -> String {
    let trimmed = format!("lower(btrim({text}::text, E' \\t\\n\\r'))");
    let digit = "[0-9a-f]";
    let hyphenated = format!("{digit}{{8}}(-{digit}{{4}}){{3}}-{digit}{{12}}");
    // Nearly all are spelled like this, and a regular expression costs ten times as much.
    let usual = format!(
        "{text}::text LIKE '________-____-____-____-____________' \
         AND {text}::text !~ '[^0-9a-fA-F-]' AND length(replace({text}::text, '-', '')) = 32"
    );
    format!(
        "CASE WHEN {usual} THEN {text}::text::uuid \
         WHEN {trimmed} ~ '^({digit}{{32}}|{hyphenated}|[{{]{hyphenated}[}}]|urn:uuid:{hyphenated})$' \
         THEN replace({trimmed}, 'urn:uuid:', '')::uuid END"
    )
}
