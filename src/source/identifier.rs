//! Names and texts of the settings as SQL: parsed by Postgres's rules, quoted so that they can be nothing else.
//!
//! Pure text. Nothing here knows whether a table exists.

/// A table's name as parsed: its parts, spelled as the catalog spells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    pub(super) schema: Option<String>,
    pub(super) table: String,
}

impl TableName {
    /// Reads a name written as in SQL: `sessions`, `public.sessions`, `"My Schema"."Sessions"`.
    pub(super) fn parse(written: &str) -> Result<Self, String> {
        let mut rest = written.trim();
        let mut parts = Vec::new();
        loop {
            let (part, after) = part(rest)?;
            parts.push(part);
            rest = after.trim_start();
            if rest.is_empty() {
                break;
            }
            rest =
                rest.strip_prefix('.').ok_or_else(|| format!("there is no telling what `{rest}` means"))?.trim_start();
        }
        let table = parts.pop().unwrap_or_default();
        let schema = parts.pop();
        if !parts.is_empty() {
            return Err("a name has at most two parts, the schema and the table".to_owned());
        }
        Ok(Self { schema, table })
    }

    /// The name with each part quoted.
    pub(super) fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quote(schema), quote(&self.table)),
            None => quote(&self.table),
        }
    }
}

/// Reads one part of a name; gives it and what follows.
fn part(text: &str) -> Result<(String, &str), String> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted_part(quoted);
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    match name.chars().next() {
        None => Err("a part of it is empty".to_owned()),
        Some(first) if first.is_ascii_digit() || first == '$' => {
            Err(format!("`{name}` must stand in double quotes, because of its first character"))
        }
        // The server folds ASCII letters alone (in UTF-8), so we do too.
        Some(_) => Ok((name.to_ascii_lowercase(), rest)),
    }
}

/// Reads a part whose opening quote has been taken off; `""` stands for one quote.
fn quoted_part(text: &str) -> Result<(String, &str), String> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            return Err("a double quote is not closed".to_owned());
        };
        name.push_str(before);
        rest = match after.strip_prefix('"') {
            Some(after) => after,
            None if name.is_empty() => return Err("a part of it is empty".to_owned()),
            None => return Ok((name, after)),
        };
        name.push('"');
    }
}

/// A name taken literally, quoted for SQL.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL literal, right whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// Several texts as SQL literals with commas between, each handed to `function` (empty: to none).
pub(super) fn literals(texts: &[String], function: &str) -> String {
    texts.iter().map(|text| format!("{function}({})", literal(text))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(written: &str) -> (Option<String>, String) {
        let name = TableName::parse(written).unwrap();
        (name.schema, name.table)
    }

    #[test]
    fn names_are_read_by_the_rules_of_sql() {
        let plain = |table: &str| (None, table.to_owned());
        let within = |schema: &str, table: &str| (Some(schema.to_owned()), table.to_owned());
        assert_eq!(parsed("payment_sessions"), plain("payment_sessions"));
        assert_eq!(parsed("Payment_Sessions"), plain("payment_sessions"));
        assert_eq!(parsed("\"Payment_Sessions\""), plain("Payment_Sessions"));
        assert_eq!(parsed("public.sessions"), within("public", "sessions"));
        assert_eq!(parsed("\"My Schema\" . \"Payment.Sessions\""), within("My Schema", "Payment.Sessions"));
        assert_eq!(parsed("\"a\"\"b\""), plain("a\"b"));
        assert_eq!(parsed("_séances$1"), plain("_séances$1"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for written in
            ["", " ", "a.", ".a", "a..b", "a.b.c", "a b", "1a", "\"a", "\"\"", "a;drop", "a--", "\"a\"b", "$1"]
        {
            assert!(TableName::parse(written).is_err(), "{written:?} was taken");
        }
    }
}
