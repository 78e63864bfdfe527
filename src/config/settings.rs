//! The settings as the rest of the program takes them: complete, validated, in the units of the code.
//!
//! Nothing here reads a file or the environment; `read` does, `check` refuses what contradicts itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use super::again::Origin;

/// Every setting, one field a section of the file, and where they came from.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[database]`
    pub database: Database,
    /// `[source]`
    pub source: Source,
    /// `[api]`
    pub api: Api,
    /// `[schedule]`
    pub schedule: Schedule,
    /// `[retry]`
    pub retry: Retry,
    /// `[brakes]`
    pub brakes: Brakes,
    /// `[log]`
    pub log: Log,
    /// `[server]`
    pub server: Server,
    /// `[telemetry]`
    pub telemetry: Telemetry,
    /// Where they came from, to read secret files again.
    pub origin: Origin,
}

/// `[database]`: the merchant's Postgres.
#[derive(Clone, Debug)]
pub struct Database {
    /// The connection URL, with its password.
    pub url: SecretString,
    /// Connections of this process at the most; at least 2.
    pub max_connections: u32,
    /// Whether `run` and `sweep` bring the schema up to date first.
    pub auto_migrate: bool,
    /// The time limit of every statement.
    pub statement_timeout: Duration,
}

/// `[source]`: which sessions to cancel.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where they are read from.
    pub selection: Selection,
    /// Rows created longer ago than this are not discovered.
    pub lookback: Duration,
    /// What becomes of an aged session that the customer is still at.
    pub in_progress: InProgress,
}

/// `[source] in_progress` and `in_progress_grace`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InProgress {
    /// It is canceled like any other.
    Cancel,
    /// It is left for a later sweep, as long as the provider says that the customer is at it, and this long at the most.
    Wait {
        /// From when it was first found so.
        grace: Duration,
    },
}

/// The two ways of naming sessions.
#[derive(Clone, Debug)]
pub enum Selection {
    /// By the merchant's table.
    Table(Box<Table>),
    /// By a whole query that gives `session_id`, `reference_id` and `reason`.
    Query(String),
}

/// The merchant's table and how to read it.
#[derive(Clone, Debug)]
pub struct Table {
    /// The table's name as written in SQL.
    pub table: String,
    /// The bare names of its columns.
    pub columns: Columns,
    /// The zone in which columns without one are written.
    pub time_zone: Option<String>,
    /// Statuses that are canceled whatever their age; letter case aside.
    pub abandoned_statuses: Vec<String>,
    /// Statuses that are canceled for their age; letter case aside.
    pub open_statuses: Vec<String>,
    /// The age from which open sessions are canceled; none where nothing is canceled for its age.
    pub max_age: Option<Duration>,
}

/// The bare names of the merchant's columns.
#[derive(Clone, Debug)]
pub struct Columns {
    /// The session's UUID, of type uuid or text.
    pub session_id: String,
    /// The merchant's reference.
    pub reference_id: String,
    /// The status.
    pub status: String,
    /// When the row was created.
    pub created_at: String,
    /// When the row was last changed, where there is such a column.
    pub updated_at: Option<String>,
}

/// `[api]`: the provider.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where the API is; ends without a slash.
    pub base_url: Url,
    /// The client id.
    pub client_id: String,
    /// The client secret.
    pub client_secret: SecretString,
    /// A private authority in PEM beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The time limit of one request, body included.
    pub timeout: Duration,
    /// The time limit of connecting.
    pub connect_timeout: Duration,
    /// Requests at once in this process.
    pub max_in_flight: usize,
    /// Requests a second, all processes together; none: no limit.
    pub max_requests_per_second: Option<f64>,
    /// A Retry-After beyond this is cut to it.
    pub max_retry_after: Duration,
    /// How tokens are used.
    pub token_use: TokenUse,
    /// Sent with every request; names are shown, values never.
    pub headers: Vec<(String, SecretString)>,
}

impl Api {
    /// Scheme, host and port of the address, as the database knows the API by; the scheme's usual port is left out.
    #[must_use]
    pub fn origin(&self) -> String {
        self.base_url.origin().ascii_serialization()
    }
}

/// `[api] token_use`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// Found out from the provider's answers.
    Auto,
    /// One token for all requests until it expires.
    Shared,
    /// One token for each cancel.
    Single,
}

/// `[schedule]`
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The cron pattern with its seconds field, in UTC.
    pub sweep: String,
}

/// `[retry]`
#[derive(Clone, Debug)]
pub struct Retry {
    /// The pause after the first counted attempt.
    pub initial_interval: Duration,
    /// What each pause is multiplied with for the next.
    pub multiplier: f64,
    /// How far a pause may be off either way, 0 to 1.
    pub randomization_factor: f64,
    /// The longest pause.
    pub max_interval: Duration,
    /// Counted attempts after which a session is failed.
    pub max_attempts: u32,
    /// How long a process may hold a session.
    pub lease: Duration,
}

/// `[brakes]`: what keeps a mistake from canceling live payments.
#[derive(Clone, Copy, Debug)]
pub struct Brakes {
    /// Sessions taken on within ten minutes at the most, all processes together.
    pub max_discovered: u64,
    /// What becomes of an API that this database does not know.
    pub unknown_api: UnknownApi,
    /// How far the clocks of the API and of the database may be apart.
    pub clock_tolerance: Duration,
}

/// `[brakes] unknown_api`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownApi {
    /// Nothing is sent to it until somebody accepts it.
    Refuse,
    /// It is accepted by itself, and that is recorded.
    Accept,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// A level, or a filter in the syntax of `tracing`.
    pub level: String,
    /// How lines are written.
    pub format: LogFormat,
}

/// `[log] format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Where health and metrics are served; none: nowhere.
    pub listen: Option<SocketAddr>,
}

/// `[telemetry]`
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Where spans are sent, the path of traces included; none: nowhere.
    pub otlp_endpoint: Option<Url>,
}
