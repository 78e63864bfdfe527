//! PostgreSQL stopped as by a crash, turned read-only, and out of connections, while requests are under way.

use std::time::Duration;

use geft_sweeper::postgres::{Options, PrivatePostgres};
use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults, Hold, Moment};
use sqlx::{Connection, PgConnection};

use super::Lab;
use crate::harness::support::{Shop, eventually};
use crate::records::Tally;
use crate::stage::{Daemon, LIMIT, Stage};

const UNDER_WAY: usize = 4;

/// A server of its own, and daemons of which some requests had their effect and are not answered yet.
struct Scene {
    server: PrivatePostgres,
    stage: Stage,
    daemons: Vec<Daemon>,
    hold: Hold,
}

impl Scene {
    async fn new(options: Options) -> Self {
        let server = PrivatePostgres::start(options).await.unwrap();
        let mut stage = Stage::of(Shop::on(&server.url("postgres")).await).await;
        let cancel = EndpointFaults { latency_ms: 20, ..EndpointFaults::default() };
        stage.shop.provider.set_faults(Faults { cancel, ..Faults::default() }).unwrap();
        stage.abandon(6 * UNDER_WAY).await;
        let program = stage.program().with("api.max_in_flight", 2).with("database.max_connections", 4);
        let hold = stage.shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
        // The second one finds the schema there.
        let daemons = stage.start_all(&program, 2).await;
        stage.shop.held(Endpoint::Cancel, u64::try_from(UNDER_WAY).unwrap()).await;
        Self { server, stage, daemons, hold }
    }

    /// Lets the answers come while the database is away, and waits until each daemon has noticed.
    async fn answer_into_the_void(self) -> (PrivatePostgres, Stage, Vec<Daemon>) {
        self.hold.release();
        for daemon in &self.daemons {
            daemon.running.logged("\"ledger.not_writing\"").await;
        }
        (self.server, self.stage, self.daemons)
    }
}

async fn end(server: PrivatePostgres, mut stage: Stage, daemons: Vec<Daemon>) -> Tally {
    stage.abandon(UNDER_WAY).await;
    let tally = stage.finish(daemons).await;
    server.stop().await.unwrap();
    assert_eq!(tally.requests, tally.rows, "nothing was sent again");
    tally
}

/// Stopped at once, with every connection cut, and started again: while results come, and at any other moment.
pub(super) async fn stopped(mut lab: Lab) -> Tally {
    let mut scene = Scene::new(Options::not_durable()).await;
    scene.server.stop_immediately().await.unwrap();
    scene.stage.faults += 1;
    let (mut server, mut stage, daemons) = scene.answer_into_the_void().await;
    server.restart().await.unwrap();
    for _ in 0..lab.either(10, 0) {
        stage.feed(40).await;
        tokio::time::sleep(Duration::from_millis(lab.random.u64(0..3_000))).await;
        server.stop_immediately().await.unwrap();
        stage.faults += 1;
        tokio::time::sleep(Duration::from_millis(lab.random.u64(0..1_000))).await;
        server.restart().await.unwrap();
    }
    end(server, stage, daemons).await
}

/// Every transaction is read-only, on the connections that are there too, until it is told otherwise.
pub(super) async fn read_only() -> Tally {
    let mut scene = Scene::new(Options::not_durable()).await;
    // As an operator's emergency brake, or a replica that was promoted too late.
    let mut operator = PgConnection::connect(&scene.server.url("postgres")).await.unwrap();
    let mut read_only = async |value: &str| {
        let setting = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        for statement in [setting.as_str(), "SELECT pg_reload_conf()"] {
            sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut operator).await.unwrap();
        }
    };
    read_only("on").await;
    scene.stage.faults += 1;
    let (server, stage, daemons) = scene.answer_into_the_void().await;
    read_only("off").await;
    end(server, stage, daemons).await
}

/// Others hold every connection there is, and those of the program were cut.
pub(super) async fn out_of_connections() -> Tally {
    let mut scene = Scene::new(Options::not_durable().with("max_connections", "25")).await;
    let url = scene.server.url("postgres");
    let mut hogs = Vec::new();
    scene.stage.database.refuse();
    scene.stage.faults += 1;
    eventually(LIMIT, async || match PgConnection::connect(&url).await {
        Ok(hog) => {
            hogs.push(hog);
            false
        }
        Err(error) => error.as_database_error().is_some_and(|error| error.code().is_some_and(|code| code == "53300")),
    })
    .await;
    scene.stage.database.serve();
    let (server, stage, daemons) = scene.answer_into_the_void().await;
    drop(hogs);
    end(server, stage, daemons).await
}
