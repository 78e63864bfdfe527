//! From the configuration to the rooms, for every command alike.

use std::io::{ErrorKind, Write as _};
use std::path::Path;

use geft_sweeper::config::{self, Config};
use geft_sweeper::database::Database;
use geft_sweeper::ledger::{Api, Instance, Ledger, Schema};
use geft_sweeper::sweep;

use super::{Misconfigured, Misused};

/// The database and the ledger in it, under the name of this process.
pub(super) struct Wired {
    pub(super) config: Config,
    pub(super) database: Database,
    pub(super) ledger: Ledger,
}

/// Reads the configuration.
pub(super) fn configuration(file: Option<&Path>) -> Result<Config, Misconfigured> {
    config::from_process(file).complete().map_err(Misconfigured)
}

/// Reads the configuration and wires the database; connects to nothing yet.
pub(super) fn wire(config: Config) -> anyhow::Result<Wired> {
    let instance = Instance::new(&host());
    let database = Database::new(&config.database, &instance.application_name())?.reading_again(config.origin.clone());
    let ledger = Ledger::new(database.clone(), instance);
    Ok(Wired { config, database, ledger })
}

/// The API of this configuration, as the database knows it.
pub(super) fn api(settings: &config::Api) -> Api {
    Api { origin: settings.origin(), client_id: settings.client_id.clone() }
}

/// The host's name, for people alone.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned())
}

/// Refuses a schema that this program cannot work with.
pub(super) async fn require_schema(ledger: &Ledger) -> anyhow::Result<()> {
    let schema = ledger.schema().await?;
    anyhow::ensure!(schema.is_usable(), schema.mend());
    Ok(())
}

/// Brings the schema up to date where that is wanted, and refuses one that this program or this role cannot work with.
pub(super) async fn ready_schema(wired: &Wired) -> anyhow::Result<()> {
    // A plain connection first: it tells at once and in full why there is none.
    let mut schema = wired.ledger.schema().await?;
    if wired.config.database.auto_migrate && matches!(schema, Schema::Missing | Schema::Behind { .. }) {
        wired.ledger.migrate().await?;
        schema = wired.ledger.schema().await?;
    }
    anyhow::ensure!(schema.is_usable(), schema.mend());
    Ok(wired.ledger.prove_rights().await?)
}

/// A mistake in the settings that only the database can show is a wrong configuration all the same.
pub(super) fn by_fault(error: sweep::Error) -> anyhow::Error {
    match error {
        sweep::Error::Source(error) if error.is_mistake_in_settings() => Misused(error.to_string()).into(),
        error => error.into(),
    }
}

/// Writes one line of a result to standard output. A reader that has seen enough is no fault.
pub(super) fn print(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("standard output cannot be written to"))
        }
        _ => Ok(()),
    }
}
