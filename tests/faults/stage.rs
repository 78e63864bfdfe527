//! The stage of a scenario: a shop with its provider, a proxy before each of the two, and daemons that come and go.
//!
//! It counts what is done to them, and ends by reconciling the three records.

use std::collections::HashSet;
use std::time::Duration;

use geft_sweeper::sandbox::{Answered, Endpoint};
use nix::sys::signal::Signal;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use crate::harness::support::{Program, Running, Shop, eventually};
use crate::proxy::{Proxy, Target};
use crate::reconcile::Expected;

/// How long anything may take before the scenario fails.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);

/// The states in which a session of an ordinary backlog ends.
const ENDED: &[&str] = &["canceled", "already_terminal"];

/// A daemon and the name under which it claims.
pub(crate) struct Daemon {
    pub(crate) running: Running,
    pub(crate) instance: String,
}

/// The stage.
pub(crate) struct Stage {
    pub(crate) shop: Shop,
    pub(crate) api: Proxy,
    pub(crate) database: Proxy,
    pub(crate) backlog: Vec<Expected>,
    /// Sessions whose requests were made to overlap.
    pub(crate) may_overlap: HashSet<Uuid>,
    /// Faults injected so far.
    pub(crate) faults: u64,
    /// Processes that are gone without having given back what they held.
    dead: Vec<String>,
    alive: usize,
    /// The most that were alive at once.
    pub(crate) processes: usize,
}

impl Stage {
    /// On a database of its own, on the server that scenarios share.
    pub(crate) async fn new() -> Self {
        Self::of(Shop::new().await).await
    }

    /// With this shop.
    pub(crate) async fn of(shop: Shop) -> Self {
        let options: PgConnectOptions = shop.url().parse().unwrap();
        let socket = options.get_socket().unwrap().join(format!(".s.PGSQL.{}", options.get_port()));
        Self {
            api: Proxy::start(Target::Tcp(shop.provider.address())).await,
            database: Proxy::start(Target::Unix(socket)).await,
            shop,
            backlog: Vec::new(),
            may_overlap: HashSet::new(),
            faults: 0,
            dead: Vec::new(),
            alive: 0,
            processes: 0,
        }
    }

    /// The program with both proxies before it; it discovers each second and repeats soon.
    pub(crate) fn program(&self) -> Program {
        let options: PgConnectOptions = self.shop.url().parse().unwrap();
        let (address, name) = (self.database.address(), options.get_database().unwrap());
        self.shop
            .program()
            .with("database.url", format!("postgres://sweeper@{address}/{name}?sslmode=disable"))
            .with("api.base_url", format!("http://{}", self.api.address()))
            .with("api.max_in_flight", 8)
            .with("schedule.sweep", "* * * * * *")
            .with("retry.initial_interval", "100ms")
            .with("retry.max_interval", "1s")
    }

    /// Starts a daemon, and waits until it has said who it is.
    pub(crate) async fn start(&mut self, program: &Program) -> Daemon {
        let running = program.start(["run"]);
        running.logged("\"process.started\"").await;
        let instance = running.events("process.started")[0]["process.instance"].as_str().unwrap().to_owned();
        self.alive += 1;
        self.processes = self.processes.max(self.alive);
        Daemon { running, instance }
    }

    /// Starts so many of them.
    pub(crate) async fn start_all(&mut self, program: &Program, number: usize) -> Vec<Daemon> {
        let mut daemons = Vec::new();
        for _ in 0..number {
            daemons.push(self.start(program).await);
        }
        daemons
    }

    /// Kills a daemon: a fault.
    pub(crate) async fn kill(&mut self, daemon: Daemon) {
        daemon.running.signal(Signal::SIGKILL);
        assert_eq!(daemon.running.finished().await.code(), None);
        self.faults += 1;
        self.alive -= 1;
        self.dead.push(daemon.instance);
    }

    /// Asks a daemon to stop, and waits for its orderly end.
    pub(crate) async fn stop(&mut self, daemon: Daemon) -> String {
        daemon.running.signal(Signal::SIGTERM);
        let ended = daemon.running.finished().await.expect_code(0);
        self.alive -= 1;
        ended.stderr
    }

    /// Sessions that are to be canceled.
    pub(crate) async fn abandon(&mut self, number: usize) -> Vec<Uuid> {
        let ids = self.shop.abandon(number).await;
        self.expect(&ids, ENDED);
        ids
    }

    /// What these sessions must come to.
    pub(crate) fn expect(&mut self, ids: &[Uuid], states: &'static [&'static str]) {
        let expected = |session: &Uuid| Expected { session: *session, states, at_provider: String::new() };
        self.backlog.extend(ids.iter().map(expected));
    }

    /// Adds to the backlog when less than this is open, so that there is always work.
    pub(crate) async fn feed(&mut self, least: i64) {
        let open = "SELECT count(*) FROM payment_sessions p WHERE NOT EXISTS (
            SELECT FROM geft_sweeper.cancellations c WHERE c.session_id = p.session_id AND c.finished_at IS NOT NULL)";
        let open: i64 = sqlx::query_scalar(open).fetch_one(self.shop.pool()).await.unwrap();
        if open < least {
            self.abandon(usize::try_from(least).unwrap()).await;
        }
    }

    /// Ends the leases of the processes that were killed, as if their time were over.
    pub(crate) async fn end_leases_of_the_dead(&self) {
        self.end_leases(&self.dead).await.ok();
    }

    /// Ends the leases of these processes, as if their time were over.
    pub(crate) async fn end_leases(&self, instances: &[String]) -> Result<u64, sqlx::Error> {
        // Where a statement of the dead is still under way, it is found the next time.
        let end = "WITH over AS (UPDATE geft_sweeper.claims SET lease_until = now() - interval '1 second'
                WHERE instance = ANY($1) AND lease_until > now() RETURNING open)
            SELECT coalesce(sum(open), 0) FROM over";
        let held: i64 = sqlx::query_scalar(end).bind(instances).fetch_one(self.shop.pool()).await?;
        Ok(u64::try_from(held).unwrap())
    }

    /// Waits until every session of the backlog has ended, and the provider has nothing under way.
    pub(crate) async fn all_ended(&self) {
        let ended = "SELECT count(*) FROM geft_sweeper.cancellations WHERE finished_at IS NOT NULL";
        let to_end = self.backlog.iter().filter(|one| !one.states.is_empty()).count();
        let to_end = i64::try_from(to_end).unwrap();
        eventually(LIMIT, async || {
            self.end_leases_of_the_dead().await;
            sqlx::query_scalar::<_, i64>(ended).fetch_one(self.shop.pool()).await.is_ok_and(|ended| ended >= to_end)
        })
        .await;
    }

    /// Waits until so many cancel requests have arrived.
    pub(crate) async fn arrived(&self, number: u64) {
        let arrived = self.shop.provider.wait_for_requests(|counts| counts.arrived(Endpoint::Cancel) >= number);
        tokio::time::timeout(LIMIT, arrived).await.expect("requests arrive");
    }

    /// Waits until every session has ended, and counts the answers of this kind as faults.
    pub(crate) async fn count_answers(&mut self, answered: Answered) {
        self.all_ended().await;
        self.faults += self.shop.provider.counts().answered(Endpoint::Cancel, answered);
    }
}
