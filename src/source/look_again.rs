//! Asks whether the source still names sessions, by status and age; never by lookback or date of change.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, PgConnection};

use super::read::read_only;
use crate::session::SessionId;

/// Those of the keys whose session the statement still gives.
pub(super) async fn still_named(
    statement: String,
    is_uuid: bool,
    keys: &[String],
    connection: &mut PgConnection,
) -> Result<HashSet<String>, sqlx::Error> {
    let asked: Vec<(&String, SessionId)> =
        keys.iter().filter_map(|key| key.parse().ok().map(|session_id| (key, session_id))).collect();
    // A uuid column takes the usual spelling; a text column finds its own alone.
    let texts: Vec<String> =
        asked.iter().map(|(key, id)| if is_uuid { id.to_string() } else { (*key).clone() }).collect();
    if asked.is_empty() {
        return Ok(HashSet::new());
    }
    let mut transaction = read_only(connection).await?;
    let rows: Vec<Option<String>> =
        sqlx::query_scalar(AssertSqlSafe(statement)).bind(texts).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let named: HashSet<SessionId> = rows.iter().flatten().filter_map(|key| key.parse().ok()).collect();
    Ok(asked.into_iter().filter(|(_, id)| named.contains(id)).map(|(key, _)| key.clone()).collect())
}
