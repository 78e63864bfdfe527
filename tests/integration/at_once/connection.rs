//! The connection that listens: one that is lost, or goes silent without an end, is noticed and replaced.

use sqlx::postgres::PgConnectOptions;

use super::{LIMIT, canceled, listening, program, shop};
use crate::commands::{MINUTE, Shop};
use crate::faults::proxy::{Flow, Proxy, Target, Way};
use crate::support::{Running, eventually};

/// Ends the connection that listens.
const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name LIKE 'geft-sweeper %' AND (query LIKE 'LISTEN%' OR query LIKE '%wake.listens%')";

/// Waits until it has begun to listen so many times.
async fn listens(daemon: &Running, times: usize) {
    eventually(LIMIT, async || daemon.events("notify.listening").len() >= times).await;
}

/// An abandoned session of which the triggers say nothing.
async fn abandon_unsaid(shop: &Shop) {
    shop.execute("ALTER TABLE payment_sessions DISABLE TRIGGER USER").await;
    shop.add("abandoned", MINUTE).await;
    shop.execute("ALTER TABLE payment_sessions ENABLE TRIGGER USER").await;
}

#[tokio::test]
async fn a_lost_connection_is_replaced_and_what_was_missed_is_looked_for() {
    let shop = shop().await;
    let daemon = listening(&program(&shop)).await;
    shop.add("abandoned", MINUTE).await;
    canceled(shop.database.pool(), 1).await;
    abandon_unsaid(&shop).await;
    shop.execute(CUT).await;
    canceled(shop.database.pool(), 2).await;
    assert_eq!(daemon.events("notify.lost").len(), 1, "{}", daemon.stderr());
    listens(&daemon, 2).await;
    shop.add("abandoned", MINUTE).await;
    canceled(shop.database.pool(), 3).await;
}

#[tokio::test]
async fn a_connection_that_goes_silent_without_an_end_is_noticed_and_replaced() {
    let shop = shop().await;
    let options: PgConnectOptions = shop.database.url().parse().unwrap();
    let socket = options.get_socket().unwrap().join(format!(".s.PGSQL.{}", options.get_port()));
    let proxy = Proxy::start(Target::Unix(socket)).await;
    let database = options.get_database().unwrap();
    let url = format!("postgres://sweeper@{}/{database}?sslmode=disable", proxy.address());
    let daemon = listening(&program(&shop).with("database.url", url)).await;
    shop.add("abandoned", MINUTE).await;
    canceled(shop.database.pool(), 1).await;
    // The next connection that listens belongs to a cohort without the others of the process.
    proxy.renew();
    shop.execute(CUT).await;
    listens(&daemon, 2).await;
    let silent = proxy.renew();
    for way in [Way::ToServer, Way::ToClient] {
        silent.set(way, Flow::Swallow);
    }
    // Said into the void.
    shop.add("abandoned", MINUTE).await;
    listens(&daemon, 3).await;
    canceled(shop.database.pool(), 2).await;
    let lost = daemon.events("notify.lost");
    assert_eq!((lost.len(), &lost[1]["error.message"]), (2, &"no answer within 5 s".into()), "{}", daemon.stderr());
    shop.add("abandoned", MINUTE).await;
    canceled(shop.database.pool(), 3).await;
}

#[tokio::test]
async fn it_listens_as_soon_as_the_database_is_there_and_says_once_that_it_does_not() {
    let shop = shop().await;
    let name: String = shop.value("SELECT current_database()::text").await;
    shop.execute(&format!("ALTER DATABASE {name} CONNECTION LIMIT 0")).await;
    let role = shop.role("GRANT SELECT ON payment_sessions TO {role};").await;
    shop.execute(&crate::migration::grants().replace("{role}", &role.name)).await;
    let daemon = program(&shop).with("database.url", role.url.clone()).start(["run"]);
    daemon.logged("\"notify.lost\"").await;
    shop.execute(&format!("ALTER DATABASE {name} CONNECTION LIMIT -1")).await;
    listens(&daemon, 1).await;
    daemon.logged("\"source\"").await;
    shop.add("abandoned", MINUTE).await;
    canceled(shop.database.pool(), 1).await;
    assert_eq!(daemon.events("notify.lost").len(), 1, "{}", daemon.stderr());
    drop(daemon);
    shop.close_with(role).await;
}
