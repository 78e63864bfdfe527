//! The ledger: all SQL on the `geft_sweeper` schema. It holds what is to be canceled, who may send for it, and every
//! attempt that was made.
//!
//! It never reads the merchant's tables and never talks to the provider. A statement that finishes work names the
//! claim that the work belongs to, so that a late process changes nothing.

mod apis;
mod backlog;
mod brakes;
mod claim;
mod discover;
mod figures;
mod holds;
mod intakes;
mod processes;
mod questions;
mod record;
mod release;
mod requeue;
mod rights;
mod schema;
mod slots;
mod sweeps;
mod take_over;

pub use apis::{Api, ApiStanding, Look};
pub use backlog::{Backlog, PaidAfterAbandonment};
pub use brakes::{ActingBrake, Brake};
pub use claim::Aged;
pub use discover::{Claiming, DUE_OR_NOT_TAKEN_ON, NOT_TAKEN_ON, Progress};
pub use figures::Figures;
pub use holds::Hold;
pub use intakes::{Intake, Standing};
pub use processes::{Instance, Process};
pub use questions::{Ended, Left, Question};
pub use record::{AttemptResult, Recorded};
pub use release::Settled;
pub use requeue::{Requeued, Selection as RequeueSelection};
pub use schema::{Migrated, Schema};
pub use slots::Slots;
pub use sweeps::{Status as SweepStatus, Sweep, Trigger};

use sqlx::migrate::MigrateError;

use crate::database::{Database, NO_RIGHT, words};

/// A statement on the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused a statement, or did not answer.
    #[error("the database failed while {doing}: {}", words(source))]
    Database {
        /// What the statement was for.
        doing: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("the schema geft_sweeper could not be brought up to date: {}", migrating(.0))]
    Migrate(#[source] MigrateError),
    /// This role may not do what it has to: the statements that give it the rights.
    #[error("this role lacks rights in the schema geft_sweeper: run `{}` as the schema's owner", .0.join(" "))]
    Rights(Vec<String>),
    /// The connection for migrating could not be made.
    #[error(transparent)]
    Connect(#[from] crate::database::Error),
}

impl Error {
    /// Whether the database refused the values themselves: the same statement would fail again.
    #[must_use]
    pub fn is_about_data(&self) -> bool {
        let Self::Database { source: sqlx::Error::Database(error), .. } = self else { return false };
        // 22 data exception · 23 constraint · 44 check option · P0 raised by a trigger of somebody else's
        error.code().is_some_and(|code| ["22", "23", "44", "P0"].iter().any(|class| code.starts_with(class)))
    }
}

/// Whether the database refused a statement for want of a right.
fn is_refusal(failure: &sqlx::Error) -> bool {
    failure.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == NO_RIGHT)
}

fn migrating(failure: &MigrateError) -> String {
    match failure {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => words(source),
        other => other.to_string(),
    }
}

/// The door to the schema, for one process.
#[derive(Clone, Debug)]
pub struct Ledger {
    database: Database,
    instance: Instance,
    doubtful: claim::Doubtful,
    sends_to: processes::SendsTo,
    proved: rights::Proved,
}

impl Ledger {
    /// A ledger on this database, written under this process's name.
    #[must_use]
    pub fn new(database: Database, instance: Instance) -> Self {
        let (doubtful, sends_to) = (claim::Doubtful::default(), processes::SendsTo::default());
        Self { database, instance, doubtful, sends_to, proved: rights::Proved::default() }
    }

    /// The name of this process.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Runs one statement. Beside the server's own limit it has one here, for a server that is not there any more. Where a
    /// right is missing, the failure names it.
    async fn run<T>(
        &self,
        doing: &'static str,
        statement: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, Error> {
        match self.database.limited(statement).await {
            Err(refused) if is_refusal(&refused) => {
                // Boxed: whoever waits for a statement does not carry it along.
                Box::pin(self.refused()).await?;
                Err(self.failed(doing)(refused))
            }
            done => done.map_err(self.failed(doing)),
        }
    }

    /// Turns a driver's failure into ours, and sees to it that no dead connection is used again.
    fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error + '_ {
        move |source| {
            self.database.note_failure(&source);
            Error::Database { doing, source }
        }
    }
}
