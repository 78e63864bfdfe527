//! Processes: who is alive, and what holds each one's sending back. For people, and for closing the sweeps of the dead.
//!
//! No lease depends on it: sessions are taken over by their lease alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{Error, Ledger};

/// The name of one process: random, so that a host name that comes back after a restart is somebody new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    name: String,
    host: String,
}

impl Instance {
    /// A new name. The host is only for people.
    #[must_use]
    pub fn new(host: &str) -> Self {
        let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).take(32).collect();
        let random = Uuid::new_v4().simple().to_string();
        let (short, _) = random.split_at(12);
        Self { name: format!("{host}/{short}"), host }
    }

    /// The name, as stored; at most 45 characters.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the process calls itself towards the database: at most 63 characters, so that it is never cut.
    #[must_use]
    pub fn application_name(&self) -> String {
        format!("geft-sweeper {}", self.name)
    }
}

/// The accepted API that this process sends to, as it was last looked up; shown to whoever wants to retire it.
#[derive(Clone, Debug, Default)]
pub(super) struct SendsTo(Arc<Mutex<Option<i64>>>);

impl SendsTo {
    pub(super) fn set_locked(&self, api: Option<i64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = api;
    }

    fn get_locked(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that is alive.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its name.
    pub instance: String,
    /// `run` or `sweep`.
    pub command: String,
    /// Its program's version.
    pub version: String,
    /// Its process id on its host.
    pub pid: i64,
    /// What holds its sending back; none where nothing does.
    pub held_back_by: Option<String>,
    /// Until when, where that is known.
    pub held_back_until: Option<DateTime<Utc>>,
    /// How it sees the API as a whole: `closed`, `open` or `half_open`.
    pub circuit: String,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it last showed itself.
    pub seen_at: DateTime<Utc>,
}

impl Ledger {
    /// Shows that this process is alive, what holds it back and how it sees the API as a whole, and forgets those that
    /// were last seen a day ago.
    pub async fn show_alive(
        &self,
        command: &str,
        held_back: Option<(&str, Duration)>,
        circuit: &str,
    ) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.show_alive */
             WITH forgotten AS (DELETE FROM geft_sweeper.processes WHERE seen_at < now() - interval '1 day' AND instance <> $1),
                  without_process AS (
                      DELETE FROM geft_sweeper.brakes b
                       WHERE instance <> '' AND acting_since < now() - interval '1 day'
                         AND NOT EXISTS (SELECT FROM geft_sweeper.processes p WHERE p.instance = b.instance))
             INSERT INTO geft_sweeper.processes AS known
                 (instance, host, pid, command, version, held_back_by, held_back_until, circuit, api)
             VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7::float8 * interval '1 second', $8, $9)
             ON CONFLICT (instance) DO UPDATE SET seen_at = clock_timestamp(), held_back_by = excluded.held_back_by,
                 held_back_until = excluded.held_back_until, circuit = excluded.circuit, api = excluded.api",
            self.instance.name,
            self.instance.host,
            i64::from(std::process::id()),
            command,
            env!("CARGO_PKG_VERSION"),
            held_back.map(|(reason, _)| reason),
            held_back.map(|(_, left)| left.as_secs_f64()),
            circuit,
            self.sends_to.get_locked(),
        )
        .execute(self.database.pool());
        self.run("showing that this process is alive", statement).await?;
        Ok(())
    }

    /// Takes this process off the list, and the brakes that act on it alone: it ends in good order.
    pub async fn say_goodbye(&self) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.say_goodbye */
             WITH brakes AS (DELETE FROM geft_sweeper.brakes WHERE instance = $1)
             DELETE FROM geft_sweeper.processes WHERE instance = $1",
            self.instance.name
        )
        .execute(self.database.pool());
        self.run("taking this process off the list", statement).await?;
        Ok(())
    }

    /// The processes alive: seen within a minute, and still connected.
    pub async fn processes(&self) -> Result<Vec<Process>, Error> {
        let statement = sqlx::query_as!(
            Process,
            "/* geft-sweeper ledger.processes */
             SELECT instance, command, version, pid, held_back_by, held_back_until, circuit, started_at, seen_at
               FROM geft_sweeper.processes p
              WHERE seen_at > now() - interval '1 minute'
                AND EXISTS (SELECT FROM pg_stat_activity a WHERE a.application_name = 'geft-sweeper ' || p.instance)
              ORDER BY started_at, instance"
        )
        .fetch_all(self.database.pool());
        self.run("reading the processes", statement).await
    }

    /// Whether no other process is alive.
    pub async fn is_alone(&self) -> Result<bool, Error> {
        Ok(self.processes().await?.iter().all(|process| process.instance == self.instance.name))
    }
}
