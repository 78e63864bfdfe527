//! The real binary with a configuration of its own: runs its commands, and stops or kills it in the background.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use toml::{Table, Value};

/// How long a command may take before the test fails; far beyond what any needs.
const LIMIT: Duration = Duration::from_secs(30);

/// A configuration file and the environment to run the binary with.
pub(crate) struct Program {
    folder: Arc<TempDir>,
    config: Table,
    environment: Vec<(String, String)>,
}

impl Program {
    /// The merchant's table in this database, and the API at this address; no server, everything else by default.
    pub(crate) fn new(database_url: &str, base_url: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("geft-sweeper-test-").tempdir().unwrap();
        let folder = Arc::new(folder);
        Self { folder, config: Table::new(), environment: Vec::new() }
            .with("database.url", database_url)
            .with("source.table", "public.payment_sessions")
            .with("source.open_statuses", vec!["created", "pending"])
            .with("source.max_age", "30m")
            .with("api.base_url", base_url)
            .with("api.client_id", "client")
            .with("api.client_secret", "secret")
            .with("server.listen", "off")
    }

    /// Sets `section.key`.
    pub(crate) fn with(mut self, setting: &str, value: impl Into<Value>) -> Self {
        let (section, key) = setting.split_once('.').expect("a setting is written section.key");
        let section = self.config.entry(section).or_insert_with(|| Value::Table(Table::new()));
        section.as_table_mut().unwrap().insert(key.to_owned(), value.into());
        self
    }

    /// Leaves `section.key` out.
    pub(crate) fn without(mut self, setting: &str) -> Self {
        let (section, key) = setting.split_once('.').expect("a setting is written section.key");
        self.config[section].as_table_mut().unwrap().remove(key);
        self
    }

    /// Sets a variable of the environment; beside these the program has none but `PATH`.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the configuration file is.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.path().join("geft-sweeper.toml")
    }

    /// Runs a command to its end.
    pub(crate) async fn run<const N: usize>(&self, arguments: [&str; N]) -> Finished {
        self.start(arguments).finished().await
    }

    /// Starts a command in the background. It is killed when the value is dropped.
    pub(crate) fn start<const N: usize>(&self, arguments: [&str; N]) -> Running {
        // Put in place as a whole: another process of the same program may be reading it.
        let whole = self.folder.path().join("new.toml");
        std::fs::write(&whole, self.config.to_string()).unwrap();
        std::fs::rename(whole, self.config_file()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_geft-sweeper"));
        command.args(arguments).arg("--config").arg(self.config_file()).current_dir(self.folder.path());
        let mut running = Running::start(&mut command, &self.environment);
        running.folder = Some(Arc::clone(&self.folder));
        running
    }
}

/// A command under way, its output gathered as it comes.
pub(crate) struct Running {
    /// It may read its configuration after whoever wrote it is gone.
    folder: Option<Arc<TempDir>>,
    child: Child,
    stdout: Gathered,
    stderr: Gathered,
}

impl Running {
    fn start(command: &mut Command, environment: &[(String, String)]) -> Self {
        // What the developer has set must not reach the program under test.
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let stdout = Gathered::start(child.stdout.take().unwrap());
        let stderr = Gathered::start(child.stderr.take().unwrap());
        Self { folder: None, child, stdout, stderr }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the program has not been waited for")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// What it has written to standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// Waits until this text stands in a complete line of standard error, as a log event does.
    pub(crate) async fn logged(&self, text: &str) {
        let end = Instant::now() + LIMIT;
        while !self.stderr().rsplit_once('\n').is_some_and(|(lines, _)| lines.contains(text)) {
            assert!(Instant::now() < end, "{text} is not on standard error within {LIMIT:?}: {}", self.stderr());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for its end.
    pub(crate) async fn finished(mut self) -> Finished {
        let Ok(status) = timeout(LIMIT, self.child.wait()).await else {
            panic!("not finished within {LIMIT:?}; standard error: {}", self.stderr());
        };
        Finished { status: status.unwrap(), stdout: self.stdout.all().await, stderr: self.stderr.all().await }
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Finished {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// The exit status; none where a signal ended it.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Fails with everything it said unless it ended with this status.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code(), Some(code), "{self:#?}");
        self
    }

    /// Standard output as the one JSON object that it must be.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// The output of one pipe, read by a task so that the program never waits for us.
struct Gathered {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Gathered {
    fn start(mut pipe: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let gathered = Arc::clone(&text);
        let reader = tokio::spawn(async move {
            let mut chunk = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut chunk).await {
                gathered.lock().unwrap().extend_from_slice(&chunk[..length]);
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    async fn all(&mut self) -> String {
        (&mut self.reader).await.unwrap();
        self.so_far()
    }
}

/// A shell in the place of the binary, to test the harness itself.
fn shell(script: &str) -> Running {
    Running::start(Command::new("/bin/sh").args(["-c", script]), &[("GREETING".to_owned(), "hello".to_owned())])
}

#[tokio::test]
async fn a_finished_program_has_its_status_and_both_outputs() {
    let finished = shell("echo $GREETING $CARGO_MANIFEST_DIR; echo no >&2; exit 3").finished().await.expect_code(3);
    assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("hello\n", "no\n"));
}

#[tokio::test]
async fn a_program_in_the_background_is_watched_and_stopped() {
    let running = shell("trap 'echo stopped; exit 0' TERM; echo ready >&2; while :; do sleep 0.05; done");
    running.logged("ready").await;
    assert_eq!(running.stdout(), "");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.finished().await.expect_code(0).stdout, "stopped\n");

    let killed = shell("echo ready >&2; exec sleep 60");
    killed.logged("ready").await;
    killed.signal(Signal::SIGKILL);
    assert_eq!(killed.finished().await.code(), None);
}

#[test]
fn the_configuration_file_has_what_was_set() {
    let program =
        Program::new("postgres:///x", "http://127.0.0.1:1").with("retry.max_attempts", 3).without("source.max_age");
    let read: Table = program.config.to_string().parse().unwrap();
    assert_eq!(read["retry"]["max_attempts"], Value::Integer(3));
    assert_eq!(read["api"]["base_url"].as_str(), Some("http://127.0.0.1:1"));
    assert!(read["source"].get("max_age").is_none());
}
