//! Counts the source's rows by status, for people: what there is, and what happens to it.
//!
//! Looks at every row of the lookback, so it is for `check`, not for each sweep.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection};

use super::moment::{Moment, ago};
use super::read::read_only;
use super::statement::{Query, Table};

/// The rows of the lookback by status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// One entry a status in its spelling, the most frequent first; at most 200.
    pub statuses: Vec<StatusCount>,
    /// Rows dated in the future: never aged.
    pub in_future: u64,
    /// Rows without a date: never found, whatever their status.
    pub without_date: u64,
    /// When the newest row was created that is not dated in the future, however long ago.
    pub newest: Option<DateTime<Utc>>,
    /// How long ago that was, by the database's clock.
    pub newest_age: Option<Duration>,
}

/// The rows of one status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCount {
    /// The status in the spelling of the column, cut at 100 characters; for a source query its reason.
    pub status: Option<String>,
    /// Rows within the lookback.
    pub rows: u64,
    /// What happens to them.
    pub fate: Fate,
    /// How many of them are canceled now, as far as the source decides.
    pub due: u64,
}

/// What happens to the rows of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Canceled, whatever their age.
    Abandoned,
    /// Canceled as soon as they are older than `max_age`.
    Aged,
    /// Nothing.
    LeftAlone,
    /// Canceled, because the source query names them.
    Queried,
}

/// Status, abandoned, open, rows, aged, in the future.
type Row = (Option<String>, bool, bool, i64, i64, i64);

/// Counts the table's rows.
pub(super) async fn table(table: &Table, connection: &mut PgConnection) -> Result<Census, sqlx::Error> {
    let mut transaction = read_only(connection).await?;
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(by_status(table))).fetch_all(&mut *transaction).await?;
    let (without_date, newest, age): (i64, Option<DateTime<Utc>>, Option<f64>) =
        sqlx::query_as(AssertSqlSafe(newest(table))).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Census {
        in_future: rows.iter().map(|row| count(row.5)).sum(),
        without_date: count(without_date),
        newest,
        newest_age: age.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        statuses: rows.into_iter().map(|row| status_count(table, row)).collect(),
    })
}

fn status_count(table: &Table, (status, abandoned, open, rows, aged, _): Row) -> StatusCount {
    let rows = count(rows);
    let (fate, due) = match (abandoned, open && table.max_age.is_some()) {
        (true, _) => (Fate::Abandoned, rows),
        (false, true) => (Fate::Aged, count(aged)),
        (false, false) => (Fate::LeftAlone, 0),
    };
    StatusCount { status, rows, fate, due }
}

fn by_status(table: &Table) -> String {
    format!(
        "/* geft-sweeper source.census */\nSELECT left({}::text, 100), coalesce({}, false), coalesce({}, false), \
         count(*), count(*) FILTER (WHERE {}), count(*) FILTER (WHERE {} > now())\n  FROM {} AS merchant\n \
         WHERE {}\n GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1 LIMIT 200",
        table.status,
        table.is_abandoned(None),
        table.is_open(None),
        table.is_aged(None).unwrap_or_else(|| "false".to_owned()),
        table.created_at.instant(),
        table.relation,
        table.created_at.at_least(&ago(table.lookback)),
    )
}

fn newest(table: &Table) -> String {
    let (relation, created_at) = (&table.relation, &table.created_at.column);
    let newest = Moment { column: "newest.at".to_owned(), zone: table.created_at.zone.clone() };
    format!(
        "/* geft-sweeper source.newest */\nSELECT \
         (SELECT count(*) FROM {relation} AS merchant WHERE {created_at} IS NULL),\n       {presentable}, \
         extract(epoch FROM now() - {presentable})::float8\n  \
         FROM (SELECT max({created_at}) AS at FROM {relation} AS merchant WHERE {}) AS newest",
        table.created_at.at_most("now()"),
        presentable = newest.presentable(),
    )
}

/// Counts the rows that the query gives, by their reason.
pub(super) async fn query(query: &Query, connection: &mut PgConnection) -> Result<Census, sqlx::Error> {
    let statement = format!(
        "/* geft-sweeper source.census */\nSELECT left(merchant.reason::text, 100), count(*)\n  FROM {}\n \
         GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 200",
        query.relation()
    );
    let mut transaction = read_only(connection).await?;
    let rows: Vec<(Option<String>, i64)> =
        sqlx::query_as(AssertSqlSafe(statement)).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let statuses = rows.into_iter().map(|(status, rows)| {
        let rows = count(rows);
        StatusCount { status, rows, fate: Fate::Queried, due: rows }
    });
    Ok(Census { statuses: statuses.collect(), ..Census::default() })
}

/// A count from the database, which is never below zero.
fn count(rows: i64) -> u64 {
    rows.unsigned_abs()
}
