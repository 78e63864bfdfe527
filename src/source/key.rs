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

    /// The id as a uuid; NULL where a text is none in the usual spelling. (Postgres 15 has no `pg_input_is_valid`.)
    pub(super) fn uuid(&self) -> String {
        if self.is_uuid {
            return self.column.clone();
        }
        let trimmed = format!("btrim({}::text, E' \\t\\n\\r')", self.column);
        format!(
            "CASE WHEN {trimmed} ~* '^[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}$' \
             THEN {trimmed}::uuid END"
        )
    }

    /// True where the column is one of the texts in the first parameter.
    pub(super) fn among_parameter(&self) -> String {
        let Self { column, type_name, equals_schema, .. } = self;
        format!("{column} OPERATOR({}.=) ANY ($1::text[]::{type_name}[])", quote(equals_schema))
    }
}
