//! Connections to the merchant's Postgres: what every one of them is set to, and when one is thrown away.
//!
//! No statement on anybody's tables is found here.

mod credentials;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};

pub use self::credentials::Prepared;
use self::credentials::{Credentials, is_refusal, options, place};
use crate::config;

/// How long a free connection may be waited for.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// How much longer than the server we wait for a statement that it must have given up.
const GRACE: Duration = Duration::from_secs(5);

/// SQLSTATE of a missing right.
pub(crate) const NO_RIGHT: &str = "42501";

/// What went wrong before a statement could be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL was accepted by the configuration and refused by the driver.
    #[error("database.url cannot be used: {0}")]
    Url(#[source] sqlx::Error),
    /// A URL that was read again leads elsewhere, where none of this process's sessions are.
    #[error("database.url (or database.url_file) names another server or database now: that takes a restart")]
    Elsewhere,
    /// The server was not reached, or refused us.
    #[error("could not connect to the database at {place}, which database.url names: {}", words(source))]
    Connect {
        /// Host and port, or the socket; never the password.
        place: String,
        /// Why.
        source: sqlx::Error,
    },
    /// The server did not answer in time.
    #[error("could not connect to the database at {place}, which database.url names: no answer within {} s", limit.as_secs())]
    Silent {
        /// Host and port, or the socket; never the password.
        place: String,
        /// How long we waited.
        limit: Duration,
    },
}

/// The merchant's database: a pool of connections, and a way to connect past it.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    statement_timeout: Duration,
    stale: Stale,
    credentials: Credentials,
}

/// Connections made before this moment are not used again.
#[derive(Clone, Debug, Default)]
struct Stale(Arc<Mutex<Option<Instant>>>);

impl Stale {
    fn mark_locked(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn covers_locked(&self, age: Duration) -> bool {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() <= age)
    }
}

impl Database {
    /// Prepares the pool; connects to nothing yet. `name` is shown in `pg_stat_activity`.
    pub fn new(settings: &config::Database, name: &str) -> Result<Self, Error> {
        let options = options(&settings.url, name)?;
        let statement_timeout = settings.statement_timeout;
        let stale = Stale::default();
        let marked = stale.clone();
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(ACQUIRE_LIMIT)
            // A ping before each use would double the round trips; a dead connection shows in the statement itself,
            // and every statement of ours can be asked again.
            .test_before_acquire(false)
            .before_acquire(move |_, meta| {
                let fresh = !marked.covers_locked(meta.age);
                Box::pin(async move { Ok(fresh) })
            })
            .after_connect(move |connection, _| Box::pin(set_up(connection, statement_timeout)))
            .connect_lazy_with(options);
        Ok(Self { pool, statement_timeout, stale, credentials: Credentials::new(settings.url.clone()) })
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A pool of one connection beside the pool, for who has to keep it; connects to nothing yet.
    #[must_use]
    pub fn single(&self) -> PgPool {
        let statement_timeout = self.statement_timeout;
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_LIMIT)
            .after_connect(move |connection, _| Box::pin(set_up(connection, statement_timeout)))
            .connect_lazy_with(PgConnectOptions::clone(&self.pool.connect_options()))
    }

    /// One connection beside the pool, so that a refusal is told at once and in full.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        match self.connect_once().await {
            // Once more, where the credentials are others by now.
            Err(Error::Connect { source, .. }) if is_refusal(&source) && self.read_credentials_again() => {
                self.connect_once().await
            }
            connected => connected,
        }
    }

    async fn connect_once(&self) -> Result<PgConnection, Error> {
        let options = self.pool.connect_options();
        let connecting = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            set_up(&mut connection, self.statement_timeout).await?;
            Ok(connection)
        };
        match tokio::time::timeout(ACQUIRE_LIMIT, connecting).await {
            Ok(result) => result.map_err(|source| Error::Connect { place: self.place(), source }),
            Err(_) => Err(Error::Silent { place: self.place(), limit: ACQUIRE_LIMIT }),
        }
    }

    /// Waits for a statement, or for a connection and then a statement, no longer than a server that is there can take.
    ///
    /// The server's own limit does not help where its host is gone without a word.
    pub async fn limited<T>(&self, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        let silence = |_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the server is silent"));
        tokio::time::timeout(self.patience(), statement).await.map_err(silence)?
    }

    /// How long the server lets one statement take, or a transaction be idle.
    #[must_use]
    pub fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// How long a connection and a statement on it can take on a server that is there.
    #[must_use]
    pub fn patience(&self) -> Duration {
        ACQUIRE_LIMIT + self.statement_timeout + GRACE
    }

    /// Where the server is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        place(&self.pool.connect_options())
    }

    /// What is weak about the way to the server: none for a local one, or where its certificate and name are verified.
    #[must_use]
    pub fn weakness(&self) -> Option<String> {
        let options = self.pool.connect_options();
        let host = options.get_host();
        let local = options.get_socket().is_some()
            || host.starts_with('/')
            || host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if local || matches!(options.get_ssl_mode(), PgSslMode::VerifyFull) {
            return None;
        }
        Some(format!(
            "the connection to {} does not prove that it is the right server: write sslmode=verify-full into database.url",
            self.place()
        ))
    }

    /// Looks at a failure: where the server behind the connection is gone, read-only or going down, no connection
    /// made so far is used again. A pool would hand them out until their time is over. Where the server refuses the
    /// credentials, they are read again for the next try.
    pub fn note_failure(&self, failure: &sqlx::Error) {
        if is_server_gone(failure) {
            self.stale.mark_locked();
        } else if is_refusal(failure) {
            self.read_credentials_again();
        }
    }
}

/// What a failure says to people: the server's own words, without the driver's, which name a line of the server's code.
#[must_use]
pub fn words(failure: &sqlx::Error) -> String {
    let Some(said) = failure.as_database_error() else { return failure.to_string() };
    let mend = if said.code().is_some_and(|code| code == NO_RIGHT) {
        "; `geft-sweeper check` names the GRANT that is missing"
    } else {
        ""
    };
    format!("{}{mend}", said.message())
}

/// Whether the connections made so far are of no use after this failure.
fn is_server_gone(failure: &sqlx::Error) -> bool {
    match failure {
        sqlx::Error::Io(_) => true,
        // 25006 read only · 57P01 admin shutdown · 57P02 crash shutdown · 57P03 cannot connect now · 08xxx connection
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            matches!(code.as_ref(), "25006" | "57P01" | "57P02" | "57P03") || code.starts_with("08")
        }),
        _ => false,
    }
}

/// What every connection is set to, whatever the role's defaults are: a commit that the server calls durable is durable.
/// A page is read as quickly as the next one: what the ledger's statements look for was written a moment ago, and a
/// planner that takes it to be far apart on a disk reads the whole table for each batch.
/// Each statement is planned for the tables as they are: a plan made for an empty table reads all of it for each batch,
/// until statistics are next gathered.
/// Nothing is compiled: over a large table the planner thinks that worth its while, and loading the compiler alone takes
/// longer than a sweep.
async fn set_up(connection: &mut PgConnection, statement_timeout: Duration) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('synchronous_commit', 'on', false), set_config('statement_timeout', $1, false), \
         set_config('lock_timeout', '0', false), set_config('idle_in_transaction_session_timeout', $1, false), \
         set_config('default_transaction_isolation', 'read committed', false), set_config('jit', 'off', false), \
         set_config('random_page_cost', '1.1', false), \
         set_config('plan_cache_mode', 'force_custom_plan', false)",
    )
    .bind(statement_timeout.as_millis().to_string())
    .persistent(false)
    .execute(connection)
    .await?;
    Ok(())
}
