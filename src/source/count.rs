//! Counts the sessions that a discovery would find, in the database and no further than it takes.
//!
//! It hands no row on.

use sqlx::{AssertSqlSafe, PgConnection};

use super::key::{LONGEST, uuid_of};
use super::read::read_only;

/// How many different sessions this discovery finds; `enough` at the most.
pub(super) async fn sessions(discovery: &str, enough: u64, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let mut rows = enough;
    loop {
        let (read, sessions) = count(discovery, rows, connection).await?;
        if read < rows || sessions >= enough {
            return Ok(sessions.min(enough));
        }
        // Some sessions are named more than once: so many rows do not tell yet.
        rows = rows.saturating_mul(2);
    }
}

/// Usable rows among the first so many, and different sessions among those.
async fn count(discovery: &str, rows: u64, connection: &mut PgConnection) -> Result<(u64, u64), sqlx::Error> {
    let mut transaction = read_only(connection).await?;
    let statement = sqlx::query_as(AssertSqlSafe(statement(discovery, rows))).persistent(false);
    let (read, sessions): (i64, i64) = statement.fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((u64::try_from(read).unwrap_or_default(), u64::try_from(sessions).unwrap_or_default()))
}

/// Materialized, so that the discovery is planned as the cursor's is, for all of its rows. (A LIMIT that the planner saw
/// could turn it from the index to reading the table.) It is run only as far as rows are asked of it.
fn statement(discovery: &str, rows: u64) -> String {
    format!(
        "/* geft-sweeper source.count */\n\
         WITH named (session_id) AS MATERIALIZED (SELECT {} FROM (\n{discovery}\n) AS candidate \
         (key, reference_id, status, created_at, reason)\n WHERE length(key) <= {LONGEST})\n\
         SELECT count(*), count(DISTINCT session_id)\n  \
         FROM (SELECT session_id FROM named WHERE session_id IS NOT NULL LIMIT {}) AS usable",
        uuid_of("key"),
        rows.min(i64::MAX.unsigned_abs()),
    )
}
