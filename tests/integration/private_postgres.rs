//! The private PostgreSQL: it serves, comes back after a crash, and never outlives the process that asked for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use geft_sweeper::postgres::{Options, PrivatePostgres};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::eventually;

const LIMIT: Duration = Duration::from_secs(30);

/// Set in the process that `a_holder` is to be killed in.
const HOLDER: &str = "HOLD_A_PRIVATE_POSTGRES";

async fn rows(url: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT count(*) FROM kept").fetch_one(&mut connection).await.unwrap()
}

/// The processes that belong to a server: each names its folder in its command line, or works inside it.
pub(crate) fn processes_of(folder: &Path) -> Vec<u32> {
    let name = folder.to_str().unwrap();
    let of_folder = |process: &Path| {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(name)
            || fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        of_folder(&entry.path()).then_some(pid)
    });
    ours.collect()
}

#[tokio::test]
async fn a_crash_loses_the_connections_and_keeps_what_was_committed() {
    let mut server = PrivatePostgres::start(Options::default()).await.unwrap();
    let url = server.url("postgres");
    let mut before = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)").execute(&mut before).await.unwrap();

    server.stop_immediately().await.unwrap();
    before.ping().await.unwrap_err();
    PgConnection::connect(&url).await.unwrap_err();
    server.restart().await.unwrap();
    assert_eq!(rows(&url).await, 1);
    server.restart().await.unwrap();
    assert_eq!(rows(&url).await, 1, "a server that runs can be restarted too");

    let folder = server.folder().to_owned();
    server.stop().await.unwrap();
    assert!(!folder.exists());
    assert_eq!(processes_of(&folder), Vec::<u32>::new());
}

#[tokio::test]
async fn settings_reach_the_server() {
    let options = Options::not_durable().with("max_connections", "7");
    let server = PrivatePostgres::start(options).await.unwrap();
    let mut connection = PgConnection::connect(&server.url("postgres")).await.unwrap();
    for (name, value) in [("fsync", "off"), ("max_connections", "7"), ("listen_addresses", "")] {
        let found: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, value, "{name}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_port_that_was_asked_for_is_open_on_this_machine_alone() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = PrivatePostgres::start(Options { port: Some(port), ..Options::not_durable() }).await.unwrap();
    let url = format!("postgres://sweeper@127.0.0.1:{port}/postgres?sslmode=disable");
    PgConnection::connect(&url).await.unwrap().ping().await.unwrap();
    PgConnection::connect(&server.url("postgres")).await.unwrap().ping().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_setting_that_postgresql_refuses_is_told_in_its_words() {
    let refused = PrivatePostgres::start(Options::default().with("max_connections", "none")).await.unwrap_err();
    assert!(refused.to_string().contains(r#"invalid value for parameter "max_connections": "none""#), "{refused}");
}

#[tokio::test]
async fn a_dropped_server_is_cleaned_up() {
    let server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    let folder = server.folder().to_owned();
    drop(server);
    nothing_is_left_of(&folder).await;
}

#[tokio::test]
async fn a_killed_process_leaves_no_server_behind() {
    let mut holder = start_holder();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let folder = loop {
        let line = lines.next_line().await.unwrap().expect("the holder names its folder");
        if let Some((_, folder)) = line.split_once("folder: ") {
            break PathBuf::from(folder);
        }
    };
    assert!(processes_of(&folder).len() > 2, "the watchdog, the server and its helpers run");
    holder.kill().await.unwrap();
    nothing_is_left_of(&folder).await;
}

#[tokio::test]
async fn a_process_killed_while_its_server_is_made_leaves_nothing_behind() {
    let mut holder = start_holder();
    let pid = holder.id().unwrap();
    eventually(LIMIT, async || folder_being_made(pid).is_some_and(|folder| folder.join("data").exists())).await;
    let folder = folder_being_made(pid).unwrap();
    holder.kill().await.unwrap();
    nothing_is_left_of(&folder).await;
}

/// The folder that a process's watchdog was given.
pub(crate) fn folder_being_made(parent: u32) -> Option<PathBuf> {
    let children = |thread: PathBuf| fs::read_to_string(thread.join("children")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{parent}/task")).ok()?.flatten();
    let watchdogs: String = threads.map(|thread| children(thread.path())).collect();
    let command = fs::read_to_string(format!("/proc/{}/cmdline", watchdogs.split_whitespace().next()?)).ok()?;
    command.trim_end_matches('\0').rsplit('\0').next().filter(|last| last.contains("geft-sweeper-")).map(PathBuf::from)
}

pub(crate) async fn nothing_is_left_of(folder: &Path) {
    eventually(LIMIT, async || !folder.exists() && processes_of(folder).is_empty()).await;
}

/// Another process of this program, which runs `a_holder` alone.
fn start_holder() -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "private_postgres::a_holder", "--nocapture"]).env(HOLDER, "yes");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

/// Not a test by itself: holds a server until its standard input ends.
#[tokio::test]
async fn a_holder() {
    if std::env::var_os(HOLDER).is_none() {
        return;
    }
    let server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    #[expect(clippy::print_stdout, reason = "the one who started this process waits for it")]
    {
        println!("folder: {}", server.folder().display());
    }
    std::io::read_to_string(std::io::stdin()).unwrap();
}
