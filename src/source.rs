//! Reads the merchant's sessions: which are to be canceled, and whether they still are.
//!
//! The only room that knows the merchant's schema, and the only one whose SQL is made at run time: names are parsed and
//! quoted in `identifier`, and every statement is built in `statement`. It never writes and never locks: all it sends
//! are plain SELECTs in READ ONLY transactions.

mod catalog;
mod census;
mod count;
mod error;
mod identifier;
mod inspect;
mod inspect_query;
mod key;
mod look_again;
mod moment;
mod plans;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a broken promise is a panic")]
pub(crate) mod promises;
mod read;
mod statement;
mod triggers;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};

pub use self::census::{Census, Fate, StatusCount};
pub use self::error::Error;
pub use self::plans::{Changes, Plan, Plans};
use self::statement::{Query, Table};
pub use self::triggers::Triggers;
use crate::config;
use crate::session::Candidate;

/// The merchant's sessions, inspected: what the columns are is known.
#[derive(Clone, Debug)]
pub struct Source {
    reading: Reading,
    columns: Option<config::Columns>,
    fingerprint: String,
}

#[derive(Clone, Debug)]
enum Reading {
    Table(Box<Table>),
    Query(Query),
}

/// Some of the source's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Sorted by session id, each session once.
    pub candidates: Vec<Candidate>,
    /// Rows that could not be used; they come again in every sweep.
    pub skipped: Vec<Skipped>,
    /// Whether the cursor is at its end: fewer rows came than were asked for.
    pub is_last: bool,
}

/// A row that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What the row has for its session id, cut at 201 characters.
    pub key: Option<String>,
    /// Why it could not be used, as the end of a sentence.
    pub why: &'static str,
}

impl Page {
    /// What the cursor gives at its end.
    #[must_use]
    pub fn end() -> Self {
        Self { is_last: true, ..Self::default() }
    }
}

impl Source {
    /// Looks at the merchant's table or query, and refuses what cannot work: all faults at once, one sentence each.
    pub async fn inspect(settings: &config::Source, connection: &mut PgConnection) -> Result<Self, Error> {
        refuse_zero_bytes(settings)?;
        // In a transaction, so that a refused statement leaves nothing behind in one around it.
        let doing = "look at the source";
        let mut transaction = connection.begin().await.map_err(Error::when(doing))?;
        let (reading, columns, oid) = match &settings.selection {
            config::Selection::Table(table) => {
                let (reading, oid) = inspect::table(table, settings.lookback, &mut transaction).await?;
                (Reading::Table(Box::new(reading)), Some(table.columns.clone()), oid)
            }
            config::Selection::Query(text) => {
                (Reading::Query(inspect_query::query(text, &mut transaction).await?), None, 0)
            }
        };
        let fingerprint = catalog::digest(&mut transaction, &format!("{oid} {settings:?}")).await?;
        let source = Self { reading, columns, fingerprint };
        source.try_out(&mut transaction).await?;
        transaction.rollback().await.map_err(Error::when(doing))?;
        Ok(source)
    }

    /// Has the server plan the discovery: it checks rights and constants that the catalog does not show.
    async fn try_out(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let planned = plans::explain(&self.discovery(None, None, None), None, false, connection).await;
        match (planned, &self.reading) {
            (Ok(_), _) => Ok(()),
            (Err(error), Reading::Query(_)) => Err(inspect_query::refused(error)),
            (Err(error), Reading::Table(_)) => Err(match error::complaint(&error) {
                Some(said) => Error::Settings(vec![format!(
                    "The statement that `[source]` comes to is refused by the database: {}.",
                    said.message()
                )]),
                None => Error::when("plan the discovery")(error),
            }),
        }
    }

    /// Opens a cursor over the candidates, inside the caller's transaction; nothing can be written through it.
    ///
    /// `not_known` is an SQL condition in which `{session_id}` stands for the row's id as a uuid: rows for which it does
    /// not hold are passed over in the database. It must hold where the id is NULL (as `NOT EXISTS (… = {session_id})`
    /// does), so that rows without a usable id come through and are counted. Its own tables must not be named `merchant`.
    ///
    /// `since`: rows are looked for only among those that were changed or became old since, where the source [tracks
    /// changes](Self::tracks_changes); none is a full pass of the lookback.
    pub async fn open(
        &self,
        connection: &mut PgConnection,
        not_known: Option<&str>,
        since: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let found = self.spellings(connection).await?;
        let select = self.discovery(found.as_ref(), not_known, since);
        read::declare(connection, &select).await.map_err(Error::when("open the cursor over the source"))
    }

    /// The next rows under the cursor that [`open`](Self::open) opened on the same connection; none at its end.
    pub async fn next_page(&self, connection: &mut PgConnection, rows: u32) -> Result<Option<Page>, Error> {
        read::fetch(connection, rows).await.map_err(Error::when("read the next rows of the source"))
    }

    /// Ends the transaction under the cursor that [`open`](Self::open) opened in it, for one that holds nothing of the
    /// merchant's: the server keeps the rows that are left, and they can be read on.
    pub async fn let_go(&self, transaction: &mut Transaction<'static, Postgres>) -> Result<(), Error> {
        read::let_go(transaction).await.map_err(Error::when("let go of the source's table"))
    }

    /// Closes the cursor, which must be done before its transaction is committed.
    pub async fn close(&self, connection: &mut PgConnection) -> Result<(), Error> {
        read::close(connection).await.map_err(Error::when("close the cursor over the source"))
    }

    /// How many different sessions [`open`](Self::open) finds with the same arguments, rows that cannot be used left out;
    /// `enough` at the most, and no more rows are read than it takes to tell.
    pub async fn count(
        &self,
        connection: &mut PgConnection,
        not_known: Option<&str>,
        since: Option<DateTime<Utc>>,
        enough: u64,
    ) -> Result<u64, Error> {
        let found = self.spellings(connection).await?;
        let select = self.discovery(found.as_ref(), not_known, since);
        count::sessions(&select, self.is_uuid(), enough, connection)
            .await
            .map_err(Error::when("count the sessions that the source names"))
    }

    /// Which of these keys the source still names, by status and age; never by lookback or date of change.
    pub async fn still_named(&self, connection: &mut PgConnection, keys: &[String]) -> Result<HashSet<String>, Error> {
        look_again::still_named(self.look_again(), self.is_uuid(), keys, connection)
            .await
            .map_err(Error::when("ask the source whether it still names the sessions"))
    }

    /// Counts the rows by status, for people.
    pub async fn census(&self, connection: &mut PgConnection) -> Result<Census, Error> {
        let counted = match &self.reading {
            Reading::Table(table) => census::table(table, connection).await,
            Reading::Query(query) => census::query(query, connection).await,
        };
        counted.map_err(Error::when("count the source's rows by status"))
    }

    /// Whether indexes serve the two statements that run all the time, and which would.
    pub async fn plans(&self, connection: &mut PgConnection) -> Result<Plans, Error> {
        let found = self.spellings(connection).await?;
        // A query may well read a small table of its own from end to end: there the natural plan counts.
        let strict = matches!(self.reading, Reading::Table(_));
        let select = self.discovery(found.as_ref(), None, None);
        let keys: Vec<String> = (0_u128..100).map(|number| uuid::Uuid::from_u128(number).to_string()).collect();
        let doing = "explain the statements on the source";
        let mut discovery = plans::explain(&select, None, strict, connection).await.map_err(Error::when(doing))?;
        let mut look_again =
            plans::explain(&self.look_again(), Some(&keys), strict, connection).await.map_err(Error::when(doing))?;
        let mut changes = Changes::Untold;
        if let (Reading::Table(table), Some(columns)) = (&self.reading, &self.columns) {
            if let Some(updated_at) = &columns.updated_at {
                let columns = [columns.status.as_str(), updated_at];
                changes = plans::changes(table, columns, connection).await.map_err(Error::when(doing))?;
            }
            if !discovery.uses_index() {
                discovery.advice = plans::create_index(table, &[&columns.status, &columns.created_at]);
            }
            if !look_again.uses_index() {
                look_again.advice = plans::create_index(table, &[&columns.session_id]);
            }
        }
        Ok(Plans { discovery, changes, look_again })
    }

    /// Whether the table says at once what becomes abandoned.
    pub async fn triggers(&self, connection: &mut PgConnection) -> Result<Triggers, Error> {
        match (&self.reading, &self.columns) {
            (Reading::Table(table), Some(columns)) => triggers::look(table, &columns.status, connection)
                .await
                .map_err(Error::when("look at the table's triggers")),
            _ => Ok(Triggers::Absent),
        }
    }

    /// A digest of all that decides what discovery finds; it changes when that does.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    /// Whether the source says when a row was changed, so that a sweep can look only at what changed.
    #[must_use]
    pub fn tracks_changes(&self) -> bool {
        matches!(&self.reading, Reading::Table(table) if table.updated_at.is_some())
    }

    async fn spellings(&self, connection: &mut PgConnection) -> Result<Option<statement::Found>, Error> {
        match &self.reading {
            Reading::Table(table) => read::spellings(table, connection).await,
            Reading::Query(_) => Ok(None),
        }
    }

    fn discovery(
        &self,
        found: Option<&statement::Found>,
        not_known: Option<&str>,
        since: Option<DateTime<Utc>>,
    ) -> String {
        match &self.reading {
            Reading::Table(table) => table.discovery(found, not_known, since),
            Reading::Query(query) => query.discovery(not_known),
        }
    }

    fn look_again(&self) -> String {
        match &self.reading {
            Reading::Table(table) => table.still_named(),
            Reading::Query(query) => query.still_named(),
        }
    }

    fn is_uuid(&self) -> bool {
        match &self.reading {
            Reading::Table(table) => table.key.is_uuid,
            Reading::Query(query) => query.key.is_uuid,
        }
    }
}

/// A zero byte ends a statement on its way to the server, wherever it stands.
fn refuse_zero_bytes(settings: &config::Source) -> Result<(), Error> {
    let texts: Vec<&String> = match &settings.selection {
        config::Selection::Query(text) => vec![text],
        config::Selection::Table(table) => {
            let columns = &table.columns;
            [&table.table, &columns.session_id, &columns.reference_id, &columns.status, &columns.created_at]
                .into_iter()
                .chain(&columns.updated_at)
                .chain(&table.time_zone)
                .chain(&table.abandoned_statuses)
                .chain(&table.open_statuses)
                .collect()
        }
    };
    match texts.into_iter().find(|text| text.contains('\0')) {
        None => Ok(()),
        Some(text) => {
            Err(Error::Settings(vec![format!("`[source]` has {text:?}, with a zero byte in it: take it out.")]))
        }
    }
}
