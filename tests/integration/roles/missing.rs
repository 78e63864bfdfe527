//! A right that the program's role lacks: said once, with the statement that gives it, and nothing is begun until it is there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Roles, set_up, take_down, url};
use crate::commands::{MINUTE, Shop};
use crate::notify::Manager;
use crate::support::{Endpoints, Program, Running, eventually};

const LIMIT: Duration = Duration::from_secs(30);
/// Several ticks, and several tries, so that a change of mind would be seen.
const STEADY: Duration = Duration::from_secs(4);

fn program(shop: &Shop, roles: &Roles) -> Program {
    shop.program().with("database.url", url(shop, &roles.runtime)).with("api.token_use", "shared")
}

/// Takes everything on a table away from the program's role; gives the statement that mends it.
async fn take_away(shop: &Shop, roles: &Roles, table: &str, rights: &str) -> String {
    shop.execute(&format!("REVOKE ALL ON geft_sweeper.{table} FROM \"{}\"", roles.runtime)).await;
    format!("GRANT {rights} ON geft_sweeper.{table} TO \"{}\";", roles.runtime)
}

/// How often each part was said to be so: the database, and the schema.
fn said(daemon: &Running, event: &str) -> (usize, usize) {
    let events = daemon.events(event);
    let of = |part: &str| events.iter().filter(|event| event["part.name"] == part).count();
    (of("database"), of("schema"))
}

async fn expect_steadily_not_ready(endpoints: &Endpoints, grant: &str) {
    let began = Instant::now();
    while began.elapsed() < STEADY {
        let (status, body) = endpoints.json("/readyz").await;
        assert_eq!((status, &body["ready"], &body["database"]), (503, &Value::Bool(false), &json!("ok")), "{body}");
        assert!(body["schema"].as_str().unwrap().contains(grant), "{body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_sweep_without_a_right_fails_with_the_grant_and_begins_nothing() {
    let (shop, roles) = set_up().await;
    shop.add("abandoned", MINUTE).await;
    let usage = format!("GRANT USAGE ON SCHEMA geft_sweeper TO \"{}\";", roles.runtime);
    let claims = take_away(&shop, &roles, "claims", "SELECT, INSERT, UPDATE, DELETE").await;
    let before = shop.contents().await;
    let said = program(&shop, &roles).run(["sweep"]).await.expect_code(1);
    assert_eq!((said.stdout.as_str(), said.stderr.lines().count()), ("", 1), "{said:#?}");
    assert!(said.stderr.contains(&claims) && !said.stderr.contains(&usage), "{}", said.stderr);
    // Without this one not even the version can be read.
    shop.execute(&format!("REVOKE USAGE ON SCHEMA geft_sweeper FROM \"{}\"", roles.runtime)).await;
    let said = program(&shop, &roles).run(["sweep"]).await.expect_code(1);
    assert!(said.stderr.contains(&claims) && said.stderr.contains(&usage), "{}", said.stderr);
    assert_eq!(shop.contents().await, before);
    shop.expect_no_request();
    shop.execute(&(usage + &claims)).await;
    program(&shop, &roles).run(["sweep"]).await.expect_code(0);
    take_down(shop, roles).await;
}

#[tokio::test]
async fn a_daemon_without_a_right_is_not_ready_says_so_once_and_begins_when_it_is_given() {
    let (shop, roles) = set_up().await;
    let manager = Manager::listen();
    let id = shop.add("abandoned", MINUTE).await;
    let grant = take_away(&shop, &roles, "claims", "SELECT, INSERT, UPDATE, DELETE").await;
    let program = program(&shop, &roles).with("schedule.sweep", "* * * * * *").with("server.listen", "127.0.0.1:0");
    let daemon = manager.manages(program).start(["run"]);
    let endpoints = daemon.endpoints().await;
    daemon.logged("\"part.ill\"").await;
    expect_steadily_not_ready(&endpoints, &grant).await;
    assert!(manager.has_heard("STATUS=schema: ") && !manager.has_heard("READY"), "{}", daemon.stderr());
    assert_eq!((said(&daemon, "part.ill"), said(&daemon, "part.well")), ((0, 1), (1, 0)), "{}", daemon.stderr());
    shop.expect_no_request();

    shop.execute(&grant).await;
    eventually(LIMIT, async || shop.sandbox.cancels(id) == 1).await;
    eventually(LIMIT, async || endpoints.is_ready().await && manager.has_heard("READY=1")).await;
    assert_eq!((said(&daemon, "part.ill"), said(&daemon, "part.well")), ((0, 1), (1, 1)), "{}", daemon.stderr());
    drop(daemon);
    take_down(shop, roles).await;
}

/// Whoever is refused first: the loop, the reading of the source, the sign of life, the writing of results.
#[tokio::test]
async fn a_right_taken_away_from_a_daemon_is_said_once_and_nothing_is_claimed_until_it_is_back() {
    let (shop, roles) = set_up().await;
    let program = program(&shop, &roles).with("schedule.sweep", "* * * * * *").with("server.listen", "127.0.0.1:0");
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    eventually(LIMIT, async || endpoints.is_ready().await).await;
    let tables = [
        ("claims", "SELECT, INSERT, UPDATE, DELETE"),
        ("cancellations", "SELECT, INSERT, UPDATE"),
        ("processes", "SELECT, INSERT, UPDATE, DELETE"),
        ("cancel_attempts", "SELECT, INSERT"),
    ];
    for (times, (table, rights)) in (1..).zip(tables) {
        let grant = take_away(&shop, &roles, table, rights).await;
        let first = shop.add("abandoned", MINUTE).await;
        eventually(LIMIT, async || said(&daemon, "part.ill").1 == times).await;
        let second = shop.add("abandoned", MINUTE).await;
        expect_steadily_not_ready(&endpoints, &grant).await;
        assert_eq!(shop.sandbox.cancels(second), 0, "{table}: {}", daemon.stderr());

        shop.execute(&grant).await;
        eventually(LIMIT, async || endpoints.is_ready().await).await;
        eventually(LIMIT, async || [first, second].map(|id| shop.sandbox.cancels(id)) == [1, 1]).await;
        let said = (said(&daemon, "part.ill"), said(&daemon, "part.well"));
        assert_eq!(said, ((0, times), (1, times + 1)), "{table}: {}", daemon.stderr());
    }
    drop(daemon);
    take_down(shop, roles).await;
}
