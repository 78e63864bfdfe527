//! SIGHUP: the log level and the secret files are read again, and nothing else.
//!
//! All of it is right or nothing is taken over: a mistake is said in one sentence and changes nothing.

use std::convert::Infallible;

use crate::config::{Again, Origin, one_sentence};
use crate::database::{self, Database};
use crate::lifecycle::Hangups;
use crate::sweep::{self, Sweeper};
use crate::systemd::Manager;
use crate::telemetry::{self, Logs};

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The configuration is wrong.
    #[error("{0}")]
    Settings(String),
    /// The database's URL cannot be used by a process that runs.
    #[error(transparent)]
    Database(#[from] database::Error),
    /// The API's secrets cannot be sent.
    #[error(transparent)]
    Api(#[from] sweep::Error),
    /// The level.
    #[error(transparent)]
    Logs(#[from] telemetry::Error),
}

/// What can be changed while the program runs.
pub struct Reloader {
    /// Where the settings came from.
    pub origin: Origin,
    /// `[log] level`
    pub logs: Logs,
    /// `[database] url_file`
    pub database: Database,
    /// `[api] client_secret_file` and `headers_file`
    pub sweeper: Sweeper,
    /// Is told when it begins and when it is over.
    pub manager: Manager,
}

impl Reloader {
    /// Reads again at each SIGHUP.
    pub async fn run(&self, mut hangups: Hangups) -> Infallible {
        loop {
            hangups.next().await;
            self.manager.reloading();
            match self.reload() {
                Ok(left_alone) => tell(&left_alone),
                Err(error) => {
                    tracing::error!(event = "settings.refused", "nothing was taken over, all stays as it was: {error}");
                }
            }
            self.manager.reloaded();
        }
    }

    /// Takes over what may be, and gives the names of the settings that were changed and left alone.
    fn reload(&self) -> Result<Vec<&'static str>, Error> {
        let read = self.origin.read_again().map_err(|problems| Error::Settings(one_sentence(&problems)))?;
        let Again { level, database_url, api, left_alone } = read;
        let prepared = self.database.prepare(&database_url)?;
        self.sweeper.replace_secrets(api)?;
        self.database.replace(prepared);
        self.logs.set_level(&level)?;
        Ok(left_alone)
    }
}

fn tell(left_alone: &[&str]) {
    tracing::info!(event = "settings.read_again", "the log level and the secret files were read again");
    if !left_alone.is_empty() {
        tracing::warn!(
            event = "settings.left_alone",
            settings.names = left_alone.join(", "),
            "these settings differ from the start, and are read at a start alone"
        );
    }
}
