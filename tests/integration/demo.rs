//! The demo, as a user starts it: it shows the main job, and nothing is left of it however it ends.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::private_postgres::{folder_being_made, nothing_is_left_of, processes_of};
use crate::support::eventually;

const LIMIT: Duration = Duration::from_mins(1);

/// A demo under way, in a pipe.
struct Demo {
    child: Child,
    stdout: BufReader<ChildStdout>,
    said: String,
    folder: PathBuf,
}

impl Demo {
    /// Starts it, in an environment that names another database: the demo must not go there.
    async fn start<const N: usize>(arguments: [&str; N]) -> Self {
        let mut command = program();
        command.arg("demo").args(arguments).env("GEFT_SWEEPER__DATABASE__URL", "postgres://nobody@127.0.0.1:1/real");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let pid = child.id().unwrap();
        eventually(LIMIT, async || folder_being_made(pid).is_some()).await;
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, said: String::new(), folder: folder_being_made(pid).unwrap() }
    }

    /// Reads on until a line has these words in it; gives that line.
    async fn until_it_says(&mut self, words: &str) -> String {
        let reading = async {
            loop {
                let start = self.said.len();
                assert_ne!(self.stdout.read_line(&mut self.said).await.unwrap(), 0, "{words}? {}", self.said);
                if self.said[start..].contains(words) {
                    return self.said[start..].to_owned();
                }
            }
        };
        timeout(LIMIT, reading).await.unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().unwrap().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end; gives the exit status and what it said on standard output and standard error.
    async fn end(mut self) -> (ExitStatus, String, String) {
        let mut complaint = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        let status = timeout(LIMIT, async {
            self.stdout.read_to_string(&mut self.said).await.unwrap();
            stderr.read_to_string(&mut complaint).await.unwrap();
            self.child.wait().await.unwrap()
        });
        (status.await.unwrap(), self.said, complaint)
    }
}

/// The real binary, with nothing of the developer's environment.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_geft-sweeper"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// A count of the report.
fn count(said: &str, name: &str) -> u64 {
    let line = said.lines().find_map(|line| line.trim_start().strip_prefix(&format!("{name} ")));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_else(|| panic!("{name}? {said}"))
}

#[tokio::test]
async fn it_cancels_what_is_to_be_canceled_and_leaves_nothing_behind() {
    let demo = Demo::start(["--sessions", "300"]).await;
    let folder = demo.folder.clone();
    let (status, said, complaint) = demo.end().await;
    assert!(!folder.exists(), "the folder outlived the program");
    assert_eq!(processes_of(&folder), Vec::<u32>::new());

    assert!(status.success(), "{said}{complaint}");
    assert_eq!(complaint, "", "no bar and no log in a pipe");
    assert!(!said.contains('\u{1b}'), "no colours in a pipe: {said}");
    for (name, expected) in
        [("discovered", 266), ("failed", 1), ("skipped", 1), ("left_alone", 15), ("paid_after_abandonment", 5)]
    {
        assert_eq!(count(&said, name), expected, "{name}: {said}");
    }
    assert_eq!(count(&said, "canceled") + count(&said, "already_terminal"), 265, "{said}");
    let attempts = said.lines().filter(|line| line.contains("│ order-") && line.contains("already_terminal"));
    assert!(attempts.count() > 2, "some audit rows: {said}");
    assert!(said.contains("demo --keep-running"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 100 || line.contains('/')), "{said}");
}

#[tokio::test]
async fn an_interrupt_in_the_middle_leaves_nothing_behind() {
    let mut demo = Demo::start(["--sessions", "5000"]).await;
    let folder = demo.folder.clone();
    demo.until_it_says("made-up sessions").await;
    demo.signal(Signal::SIGINT);
    let (status, said, complaint) = demo.end().await;
    assert!(!folder.exists(), "the folder outlived the program");
    assert_eq!(processes_of(&folder), Vec::<u32>::new());
    assert_eq!(status.code(), Some(1), "{said}{complaint}");
    assert_eq!(complaint, "geft-sweeper: the demo was cut short: asked to stop\n");
}

#[tokio::test]
async fn an_interrupt_while_the_server_is_made_leaves_nothing_behind() {
    let demo = Demo::start(["--sessions", "5000"]).await;
    let folder = demo.folder.clone();
    demo.signal(Signal::SIGINT);
    let (status, said, complaint) = demo.end().await;
    assert!(!folder.exists(), "the folder outlived the program");
    assert_eq!(status.code(), Some(1), "{said}{complaint}");
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_nothing_behind() {
    let mut demo = Demo::start(["--sessions", "5000"]).await;
    let folder = demo.folder.clone();
    demo.until_it_says("made-up sessions").await;
    assert!(processes_of(&folder).len() > 2, "the watchdog, the server and its helpers run");
    demo.signal(Signal::SIGKILL);
    assert_eq!(demo.end().await.0.code(), None);
    nothing_is_left_of(&folder).await;
}

#[tokio::test]
async fn what_it_keeps_up_can_be_used_until_it_is_interrupted() {
    let mut demo = Demo::start(["--sessions", "300", "--keep-running"]).await;
    let folder = demo.folder.clone();
    let status = demo.until_it_says(" status --config ").await;
    demo.until_it_says(" run --config ").await;

    let file = status.split_whitespace().last().unwrap();
    assert_eq!(file, folder.join("geft-sweeper.toml").to_str().unwrap());
    for command in ["status", "check", "sweep"] {
        let done = program().args([command, "--config", file]).output().await.unwrap();
        assert!(done.status.success(), "{command}: {done:?}");
    }
    demo.signal(Signal::SIGINT);
    let (status, said, complaint) = demo.end().await;
    assert!(!folder.exists(), "the folder outlived the program");
    assert!(status.success(), "{said}{complaint}");
}
