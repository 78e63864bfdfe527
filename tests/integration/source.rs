//! The merchant's table as it may be found in the wild: types, names, zones, rights and indexes.

mod count;
mod discovery;
mod faults;
mod indexes;
mod names;
mod query;
mod times;

use std::time::Duration;

use chrono::{DateTime, Utc};
use geft_sweeper::config::{self, Columns, Selection, Table};
use geft_sweeper::source::{Page, Source};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::support::TestDatabase;

const HOUR: Duration = Duration::from_hours(1);
const ONE: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad1";
const TWO: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad2";
const THREE: &str = "7d444840-9dc0-41d1-b245-5ffdce74fad3";

/// A connection to a database of the test's own, which ends with the server; unqualified names lie in a schema there.
async fn connection() -> PgConnection {
    let mut connection = PgConnection::connect(TestDatabase::without_schema().await.url()).await.unwrap();
    let schema = format!("test_{}", Uuid::new_v4().simple());
    run(&mut connection, &format!("CREATE SCHEMA {schema}; SET search_path = {schema}")).await;
    connection
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

fn table() -> Table {
    Table {
        table: "sessions".to_owned(),
        columns: Columns {
            session_id: "session_id".to_owned(),
            reference_id: "reference_id".to_owned(),
            status: "status".to_owned(),
            created_at: "created_at".to_owned(),
            updated_at: None,
        },
        time_zone: None,
        abandoned_statuses: vec!["abandoned".to_owned()],
        open_statuses: vec!["pending".to_owned()],
        max_age: Some(HOUR / 2),
    }
}

fn settings(table: Table) -> config::Source {
    config::Source {
        selection: Selection::Table(Box::new(table)),
        lookback: 7 * 24 * HOUR,
        in_progress: config::InProgress::Cancel,
    }
}

fn query(text: &str) -> config::Source {
    config::Source {
        selection: Selection::Query(text.to_owned()),
        lookback: HOUR,
        in_progress: config::InProgress::Cancel,
    }
}

async fn create(connection: &mut PgConnection, id: &str, status: &str, created_at: &str) {
    let sql =
        format!("CREATE TABLE sessions (session_id {id}, reference_id text, status {status}, created_at {created_at})");
    run(connection, &sql).await;
}

async fn inspect(settings: &config::Source, connection: &mut PgConnection) -> Source {
    Source::inspect(settings, connection).await.unwrap()
}

async fn faults(settings: &config::Source, connection: &mut PgConnection) -> Vec<String> {
    let error = Source::inspect(settings, connection).await.unwrap_err();
    assert!(error.is_mistake_in_settings(), "{error:?}");
    error.sentences()
}

async fn discover(source: &Source, connection: &mut PgConnection) -> Page {
    discover_with(source, connection, None, None).await
}

async fn discover_with(
    source: &Source,
    connection: &mut PgConnection,
    not_known: Option<&str>,
    since: Option<DateTime<Utc>>,
) -> Page {
    let mut transaction = connection.begin().await.unwrap();
    source.open(&mut transaction, not_known, since).await.unwrap();
    let mut all = Page::default();
    while let Some(page) = source.next_page(&mut transaction, 2).await.unwrap() {
        all.candidates.extend(page.candidates);
        all.skipped.extend(page.skipped);
    }
    all.candidates.sort_by_key(|candidate| candidate.session_id);
    all
}

fn ids(page: &Page) -> Vec<String> {
    page.candidates.iter().map(|candidate| candidate.session_id.to_string()).collect()
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}
