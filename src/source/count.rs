//! Counts the sessions that a discovery would find, in the database and no further than it takes.
//!
//! It hands no row on.

use sqlx::{AssertSqlSafe, PgConnection};

use super::key::{LONGEST, uuid_of};
use super::read::read_only;

/// How many different sessions this discovery finds; `enough` at the most. `is_uuid`: its keys come from a uuid column.
pub(super) async fn sessions(
    discovery: &str,
    is_uuid: bool,
    enough: u64,
    connection: &mut PgConnection,
) -> Result<u64, sqlx::Error> {
    let mut rows = enough;
    loop {
        let (read, sessions) = count(&statement(discovery, is_uuid, rows), connection).await?;
        if read < rows || sessions >= enough {
            return Ok(sessions.min(enough));
        }
        // Some sessions are named more than once: so many rows do not tell yet.
        rows = rows.saturating_mul(2);
    }
}

/// Usable rows among the first so many, and different sessions among those.
async fn count(statement: &str, connection: &mut PgConnection) -> Result<(u64, u64), sqlx::Error> {
    let mut transaction = read_only(connection).await?;
    let statement = sqlx::query_as(AssertSqlSafe(statement)).persistent(false);
    let (read, sessions): (i64, i64) = statement.fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((u64::try_from(read).unwrap_or_default(), u64::try_from(sessions).unwrap_or_default()))
}

/// Materialized, so that the discovery is planned as the cursor's is, for all of its rows. (A LIMIT that the planner saw
/// could turn it from the index to reading the table.) It is run only as far as rows are asked of it.
fn statement(discovery: &str, is_uuid: bool, rows: u64) -> String {
    // What a uuid column gave need not be looked at for what it is.
    let session_id = if is_uuid { "key::uuid".to_owned() } else { uuid_of("key") };
    format!(
        "/* geft-sweeper source.count */\n\
         WITH named (session_id) AS MATERIALIZED (SELECT {session_id} FROM (\n{discovery}\n) AS candidate \
         (key, reference_id, status, created_at, reason)\n WHERE length(key) <= {LONGEST})\n\
         SELECT count(*), count(DISTINCT session_id)\n  \
         FROM (SELECT session_id FROM named WHERE session_id IS NOT NULL LIMIT {}) AS usable",
        rows.min(i64::MAX.unsigned_abs()),
    )
}
