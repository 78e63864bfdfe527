//! What the service manager hears, at a socket of the test's own: when it is ready, what it does, that it moves, its end.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use geft_sweeper::postgres::{Options, PrivatePostgres};
use geft_sweeper::sandbox::{Endpoint, Moment};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{Program, Shop, eventually};

const LIMIT: Duration = Duration::from_secs(30);
/// Ticks once a year: whatever happens is not the schedule's doing.
const YEARLY: &str = "0 0 0 1 1 *";
const EVERY_SECOND: &str = "* * * * * *";

/// A service manager that listens.
pub(crate) struct Manager {
    folder: TempDir,
    /// Each line that came, with its moment.
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
    listening: JoinHandle<()>,
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Manager {
    pub(crate) fn listen() -> Self {
        let folder = tempfile::Builder::new().prefix("geft-sweeper-notify-").tempdir_in("/tmp").unwrap();
        let socket = UnixDatagram::bind(folder.path().join("socket")).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = tokio::net::UnixDatagram::from_std(socket).unwrap();
        let heard = Arc::<Mutex<Vec<(Instant, String)>>>::default();
        let gathered = Arc::clone(&heard);
        let listening = tokio::spawn(async move {
            let mut datagram = [0; 4096];
            loop {
                let length = socket.recv(&mut datagram).await.unwrap();
                let lines = String::from_utf8(datagram[..length].to_vec()).unwrap();
                gathered.lock().unwrap().extend(lines.lines().map(|line| (Instant::now(), line.to_owned())));
            }
        });
        Self { folder, heard, listening }
    }

    /// The program under this manager.
    pub(crate) fn manages(&self, program: Program) -> Program {
        program.with_variable("NOTIFY_SOCKET", self.folder.path().join("socket").to_str().unwrap())
    }

    /// The lines that begin so, and when each came.
    pub(crate) fn heard(&self, beginning: &str) -> Vec<(Instant, String)> {
        self.heard.lock().unwrap().iter().filter(|(_, line)| line.starts_with(beginning)).cloned().collect()
    }

    pub(crate) fn has_heard(&self, beginning: &str) -> bool {
        !self.heard(beginning).is_empty()
    }

    /// Everything, for the message of a failure.
    fn all(&self) -> String {
        format!("{:#?}", self.heard.lock().unwrap())
    }
}

#[tokio::test]
async fn it_is_ready_when_database_and_schema_are_and_not_before() {
    let manager = Manager::listen();
    let mut server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    let shop = Shop::on(&server.url("postgres")).await;
    server.stop_immediately().await.unwrap();
    let program = manager.manages(shop.program().with("schedule.sweep", YEARLY));
    let daemon = program.start(["run"]);
    eventually(LIMIT, async || manager.has_heard("STATUS=database: could not connect")).await;
    assert!(!manager.has_heard("READY"), "{}", manager.all());
    daemon.signal(Signal::SIGHUP);
    daemon.logged("\"settings.read_again\"").await;
    server.restart().await.unwrap();
    eventually(LIMIT, async || manager.has_heard("READY=1")).await;
    assert!(!manager.has_heard("RELOADING"), "a process that is still starting stays that: {}", manager.all());
    let schema = "SELECT to_regclass('geft_sweeper.cancellations') IS NOT NULL";
    assert!(shop.value::<bool>(schema).await, "ready before its schema was there");
    eventually(LIMIT, async || manager.has_heard("STATUS=idle, next sweep at ")).await;
    let next = manager.heard("STATUS=idle")[0].1.clone();
    assert!(next.ends_with("-01-01 00:00:00 UTC"), "{next}");

    // Away and back is the line's matter: it stays the same service.
    server.stop_immediately().await.unwrap();
    let ill =
        async || manager.heard("STATUS=database: ").last().is_some_and(|(at, _)| *at > manager.heard("READY")[0].0);
    eventually(LIMIT, ill).await;
    server.restart().await.unwrap();
    eventually(LIMIT, async || manager.heard("STATUS=idle").len() >= 2).await;
    assert_eq!(manager.heard("READY").len(), 1, "{}", manager.all());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_line_tells_how_far_a_sweep_is_what_holds_it_back_and_its_end() {
    let manager = Manager::listen();
    let shop = Shop::new().await;
    shop.abandon(6).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let program = shop.program().with("schedule.sweep", EVERY_SECOND).with("api.max_in_flight", 2);
    let daemon = manager.manages(program).start(["run"]);
    eventually(LIMIT, async || manager.has_heard("STATUS=sweeping 0 of 6")).await;
    shop.held(Endpoint::Cancel, 2).await;
    hold.release();
    eventually(LIMIT, async || shop.number("canceled").await == 6).await;
    eventually(LIMIT, async || manager.has_heard("STATUS=idle, next sweep at ")).await;

    shop.provider.set_client_secret("changed".into());
    shop.provider.revoke_tokens();
    shop.abandon(1).await;
    eventually(LIMIT, async || manager.has_heard("STATUS=sending is held back: the provider refuses the credentials"))
        .await;
    assert!(!manager.has_heard("STOPPING"), "{}", manager.all());
    daemon.signal(Signal::SIGTERM);
    daemon.finished().await.expect_code(0);
    eventually(LIMIT, async || manager.has_heard("STOPPING=1")).await;
}

/// The line is first looked at when a part of it is done: requests are held to a rate, so that there are looks in between.
#[tokio::test]
async fn the_line_counts_what_was_done_before_it_was_first_looked_at() {
    const SESSIONS: usize = 600;
    let manager = Manager::listen();
    let shop = Shop::new().await;
    let program = shop.program().with("schedule.sweep", EVERY_SECOND).with("api.max_requests_per_second", 200.0);
    let _daemon = manager.manages(program).start(["run"]);
    eventually(LIMIT, async || manager.has_heard("STATUS=idle")).await;
    shop.abandon(SESSIONS).await;
    eventually(LIMIT, async || shop.number("canceled").await == 600).await;
    let lines = manager.heard("STATUS=sweeping ");
    assert!(!lines.is_empty(), "{}", manager.all());
    for (_, line) in lines {
        let total: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
        // What ends in the moment of counting may be left out or counted twice.
        assert!(total.abs_diff(SESSIONS) <= 20, "{}", manager.all());
    }
}

#[tokio::test]
async fn the_watchdog_is_fed_more_than_twice_within_its_limit_however_slow_the_api_is() {
    let manager = Manager::listen();
    let shop = Shop::new().await;
    shop.abandon(2).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let program = shop.program().with("schedule.sweep", EVERY_SECOND);
    let limit = Duration::from_secs(3);
    let program = manager.manages(program).with_variable("WATCHDOG_USEC", &limit.as_micros().to_string());
    let daemon = program.start(["run"]);
    shop.held(Endpoint::Cancel, 2).await;
    let before = manager.heard("WATCHDOG=1").len();
    // Nothing but the watchdog moves meanwhile.
    eventually(LIMIT, async || manager.heard("WATCHDOG=1").len() >= before + 5).await;
    let fed = manager.heard("WATCHDOG=1");
    let longest = fed.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    assert!(longest < limit, "not fed for {longest:?}: {}", manager.all());
    assert_eq!(shop.provider.counts().finished(Endpoint::Cancel), 0, "{}", daemon.stderr());
    hold.release();
}

#[tokio::test]
async fn a_watchdog_of_another_process_is_not_fed() {
    let manager = Manager::listen();
    let shop = Shop::new().await;
    let program = manager.manages(shop.program().with("schedule.sweep", YEARLY));
    let program = program.with_variable("WATCHDOG_USEC", "1000").with_variable("WATCHDOG_PID", "1");
    let _daemon = program.start(["run"]);
    eventually(LIMIT, async || manager.has_heard("STATUS=idle")).await;
    assert!(!manager.has_heard("WATCHDOG"), "{}", manager.all());
}

#[tokio::test]
async fn a_reload_is_announced_and_its_end_too() {
    let manager = Manager::listen();
    let shop = Shop::new().await;
    let daemon = manager.manages(shop.program().with("schedule.sweep", YEARLY)).start(["run"]);
    eventually(LIMIT, async || manager.has_heard("READY=1")).await;
    daemon.signal(Signal::SIGHUP);
    eventually(LIMIT, async || manager.heard("READY=1").len() == 2).await;
    let said: Vec<String> = manager.heard("").into_iter().map(|(_, line)| line).collect();
    let at = said.iter().position(|line| line == "RELOADING=1").unwrap();
    assert!(said[at + 1].strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().is_ok(), "{said:?}");
    assert!(said[at..].contains(&"READY=1".to_owned()), "{said:?}");
}
