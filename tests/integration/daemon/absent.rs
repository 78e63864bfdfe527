//! Whatever it needs may be away, at the start or in the middle: it says so once, waits, and goes on without a loss.

use std::time::Duration;

use geft_sweeper::postgres::{Options, PrivatePostgres};
use geft_sweeper::sandbox::{self, Endpoint, Moment, NewSession, Sandbox};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{EVERY_SECOND, LIMIT};
use crate::support::{Program, Running, Shop, TestDatabase, eventually};

/// How often a part was said to be ill.
fn said(daemon: &Running, part: &str) -> usize {
    daemon.events("part.ill").iter().filter(|event| event["part.name"] == part).count()
}

/// Time for several tries to reach what is away, so that saying it again would be seen.
async fn several_tries() {
    tokio::time::sleep(Duration::from_secs(4)).await;
}

fn watched(program: Program) -> Program {
    program.with("schedule.sweep", EVERY_SECOND).with("server.listen", "127.0.0.1:0")
}

#[tokio::test]
async fn it_starts_before_its_database() {
    let mut server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    let shop = Shop::on(&server.url("postgres")).await;
    shop.abandon(2).await;
    server.stop_immediately().await.unwrap();
    let daemon = watched(shop.program()).start(["run"]);
    let endpoints = daemon.endpoints().await;
    daemon.logged("\"part.ill\"").await;
    assert_eq!(endpoints.get("/healthz").await.0, 200);
    let (status, body) = endpoints.json("/readyz").await;
    assert_eq!((status, &body["ready"]), (503, &Value::Bool(false)));
    assert!(body["database"].as_str().unwrap().contains("could not connect"), "{body}");
    several_tries().await;
    assert_eq!(endpoints.get("/healthz").await.0, 200);

    server.restart().await.unwrap();
    eventually(LIMIT, async || endpoints.is_ready().await).await;
    eventually(LIMIT, async || shop.number("canceled").await == 2).await;
    assert_eq!(said(&daemon, "database"), 1, "{}", daemon.stderr());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_starts_before_the_api() {
    let shop = Shop::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap();
    drop(free);
    let ids = shop.abandon(2).await;
    let daemon = watched(shop.program()).with("api.base_url", format!("http://{listen}")).start(["run"]);
    let endpoints = daemon.endpoints().await;
    daemon.logged("\"circuit.opened\"").await;
    let (status, body) = endpoints.json("/readyz").await;
    assert_eq!((status, &body["held_back_by"][0]["reason"]), (200, &json!("no_token")), "{body}");
    several_tries().await;
    assert_eq!(daemon.events("circuit.opened").len(), 1, "{}", daemon.stderr());
    assert_eq!(shop.number("pending").await, 2, "a session that was not sent for is not in flight");

    let (client_id, client_secret) = ("client".to_owned(), "secret".into());
    let options = sandbox::Options { listen, client_id, client_secret, ..sandbox::Options::default() };
    let provider = Sandbox::start(options).await.unwrap();
    let known = |id: &uuid::Uuid| NewSession { session_id: Some(*id), ..NewSession::default() };
    provider.seed(ids.iter().map(known).collect()).unwrap();
    eventually(LIMIT, async || shop.number("canceled").await == 2).await;
    for id in ids {
        assert_eq!(shop.outcomes(id).await, ["canceled"], "no row where no request was begun");
    }
}

#[tokio::test]
async fn it_starts_before_its_schema_where_it_may_not_bring_it() {
    let database = TestDatabase::without_schema().await;
    let shop = Shop::on(database.url()).await;
    shop.abandon(2).await;
    let program = watched(shop.program()).with("database.auto_migrate", false);
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    daemon.logged("\"part.ill\"").await;
    assert_eq!(endpoints.get("/healthz").await.0, 200);
    let (status, body) = endpoints.json("/readyz").await;
    assert_eq!((status, &body["database"]), (503, &json!("ok")), "{body}");
    assert!(body["schema"].as_str().unwrap().contains("geft-sweeper migrate"), "{body}");
    several_tries().await;
    assert!(shop.value::<Option<String>>("SELECT to_regnamespace('geft_sweeper')::text").await.is_none());

    program.run(["migrate"]).await.expect_code(0);
    eventually(LIMIT, async || endpoints.is_ready().await).await;
    eventually(LIMIT, async || shop.number("canceled").await == 2).await;
    assert_eq!((said(&daemon, "schema"), said(&daemon, "database")), (1, 0), "{}", daemon.stderr());
}

/// Twenty sessions, four requests of which have had their effect and are not answered when `away` takes the database
/// away; `back` brings it back after the answers.
async fn loses_nothing(
    server: &mut PrivatePostgres,
    away: impl AsyncFnOnce(&mut PrivatePostgres),
    back: impl AsyncFnOnce(&mut PrivatePostgres),
) {
    let shop = Shop::on(&server.url("postgres")).await;
    let ids = shop.abandon(20).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let daemon = watched(shop.program()).with("api.max_in_flight", 4).start(["run"]);
    let endpoints = daemon.endpoints().await;
    shop.held(Endpoint::Cancel, 4).await;
    away(server).await;
    hold.release();
    daemon.logged("\"ledger.not_writing\"").await;
    eventually(LIMIT, async || !endpoints.is_ready().await).await;
    assert_eq!(endpoints.get("/healthz").await.0, 200);
    back(server).await;

    eventually(LIMIT, async || shop.number("canceled").await == 20).await;
    eventually(LIMIT, async || endpoints.is_ready().await).await;
    shop.assert_no_gap().await;
    assert_eq!(shop.requests_and_rows(&ids).await, vec![(1, 1); 20], "{}", daemon.stderr());
    assert_eq!(daemon.events("ledger.not_writing").len(), 1, "{}", daemon.stderr());
    let mut said: Vec<String> = daemon.events("part.ill").iter().map(|event| event["message"].to_string()).collect();
    said.sort_unstable();
    let all = said.len();
    said.dedup();
    // What was under way together fails together, and not all of it at the same thing.
    assert!(all > 0 && said.len() == all, "each thing that failed is said once: {}", daemon.stderr());
}

#[tokio::test]
async fn a_database_that_crashes_in_the_middle_of_a_sweep_loses_nothing() {
    let mut server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    let away = async |server: &mut PrivatePostgres| server.stop_immediately().await.unwrap();
    let back = async |server: &mut PrivatePostgres| server.restart().await.unwrap();
    loses_nothing(&mut server, away, back).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_sweep_cut_short_by_the_database_is_closed_by_the_next() {
    let mut server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    let shop = Shop::on(&server.url("postgres")).await;
    let daemon = watched(shop.program()).start(["run"]);
    daemon.logged("\"sweep.ended\"").await;
    // A lock keeps the next sweep in its discovery until the database goes away under it.
    let mut locked = shop.pool().begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE payment_sessions IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let waiting = "SELECT count(*) FROM geft_sweeper.sweeps WHERE status = 'running'
        AND EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'payment_sessions'::regclass)";
    eventually(LIMIT, async || shop.value::<i64>(waiting).await > 0).await;
    server.stop_immediately().await.unwrap();
    daemon.logged("\"part.ill\"").await;
    drop(locked);
    server.restart().await.unwrap();
    shop.abandon(1).await;
    eventually(LIMIT, async || shop.number("canceled").await == 1).await;
    let cut = "SELECT count(*) FROM geft_sweeper.sweeps
        WHERE status = 'interrupted' AND error = 'the database failed before the sweep could be closed'";
    assert_eq!(shop.value::<i64>(cut).await, 1);
    let running = "SELECT count(*) FROM geft_sweeper.sweeps WHERE status = 'running'";
    assert!(shop.value::<i64>(running).await <= 1, "a process has one sweep at a time");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_read_only_for_a_while_loses_nothing() {
    let mut server = PrivatePostgres::start(Options::not_durable()).await.unwrap();
    let away = async |server: &mut PrivatePostgres| make_read_only(server, "on").await;
    let back = async |server: &mut PrivatePostgres| make_read_only(server, "off").await;
    loses_nothing(&mut server, away, back).await;
    server.stop().await.unwrap();
}

/// As after a failover: connections are cut, and new ones can read alone. The way back cuts none of them.
async fn make_read_only(server: &PrivatePostgres, value: &str) {
    let mut connection = PgConnection::connect(&server.url("template1")).await.unwrap();
    let setting = format!("ALTER DATABASE postgres SET default_transaction_read_only = {value}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(setting)).execute(&mut connection).await.unwrap();
    if value == "on" {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'";
        sqlx::raw_sql(cut).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}
