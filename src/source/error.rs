//! What can go wrong in reading the merchant's sessions: mistakes in the settings, and failures of the database.
//!
//! Nothing here logs; whoever handles an error does, once.

use sqlx::postgres::PgDatabaseError;

/// Why the source could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings and the merchant's schema do not fit: one sentence a fault, each with its mend.
    #[error("{}", .0.join(" "))]
    Settings(Vec<String>),
    /// The database did not answer as it should.
    #[error("could not {doing}: {}", words(source))]
    Database {
        /// What we were doing, to follow "could not".
        doing: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
}

impl Error {
    /// To be used as `map_err(Error::when("…"))`.
    pub(super) fn when(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { doing, source }
    }

    /// Whether somebody must change the settings, the rights or the schema; otherwise it may pass by itself.
    #[must_use]
    pub fn is_mistake_in_settings(&self) -> bool {
        match self {
            Self::Settings(_) => true,
            Self::Database { source, .. } => complaint(source).is_some(),
        }
    }

    /// Whether the database refused a statement for want of a right. Those that look into the ledger as well may have been
    /// refused there.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Database { source, .. } if complaint(source).is_some_and(|said| said.code() == NO_RIGHT))
    }

    /// Every fault, one sentence each; for a failure of the database, what we were doing.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        match self {
            Self::Settings(faults) => faults.clone(),
            Self::Database { .. } => vec![self.to_string()],
        }
    }
}

/// The server's own words, without the driver's around them.
fn words(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

/// What the server says against a statement itself (its names, types, rights or values), if that is what went wrong.
///
/// Class 42 is "syntax error or access rule violation", 22 "data exception", 0A "feature not supported".
pub(super) fn complaint(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    let said = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    ["42", "22", "0A"].iter().any(|class| said.code().starts_with(class)).then_some(said)
}

/// SQLSTATE of a missing right.
pub(super) const NO_RIGHT: &str = "42501";
