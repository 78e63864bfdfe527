//! How the database would find the rows: by an index, or by reading the whole table.
//!
//! EXPLAIN without ANALYZE: nothing is run.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::identifier::quote;
use super::read::read_only;
use super::statement::Table;

/// The plans of the statements that run all the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plans {
    /// Finding the candidates, once a sweep; where the source tracks changes, once an hour.
    pub discovery: Plan,
    /// Finding them among the rows that changed, once a sweep.
    pub changes: Changes,
    /// Asking whether the source still names a session, once a batch of claims.
    pub look_again: Plan,
}

/// Whether a sweep can look at what changed alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// No mapped column says when a row was changed.
    Untold,
    /// An index serves, or there can be none.
    ByIndex,
    /// None serves: the statement that would mend it.
    Unserved(String),
}

/// How one statement finds its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The tables that are read from end to end; none where indexes serve.
    pub scanned: Vec<String>,
    /// The statement that would mend it, where we can tell.
    pub advice: Option<String>,
}

impl Plan {
    /// Whether every table is read by an index.
    #[must_use]
    pub fn uses_index(&self) -> bool {
        self.scanned.is_empty()
    }
}

/// Explains a statement; `keys` are for its first parameter, where it has one.
///
/// With `avoid_scans` a sequential scan is planned only where no index can serve, so that a table which is still small
/// does not hide a missing index.
pub(super) async fn explain(
    statement: &str,
    keys: Option<&[String]>,
    avoid_scans: bool,
    connection: &mut PgConnection,
) -> Result<Plan, sqlx::Error> {
    let mut transaction = read_only(connection).await?;
    if avoid_scans {
        sqlx::query("SET LOCAL enable_seqscan = off").execute(&mut *transaction).await?;
    }
    let explain = format!("/* geft-sweeper source.explain */ EXPLAIN (FORMAT JSON)\n{statement}");
    let query = sqlx::query_scalar::<_, Value>(AssertSqlSafe(explain)).persistent(false);
    let query = match keys {
        Some(keys) => query.bind(keys),
        None => query,
    };
    let plan = query.fetch_one(&mut *transaction).await?;
    // Taken back, so that the setting does not outlive us in a transaction around this one.
    transaction.rollback().await?;
    let mut scanned = Vec::new();
    sequential_scans(&plan, &mut scanned);
    scanned.sort();
    scanned.dedup();
    Ok(Plan { scanned, advice: None })
}

const SERVED: &str = "/* geft-sweeper source.serves_changes */
SELECT EXISTS (SELECT FROM pg_catalog.pg_index i
                 JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                 JOIN pg_catalog.pg_am m ON m.oid = c.relam
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attname = $2
                WHERE i.indrelid = pg_catalog.to_regclass($1) AND m.amname = 'btree' AND i.indisvalid
                  AND a.attnum IN (i.indkey[0], i.indkey[1]))";

/// Whether an index has the column of changes first, or second behind the status. The catalog is asked: for a small table a
/// plan may well use another index, which over a large one would be read from end to end.
pub(super) async fn changes(
    table: &Table,
    [status, updated_at]: [&str; 2],
    connection: &mut PgConnection,
) -> Result<Changes, sqlx::Error> {
    let served: bool = sqlx::query_scalar(SERVED).bind(&table.relation).bind(updated_at).fetch_one(connection).await?;
    let advice = create_index(table, &[status, updated_at]).filter(|_| !served);
    Ok(advice.map_or(Changes::ByIndex, Changes::Unserved))
}

fn sequential_scans(plan: &Value, scanned: &mut Vec<String>) {
    match plan {
        Value::Array(parts) => parts.iter().for_each(|part| sequential_scans(part, scanned)),
        Value::Object(node) => {
            if node.get("Node Type").and_then(Value::as_str) == Some("Seq Scan") {
                let name = node.get("Relation Name").and_then(Value::as_str).unwrap_or("a table");
                scanned.push(name.to_owned());
            }
            node.values().for_each(|part| sequential_scans(part, scanned));
        }
        _ => {}
    }
}

/// The index that would serve, where the table can have one.
pub(super) fn create_index(table: &Table, columns: &[&str]) -> Option<String> {
    if !table.can_have_index {
        return None;
    }
    // A partitioned table cannot have its index built concurrently.
    let how = if table.is_partitioned { "CREATE INDEX" } else { "CREATE INDEX CONCURRENTLY" };
    let columns: Vec<_> = columns.iter().map(|column| quote(column)).collect();
    Some(format!("{how} ON {} ({});", table.relation, columns.join(", ")))
}
