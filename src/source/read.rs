//! Reads the candidates page by page through a cursor, and turns rows into candidates.
//!
//! A row that cannot be used is handed on as skipped; it never stops the others.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction};

use super::error::Error;
use super::key::LONGEST;
use super::statement::{Found, Spellings, Table};
use super::{Page, Skipped};
use crate::session::{Candidate, Reason, SessionId};

/// More different statuses than this, and the column is compared row by row instead.
const MOST_SPELLINGS: usize = 500;

/// What a reason is called that the source query left empty.
const UNSPECIFIED: &str = "unspecified";

/// A candidate's row: key, reference, status, created, reason.
pub(super) type Row = (Option<String>, Option<String>, Option<String>, Option<DateTime<Utc>>, Option<String>);

/// Puts the planner back to what the merchant's server is set to: for what our connections are set to suits the ledger, and
/// plans within the functions of views and queries hang on it too. Compiling alone stays off.
const AS_THE_SERVER_PLANS: &str = "SET LOCAL random_page_cost TO DEFAULT; SET LOCAL plan_cache_mode TO DEFAULT";

/// Begins a transaction, or a part of the one under way, in which nothing can be written, and in which the merchant's
/// tables are read as the merchant's server plans.
pub(super) async fn read_only(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    if !connection.is_in_transaction() {
        return connection.begin_with(AssertSqlSafe(format!("BEGIN READ ONLY; {AS_THE_SERVER_PLANS}"))).await;
    }
    let mut transaction = connection.begin().await?;
    let set = format!("SET TRANSACTION READ ONLY; {AS_THE_SERVER_PLANS}");
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *transaction).await?;
    Ok(transaction)
}

/// Opens the cursor for a SELECT. It lasts beyond its transaction where that is [let go](let_go).
pub(super) async fn declare(connection: &mut PgConnection, select: &str) -> Result<(), sqlx::Error> {
    let mut transaction = read_only(connection).await?;
    // The whole result is read: the plan that is quickest to the last row, not to the first. A cursor that a failure left
    // behind on this connection is closed.
    sqlx::raw_sql("SET LOCAL cursor_tuple_fraction = 1; CLOSE ALL").execute(&mut *transaction).await?;
    let declare = format!(
        "/* geft-sweeper source.discover */\nDECLARE geft_sweeper_candidates NO SCROLL CURSOR WITH HOLD FOR\n{select}"
    );
    // Not kept prepared: it differs from sweep to sweep.
    sqlx::query(AssertSqlSafe(declare)).persistent(false).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// The next rows of the cursor; none at its end.
pub(super) async fn fetch(connection: &mut PgConnection, rows: u32) -> Result<Option<Page>, sqlx::Error> {
    let wanted = rows.max(1);
    let mut transaction = read_only(connection).await?;
    let fetch = format!("/* geft-sweeper source.fetch */ FETCH {wanted} FROM geft_sweeper_candidates");
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(fetch)).persistent(false).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(if rows.is_empty() { None } else { Some(page(rows, wanted)) })
}

/// Has the server keep the rest of the cursor's rows, and ends the transaction for a new one that holds nothing: no lock on
/// the merchant's table and no old snapshot.
pub(super) async fn let_go(transaction: &mut Transaction<'static, Postgres>) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("/* geft-sweeper source.let_go */ COMMIT; BEGIN READ ONLY").execute(&mut **transaction).await?;
    Ok(())
}

/// Closes the cursor.
pub(super) async fn close(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("/* geft-sweeper source.close */ CLOSE geft_sweeper_candidates").execute(connection).await?;
    Ok(())
}

/// How the statuses are spelled in the table; none where that cannot be told beforehand.
pub(super) async fn spellings(table: &Table, connection: &mut PgConnection) -> Result<Option<Found>, Error> {
    if !matches!(table.spellings, Spellings::AskIndex) {
        return Ok(None);
    }
    let doing = "ask the index on the status for its spellings";
    let mut transaction = read_only(connection).await.map_err(Error::when(doing))?;
    let rows: Vec<(Option<String>, bool, bool)> = sqlx::query_as(AssertSqlSafe(table.spellings(MOST_SPELLINGS)))
        .fetch_all(&mut *transaction)
        .await
        .map_err(Error::when(doing))?;
    transaction.commit().await.map_err(Error::when(doing))?;
    if rows.len() == MOST_SPELLINGS {
        return Ok(None);
    }
    let mut found = Found::default();
    for (spelling, abandoned, open) in rows {
        let Some(spelling) = spelling else { continue };
        if abandoned {
            found.abandoned.push(spelling.clone());
        }
        if open {
            found.open.push(spelling);
        }
    }
    Ok(Some(found))
}

/// Sorts rows into candidates, by id and each session once, and those that cannot be used.
pub(super) fn page(rows: Vec<Row>, wanted: u32) -> Page {
    let is_last = u32::try_from(rows.len()).is_ok_and(|number| number < wanted);
    let mut candidates = BTreeMap::new();
    let mut skipped = Vec::new();
    for row in rows {
        match candidate(row) {
            // The first row of a session stands: abandoned comes before aged.
            Ok(candidate) => {
                candidates.entry(candidate.session_id).or_insert(candidate);
            }
            Err(unusable) => skipped.push(unusable),
        }
    }
    Page { candidates: candidates.into_values().collect(), skipped, is_last }
}

fn candidate((key, reference_id, source_status, source_created_at, reason): Row) -> Result<Candidate, Skipped> {
    let Some(source_key) = key else {
        return Err(Skipped { key: None, why: "it has no session id" });
    };
    let session_id = match source_key.parse::<SessionId>() {
        Ok(session_id) if source_key.chars().count() <= LONGEST => session_id,
        _ => return Err(Skipped { key: Some(source_key), why: "its session id is no UUID" }),
    };
    let reason = match reason.as_deref().map(str::trim) {
        None | Some("") => UNSPECIFIED,
        Some(words) => words,
    };
    let reason = Reason::new(reason);
    Ok(Candidate { session_id, source_key, reference_id, reason, source_status, source_created_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";

    fn row(key: Option<&str>, reason: Option<&str>) -> Row {
        (key.map(str::to_owned), None, None, None, reason.map(str::to_owned))
    }

    #[test]
    fn an_unusable_row_is_skipped_and_the_others_go_on() {
        let rows =
            vec![row(None, None), row(Some("none"), None), row(Some(ID), None), row(Some(&"7".repeat(201)), None)];
        let page = page(rows, 4);
        assert_eq!(page.candidates.len(), 1);
        assert_eq!(page.skipped.len(), 3);
        assert!(!page.is_last, "as many rows as were asked for: there may be more");
        assert_eq!(page.skipped[0], Skipped { key: None, why: "it has no session id" });
    }

    #[test]
    fn a_key_cut_short_is_never_taken_for_an_id() {
        let padded = format!("{ID}{}", " ".repeat(LONGEST));
        assert_eq!(page(vec![row(Some(&padded), None)], 1).candidates, []);
    }

    #[test]
    fn a_page_is_sorted_and_names_each_session_once_with_its_own_spelling() {
        let upper = format!(" {} ", ID.to_uppercase());
        let first = "00000000-0000-4000-8000-000000000000";
        let page =
            page(vec![row(Some(&upper), Some("one")), row(Some(ID), Some("two")), row(Some(first), Some(" "))], 4);
        let said: Vec<_> = page.candidates.iter().map(|c| (c.source_key.as_str(), c.reason.as_str())).collect();
        assert_eq!(said, [(first, "unspecified"), (upper.as_str(), "one")]);
    }
}
