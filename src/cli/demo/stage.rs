//! The demo's surroundings: a database with the merchant's table, the sandbox, and the configuration file for both.
//!
//! Everything on disk lies in the folder of the private PostgreSQL, which goes with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use geft_sweeper::config::{self, Config};
use geft_sweeper::postgres::PrivatePostgres;
use geft_sweeper::sandbox::{
    EndpointFaults, Fault, Faults, Kind, OddBody, Options, RetryAfter, RetryAfterForm, Sandbox,
};
use sqlx::{Connection as _, PgConnection};

use super::super::Misconfigured;
use super::made_up::Session;

/// The merchant's database.
pub(super) const DATABASE: &str = "shop";

/// The merchant's table, as a shop may have it: the ids are text, because somebody thought so once.
const TABLE: &str = "CREATE TABLE payment_sessions (
    session_id text PRIMARY KEY,
    reference_id text NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX payment_sessions_created_at ON payment_sessions (created_at)";

const INSERT: &str = "INSERT INTO payment_sessions (session_id, reference_id, status, created_at)
    SELECT session_id, reference_id, status, clock_timestamp() - make_interval(secs => age_s)
      FROM UNNEST($1::text[], $2::text[], $3::text[], $4::float8[]) AS made_up (session_id, reference_id, status, age_s)";

/// What was set up.
pub(super) struct Stage {
    pub(super) sandbox: Sandbox,
    /// The folder that holds everything, the server's socket among it.
    pub(super) folder: PathBuf,
    /// The configuration file.
    pub(super) file: PathBuf,
}

impl Stage {
    /// Sets it up: the sessions here and there, and the file.
    pub(super) async fn set(postgres: &PrivatePostgres, seed: u64, sessions: &[Session]) -> anyhow::Result<Self> {
        let sandbox = Sandbox::start(Options { seed, faults: troubled(), ..Options::default() }).await?;
        sandbox.seed(sessions.iter().filter_map(|session| session.at_provider.clone()).collect())?;
        fill(postgres, sessions).await.context("the demo's own database could not be filled")?;
        let file = postgres.folder().join("geft-sweeper.toml");
        tokio::fs::write(&file, text(&postgres.url(DATABASE), &sandbox.base_url(), sessions.len()))
            .await
            .with_context(|| format!("{} could not be written", file.display()))?;
        Ok(Self { sandbox, folder: postgres.folder().to_owned(), file })
    }

    /// The configuration, read from the file alone: what the user's environment says must not turn the demo on a real
    /// database.
    pub(super) fn configuration(&self) -> Result<Config, Misconfigured> {
        read(&self.file)
    }
}

fn read(file: &Path) -> Result<Config, Misconfigured> {
    config::read(Some(file), std::iter::empty::<(String, String)>()).complete().map_err(Misconfigured)
}

async fn fill(postgres: &PrivatePostgres, sessions: &[Session]) -> sqlx::Result<()> {
    let mut maintenance = PgConnection::connect(&postgres.url("postgres")).await?;
    sqlx::raw_sql("CREATE DATABASE shop").execute(&mut maintenance).await?;
    maintenance.close().await?;
    let mut shop = PgConnection::connect(&postgres.url(DATABASE)).await?;
    sqlx::raw_sql(TABLE).execute(&mut shop).await?;
    sqlx::query(INSERT)
        .bind(sessions.iter().map(|session| session.id.as_str()).collect::<Vec<_>>())
        .bind(sessions.iter().map(|session| session.reference_id.as_str()).collect::<Vec<_>>())
        .bind(sessions.iter().map(|session| session.status).collect::<Vec<_>>())
        .bind(sessions.iter().map(|session| session.age_s).collect::<Vec<_>>())
        .execute(&mut shop)
        .await?;
    sqlx::raw_sql("ANALYZE payment_sessions").execute(&mut shop).await?;
    shop.close().await
}

/// The configuration file. Neither address can hold a quotation mark: both are URLs.
fn text(database_url: &str, base_url: &str, sessions: usize) -> String {
    format!(
        r#"# What `geft-sweeper demo` runs with. Yours looks the same, with your addresses and credentials in it;
# what is left out here has its default.

[database]
url = "{database_url}"

[source]
table = "public.payment_sessions"
abandoned_statuses = ["abandoned"]
open_statuses = ["created", "pending"]
max_age = "30m"

[api]
base_url = "{base_url}"
client_id = "demo"
client_secret = "demo-secret"
timeout = "2s"               # nobody wants to watch a longer one
connect_timeout = "1s"

[schedule]
sweep = "*/10 * * * * *"     # every ten seconds

[retry]
initial_interval = "500ms"   # as short as it makes sense in a demo
max_interval = "2s"
lease = "30s"

[brakes]
max_discovered = {sessions}       # all that there are
"#
    )
}

/// A provider on a bad day.
fn troubled() -> Faults {
    let before = |kind| Fault { kind, after_effect: false };
    let after = |kind| Fault { kind, after_effect: true };
    let cancel = BTreeMap::from([
        (before(Kind::Code(503)), 0.04),
        (after(Kind::Code(500)), 0.01),
        (after(Kind::Reset), 0.01),
        (after(Kind::Timeout), 0.004),
        (after(Kind::Body(OddBody::Html)), 0.006),
    ]);
    let status = BTreeMap::from([(before(Kind::Code(502)), 0.02)]);
    let shares = |shares| EndpointFaults { shares, ..EndpointFaults::default() };
    Faults { cancel: shares(cancel), status: shares(status), ..calm() }
}

/// The same provider on a good day: nothing goes wrong, but an answer takes its time.
pub(super) fn calm() -> Faults {
    Faults {
        everywhere: EndpointFaults { latency_ms: 30, jitter_ms: 60, ..EndpointFaults::default() },
        // Without it a 503 holds back one session, and not the whole process for a second.
        retry_after: RetryAfter { form: RetryAfterForm::None, ..RetryAfter::default() },
        ..Faults::default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_configuration_is_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("geft-sweeper.toml");
        let url = "postgres://sweeper@%2Ftmp%2Fgeft-sweeper-AbC123:5432/shop?sslmode=disable";
        std::fs::write(&file, text(url, "http://127.0.0.1:8099", 2_000)).unwrap();
        let config = read(&file).unwrap();
        assert_eq!(config.retry.initial_interval, Duration::from_millis(500));
        assert_eq!(config.brakes.max_discovered, 2_000, "all are taken on at once");
    }
}
