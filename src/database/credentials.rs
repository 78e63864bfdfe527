//! The credentials of new connections: read again where the server refuses them, or when it is asked for.
//!
//! It never leads to another server or database: what this process holds is in the one that it began with.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::{Database, Error};
use crate::config;

/// The URL in use, and where it is read again; nowhere in a process that was given none.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    url: Arc<Mutex<SecretString>>,
    origin: Option<config::Origin>,
}

/// How new connections are to be made.
pub struct Prepared {
    url: SecretString,
    options: PgConnectOptions,
}

impl Credentials {
    /// Those of the start.
    pub(super) fn new(url: SecretString) -> Self {
        Self { url: Arc::new(Mutex::new(url)), origin: None }
    }
}

impl Database {
    /// Reads the URL again from there where the server refuses the credentials.
    #[must_use]
    pub fn reading_again(mut self, origin: config::Origin) -> Self {
        self.credentials.origin = Some(origin);
        self
    }

    /// How new connections would be made with this URL; it may differ in credentials and protection alone.
    pub fn prepare(&self, url: &SecretString) -> Result<Prepared, Error> {
        let before = self.pool.connect_options();
        let options = options(url, before.get_application_name().unwrap_or_default())?;
        if target(&options) != target(&before) {
            return Err(Error::Elsewhere);
        }
        Ok(Prepared { url: url.clone(), options })
    }

    /// Makes new connections so from here on; those that are there go on. False where nothing differs. Locks: the URL.
    pub fn replace(&self, Prepared { url, options }: Prepared) -> bool {
        let mut current = self.credentials.url.lock().unwrap_or_else(PoisonError::into_inner);
        if current.expose_secret() == url.expose_secret() {
            return false;
        }
        self.pool.set_connect_options(options);
        *current = url;
        true
    }

    /// The server refuses the credentials: the file may hold others by now. True where it does, and they are in use.
    pub(super) fn read_credentials_again(&self) -> bool {
        let Some(url) = self.credentials.origin.as_ref().and_then(config::Origin::database_url) else { return false };
        let replaced = match self.prepare(&url) {
            Ok(prepared) => self.replace(prepared),
            Err(error) => {
                tracing::error!(event = "secret.unusable", secret.section = "database", "{error}");
                false
            }
        };
        if replaced {
            tracing::info!(
                event = "secret.replaced",
                secret.section = "database",
                "the server refused it, and it was read again"
            );
        }
        replaced
    }
}

/// What every connection is made with.
pub(super) fn options(url: &SecretString, name: &str) -> Result<PgConnectOptions, Error> {
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(Error::Url)?;
    Ok(options.application_name(name).disable_statement_logging())
}

/// Where the server is, for people.
pub(super) fn place(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// Whether the server refuses the credentials: an invalid password, or nobody who may connect.
pub(super) fn is_refusal(failure: &sqlx::Error) -> bool {
    let code = failure.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(code.as_ref(), "28P01" | "28000"))
}

/// The server and the database, which is the user's own where none is named.
fn target(options: &PgConnectOptions) -> (String, u16, String) {
    let database = options.get_database().unwrap_or(options.get_username());
    (place(options), options.get_port(), database.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn database(url: &str) -> Database {
        let settings = config::Database {
            url: url.into(),
            max_connections: 2,
            auto_migrate: false,
            statement_timeout: Duration::from_secs(30),
        };
        Database::new(&settings, "test").unwrap()
    }

    #[tokio::test]
    async fn another_user_and_password_are_taken_over_by_new_connections() {
        let database = database("postgres://one:old@db.example/shop?sslmode=require");
        let url = "postgres://two:new@db.example/shop?sslmode=verify-full".into();
        assert!(database.replace(database.prepare(&url).unwrap()));
        assert!(!database.replace(database.prepare(&url).unwrap()), "nothing differs");
        let options = database.pool().connect_options();
        assert_eq!((options.get_username(), options.get_application_name()), ("two", Some("test")));
        assert_eq!(database.weakness(), None);
    }

    #[tokio::test]
    async fn another_server_or_database_takes_a_restart() {
        let database = database("postgres://one:old@db.example/shop?sslmode=require");
        for elsewhere in ["db.example:5433/shop", "other.example/shop", "db.example/other"] {
            let url = format!("postgres://one:old@{elsewhere}?sslmode=require").into();
            assert!(matches!(database.prepare(&url), Err(Error::Elsewhere)), "{elsewhere}");
        }
    }
}
