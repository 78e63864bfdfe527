//! The environment brake: the sessions of a database go to the APIs that were accepted for it, and to no other.

mod retiring;

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Faults, NewSession, Options, Sandbox};
use sqlx::PgPool;
use uuid::Uuid;

use crate::check::Lines;
use crate::support::{Finished, Program, Scene, eventually};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const EVERY_SECOND: &str = "* * * * * *";

/// A row of the table: origin, who accepted it, who retired it.
type Accepted = (String, String, Option<String>);

/// Another provider, that knows these sessions too.
pub(crate) async fn another_provider(sessions: &[Uuid]) -> Sandbox {
    let options = Options { client_id: "client".to_owned(), client_secret: "secret".into(), ..Options::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let session = |id: &Uuid| NewSession { session_id: Some(*id), ..NewSession::default() };
    sandbox.seed(sessions.iter().map(session).collect()).unwrap();
    sandbox
}

/// The program of the scene, but with another provider.
pub(crate) fn program(scene: &Scene, provider: &Sandbox) -> Program {
    Program::new(scene.database.url(), &provider.base_url())
}

pub(crate) async fn accepted(pool: &PgPool) -> Vec<Accepted> {
    let all = "SELECT origin, accepted_by, retired_by FROM geft_sweeper.accepted_apis ORDER BY id";
    sqlx::query_as(all).fetch_all(pool).await.unwrap()
}

/// Fails unless nobody asked this provider for anything.
#[track_caller]
fn expect_no_request(provider: &Sandbox) {
    let counts = provider.counts();
    let endpoints = [Endpoint::Authorize, Endpoint::Cancel, Endpoint::Status, Endpoint::Create, Endpoint::Elsewhere];
    assert_eq!(endpoints.map(|endpoint| counts.arrived(endpoint)), [0; 5]);
}

#[tokio::test]
async fn the_first_api_is_accepted_by_itself_and_stays() {
    let scene = Scene::new(Faults::default()).await;
    scene.abandoned_many(2).await;
    assert_eq!(scene.sweep().await.json()["canceled"], 2);
    let first = accepted(scene.database.pool()).await;
    let instance: String =
        sqlx::query_scalar("SELECT instance FROM geft_sweeper.sweeps").fetch_one(scene.database.pool()).await.unwrap();
    assert_eq!(first, [(scene.sandbox.base_url(), instance, None)]);
    scene.abandoned().await;
    assert_eq!(scene.sweep().await.json()["canceled"], 1);
    assert_eq!(accepted(scene.database.pool()).await, first);
    scene.close().await;
}

#[tokio::test]
async fn of_two_first_apis_that_race_one_is_accepted_and_the_other_hears_nothing() {
    let scene = Scene::new(Faults::default()).await;
    let ids = scene.abandoned_many(5).await;
    let other = another_provider(&ids).await;
    // Both have seen the empty table when one of them may go on.
    let mut barrier = scene.database.pool().begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock(hashtext('geft_sweeper.apis'))";
    sqlx::query(lock).execute(&mut *barrier).await.unwrap();
    let both = [scene.program.start(["sweep", "--json"]), program(&scene, &other).start(["sweep", "--json"])];
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let pool = scene.database.pool();
    eventually(LIMIT, async || sqlx::query_scalar::<_, i64>(waiting).fetch_one(pool).await.unwrap() == 2).await;
    barrier.commit().await.unwrap();
    let [one, two] = both;
    let ended = [one.finished().await, two.finished().await];
    let codes = ended.each_ref().map(Finished::code);
    assert!(codes == [Some(0), Some(1)] || codes == [Some(1), Some(0)], "{ended:#?}");
    let loser = if codes[0] == Some(1) { &scene.sandbox } else { &other };
    expect_no_request(loser);
    assert_eq!(accepted(pool).await.len(), 1);
    assert_eq!(scene.states().await, [("canceled".to_owned(), 5)]);
    scene.close().await;
}

#[tokio::test]
async fn another_api_gets_nothing_until_somebody_accepts_it() {
    let scene = Scene::new(Faults::default()).await;
    scene.sweep().await;
    let ids = scene.abandoned_many(3).await;
    let other = another_provider(&ids).await;
    let program = program(&scene, &other);
    let swept = program.run(["sweep", "--json", "--wait", "10m"]).await.expect_code(1);
    let said = swept.stderr.lines().last().unwrap();
    assert!(said.contains("geft-sweeper accept-api --actor NAME") && said.contains(&other.base_url()), "{said}");
    let report = swept.json();
    assert_eq!((&report["status"], &report["discovered"]), (&"stopped".into(), &0.into()));
    assert!(said.ends_with(report["error"].as_str().unwrap()), "{said}");
    expect_no_request(&other);
    assert_eq!(scene.states().await, []);

    let said = program.run(["accept-api", "--actor", "alice"]).await.expect_code(0);
    assert!(said.stdout.contains(&other.base_url()) && said.stdout.contains("alice"), "{}", said.stdout);
    let again = program.run(["accept-api", "--actor", "bob"]).await.expect_code(0);
    assert!(again.stdout.contains("nothing was written"), "{}", again.stdout);
    assert_eq!(program.run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 3);
    let known: Vec<_> = accepted(scene.database.pool()).await.into_iter().map(|(_, by, _)| by).collect();
    assert_eq!(known[1..], ["alice"]);
    // The other credentials of the same provider are another API.
    let rotated = scene.program.with("api.client_id", "client-2").run(["sweep"]).await.expect_code(1);
    assert!(rotated.stderr.contains("accept-api") && !rotated.stderr.contains("client-2"), "{}", rotated.stderr);
}

#[tokio::test]
async fn a_daemon_that_is_refused_shows_it_and_goes_on_when_its_api_is_accepted() {
    let scene = Scene::new(Faults::default()).await;
    scene.sweep().await;
    let ids = scene.abandoned_many(3).await;
    let other = another_provider(&ids).await;
    let program = program(&scene, &other).with("schedule.sweep", EVERY_SECOND).with("server.listen", "127.0.0.1:0");
    let daemon = program.start(["run"]);
    daemon.logged("\"brake.applied\"").await;
    let endpoints = daemon.endpoints().await;
    let (status, ready) = endpoints.json("/readyz").await;
    assert_eq!((status, &ready["brakes"][0]["name"]), (200, &"environment".into()), "{ready}");
    let metric = "geft_sweeper_brake_acting{brake=\"environment\"}";
    assert_eq!(endpoints.metric(metric).await, Some(1.0));
    let instance = daemon.events("process.started")[0]["process.instance"].clone();
    eventually(LIMIT, async || {
        let shown = program.run(["status", "--json"]).await.expect_code(0).json();
        shown["brakes"][0]["name"] == "environment" && shown["brakes"][0]["instance"] == instance
    })
    .await;
    expect_no_request(&other);
    assert_eq!(scene.states().await, [], "it discovers nothing either");

    program.run(["accept-api", "--actor", "alice"]).await.expect_code(0);
    eventually(LIMIT, async || scene.states().await == [("canceled".to_owned(), 3)]).await;
    assert_eq!(endpoints.metric(metric).await, Some(0.0));
    assert_eq!((daemon.events("brake.applied").len(), daemon.events("brake.lifted").len()), (1, 1));
    assert_eq!(endpoints.json("/readyz").await.1["brakes"], serde_json::json!([]));
}

#[tokio::test]
async fn where_the_setting_says_so_an_unknown_api_is_accepted_by_itself() {
    let scene = Scene::new(Faults::default()).await;
    scene.sweep().await;
    let ids = scene.abandoned_many(2).await;
    let other = another_provider(&ids).await;
    let program = program(&scene, &other).with("brakes.unknown_api", "accept");
    let swept = program.run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!(swept.json()["canceled"], 2);
    assert!(swept.stderr.contains("api.accepted"), "{}", swept.stderr);
    let known = accepted(scene.database.pool()).await;
    let by = swept.json()["instance"].as_str().unwrap().to_owned();
    assert_eq!(known[1], (other.base_url(), by, None));
}

#[tokio::test]
async fn check_tells_how_the_api_stands_and_accepts_nothing() {
    let scene = Scene::new(Faults::default()).await;
    let other = another_provider(&[]).await;
    let check = async |program: &Program| Lines::of(&program.run(["check", "--json"]).await);
    check(&scene.program).await.expect("ok", "environment", &["will be accepted as the first"]);
    assert_eq!(accepted(scene.database.pool()).await, []);
    scene.sweep().await;
    check(&scene.program).await.expect("ok", "environment", &["is accepted"]);
    let program = program(&scene, &other);
    let lines = check(&program).await;
    lines.expect("fail", "environment", &["geft-sweeper accept-api --actor NAME"]);
    // New credentials are proved before they take the place of others.
    lines.expect("ok", "credentials", &[]);
    check(&program.with("brakes.unknown_api", "accept")).await.expect("ok", "environment", &["unknown_api"]);
    assert_eq!(accepted(scene.database.pool()).await.len(), 1);
    scene.close().await;
}
