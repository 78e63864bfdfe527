//! A private PostgreSQL in a temporary folder, for the demo and the tests.
//!
//! A small watchdog process makes, starts and stops the server on our orders. It is the one that cleans up: when our end of
//! its pipe closes, be it that we stop, are dropped or are killed, it stops the server and removes the folder. Nothing of the
//! machine's own PostgreSQL is touched, and nothing listens on the network unless a port is asked for.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

mod installation;

use installation::Account;

const WATCHDOG: &str = include_str!("postgres/watchdog.sh");

/// The port where none is asked for: then it is only a part of the socket's name.
const USUAL_PORT: u16 = 5432;

/// The longest name that Linux takes for a socket, in bytes.
const LONGEST_SOCKET_NAME: usize = 107;

/// How the server is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines for `postgresql.conf`: a name and a value as it stands there, quoted where it must be.
    pub settings: Vec<(&'static str, String)>,
    /// A port of 127.0.0.1 to listen on beside the socket. It asks for no password: for tests alone.
    pub port: Option<u16>,
}

impl Options {
    /// Without any care for a crash of the machine, which makes everything faster.
    #[must_use]
    pub fn not_durable() -> Self {
        let off = ["fsync", "full_page_writes"];
        Self { settings: off.map(|name| (name, "off".to_owned())).to_vec(), port: None }
    }

    /// Adds a setting.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    fn port(&self) -> u16 {
        self.port.unwrap_or(USUAL_PORT)
    }
}

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no programs to run.
    #[error("PostgreSQL 15 or later is not installed here: run `apt-get install postgresql`")]
    NotInstalled,
    /// Our own user, or the list of users, could not be read.
    #[error("finding the user to run PostgreSQL as")]
    Account(#[source] io::Error),
    /// We are root, and there is nobody else.
    #[error("PostgreSQL refuses to run as root and there is no user `postgres` here: run this as another user")]
    NoAccount,
    /// The folder could not be made.
    #[error("making a temporary folder for PostgreSQL")]
    Folder(#[source] io::Error),
    /// The folder's name leaves no room for the socket's.
    #[error("the temporary folder {} is too deep for a socket: set TMPDIR to a shorter one", .0.display())]
    FolderTooDeep(PathBuf),
    /// The watchdog could not be started, or has gone.
    #[error("giving orders to the watchdog of the private PostgreSQL")]
    Watchdog(#[source] io::Error),
    /// `initdb` or `pg_ctl` failed.
    #[error("the private PostgreSQL did not {order}: {log}")]
    Order {
        /// What was asked of it.
        order: &'static str,
        /// What it said.
        log: String,
    },
    /// The watchdog itself did not end well.
    #[error("the private PostgreSQL in {} was not cleaned up: {status}", .folder.display())]
    Leftover {
        /// The folder that is still there.
        folder: PathBuf,
        /// How the watchdog ended.
        status: ExitStatus,
    },
}

/// A running server of our own. Dropping it begins the clean-up; [`stop`](Self::stop) waits for its end.
#[derive(Debug)]
pub struct PrivatePostgres {
    folder: PathBuf,
    port: u16,
    watchdog: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl PrivatePostgres {
    /// Makes a server in a new temporary folder and waits until it takes connections; about a second.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let programs = installation::programs()?;
        let account = installation::account()?;
        let folder = prepare_folder(&options, account)?;
        let mut watchdog = spawn_watchdog(&programs, folder.path(), account)?;
        // From here on the watchdog alone removes the folder: two that do it would get in each other's way.
        let folder = folder.keep();
        let gone = || Error::Watchdog(io::ErrorKind::BrokenPipe.into());
        let orders = watchdog.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(watchdog.stdout.take().ok_or_else(gone)?);
        let mut server = Self { folder, port: options.port(), watchdog, orders, answers };
        server.order("initialize").await?;
        server.restart().await?;
        Ok(server)
    }

    /// The URL of a database, over the server's socket, as the user `sweeper` who may do anything there.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        url(&self.folder, self.port, database)
    }

    /// The folder with everything of the server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stops the server as a crash would: at once, every connection cut, nothing written down.
    pub async fn stop_immediately(&mut self) -> Result<(), Error> {
        self.order("stop-immediately").await
    }

    /// Starts the server again, at the same URL; stops it first where it runs.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.order("restart").await
    }

    /// Stops the server and waits until nothing is left of it.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { folder, mut watchdog, orders, answers, .. } = self;
        drop((orders, answers));
        let status = watchdog.wait().await.map_err(Error::Watchdog)?;
        if status.success() { Ok(()) } else { Err(Error::Leftover { folder, status }) }
    }

    async fn order(&mut self, order: &'static str) -> Result<(), Error> {
        let mut answer = String::new();
        self.orders.write_all(format!("{order}\n").as_bytes()).await.map_err(Error::Watchdog)?;
        self.answers.read_line(&mut answer).await.map_err(Error::Watchdog)?;
        match answer.trim_end() {
            "0" => Ok(()),
            "" => Err(Error::Watchdog(io::ErrorKind::UnexpectedEof.into())),
            _ => Err(Error::Order { order, log: self.log() }),
        }
    }

    /// What the last order and the server said, on one line: an error that cannot be read adds nothing to tell.
    fn log(&self) -> String {
        let files =
            ["order.log", "server.log"].map(|name| fs::read_to_string(self.folder.join(name)).unwrap_or_default());
        files.concat().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

/// A folder as the host of a URL means the socket in it.
fn url(folder: &Path, port: u16, database: &str) -> String {
    let folder: String = url::form_urlencoded::byte_serialize(folder.as_os_str().as_bytes()).collect();
    // A form writes a blank as "+", the host of a URL does not.
    let host = folder.replace('+', "%20");
    format!("postgres://sweeper@{host}:{port}/{database}?sslmode=disable")
}

/// Makes the folder with the server's settings in it, owned by the user that will run the server.
fn prepare_folder(options: &Options, account: Option<Account>) -> Result<TempDir, Error> {
    // As root the server is another user's, who may not reach a TMPDIR of ours.
    let parent = if account.is_some() { PathBuf::from("/tmp") } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix("geft-sweeper-").tempdir_in(parent).map_err(Error::Folder)?;
    let socket = folder.path().join(format!(".s.PGSQL.{}", options.port()));
    if socket.as_os_str().len() > LONGEST_SOCKET_NAME {
        return Err(Error::FolderTooDeep(folder.path().to_owned()));
    }
    fs::write(folder.path().join("postgresql.conf"), settings(options, folder.path())).map_err(Error::Folder)?;
    if let Some(Account { uid, gid }) = account {
        chown(folder.path(), Some(uid), Some(gid)).map_err(Error::Folder)?;
    }
    Ok(folder)
}

/// The text of `postgresql.conf`: the whole of it, so that no default of the packager's slips in.
fn settings(options: &Options, folder: &Path) -> String {
    let address = if options.port.is_some() { "127.0.0.1" } else { "" };
    let port = options.port();
    let folder = folder.display().to_string().replace('\'', "''");
    let mut text = format!("listen_addresses = '{address}'\nport = {port}\nunix_socket_directories = '{folder}'\n");
    for (name, value) in &options.settings {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}

fn spawn_watchdog(programs: &Path, folder: &Path, account: Option<Account>) -> Result<Child, Error> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCHDOG, "watchdog"]).arg(programs).arg(folder);
    // Nothing of our environment reaches the server: it may hold secrets, and PG… variables would change the set-up.
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    // A group of its own, so that ctrl-C in a terminal ends the program first. The folder may be closed to the other user.
    command.process_group(0).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(Account { uid, gid }) = account {
        command.uid(uid).gid(gid);
    }
    command.spawn().map_err(Error::Watchdog)
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgConnectOptions;

    use super::*;

    #[test]
    fn the_url_names_the_socket_whatever_the_folder_is_called() {
        for folder in ["/tmp/geft-sweeper-AbC123", "/tmp/a b+c'd%20é"] {
            let options: PgConnectOptions = url(Path::new(folder), 5432, "shop").parse().unwrap();
            assert_eq!(options.get_socket().map(PathBuf::as_path), Some(Path::new(folder)));
            assert_eq!((options.get_username(), options.get_database()), ("sweeper", Some("shop")));
        }
    }

    #[test]
    fn nothing_listens_on_the_network_unless_a_port_is_asked_for() {
        let folder = Path::new("/tmp/it's");
        let closed = settings(&Options::default(), folder);
        assert_eq!(closed, "listen_addresses = ''\nport = 5432\nunix_socket_directories = '/tmp/it''s'\n");
        let open = settings(&Options { port: Some(6000), ..Options::not_durable() }, folder);
        assert!(open.starts_with("listen_addresses = '127.0.0.1'\nport = 6000\n"), "{open}");
        assert!(open.ends_with("fsync = off\nfull_page_writes = off\n"), "{open}");
    }
}
