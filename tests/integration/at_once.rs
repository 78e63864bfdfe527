//! `deploy/notify.sql`: an abandoned session is canceled without a tick, and the merchant's transactions never fail for it.

mod connection;
mod trigger;

use std::process::{Output, Stdio};
use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Moment};
use sqlx::PgPool;
use tokio::process::Command;

use crate::commands::{MINUTE, Shop};
use crate::support::{Program, Running, eventually};

const LIMIT: Duration = Duration::from_secs(30);

/// Ticks once a year: whatever happens is not the schedule's doing.
const YEARLY: &str = "0 0 0 1 1 *";

/// Sweeps that a notification set off.
const NOTIFIED: &str = "SELECT count(*) FROM geft_sweeper.sweeps WHERE trigger = 'notify'";

/// Runs a file of `deploy` as the owner of the table.
async fn run_file(url: &str, file: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--quiet"]).arg(format!("--file={}/deploy/{file}", env!("CARGO_MANIFEST_DIR")));
    for (name, value) in variables {
        command.arg(format!("--set={name}={value}"));
    }
    command.arg(url).stdin(Stdio::null()).output().await.unwrap()
}

/// The same, and it must do what it says.
pub(crate) async fn psql(url: &str, file: &str, variables: &[(&str, &str)]) {
    let done = run_file(url, file, variables).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// A shop with the triggers.
async fn shop() -> Shop {
    let shop = Shop::new().await;
    psql(shop.database.url(), "notify.sql", &[]).await;
    shop
}

fn program(shop: &Shop) -> Program {
    shop.program().with("schedule.sweep", YEARLY).with("api.token_use", "shared")
}

/// The daemon, which listens and has been through its first round.
async fn listening(program: &Program) -> Running {
    let daemon = program.start(["run"]);
    daemon.logged("\"notify.listening\"").await;
    daemon.logged("\"source\"").await;
    daemon
}

async fn canceled(pool: &PgPool, number: i64) {
    let count = "SELECT count(*) FROM geft_sweeper.cancellations WHERE state = 'canceled'";
    eventually(LIMIT, async || sqlx::query_scalar::<_, i64>(count).fetch_one(pool).await.unwrap() == number).await;
}

#[tokio::test]
async fn a_session_is_canceled_without_a_tick_when_it_is_marked_or_inserted_as_abandoned() {
    let shop = shop().await;
    let open = shop.add("created", MINUTE).await;
    let daemon = listening(&program(&shop)).await;
    shop.sessions.set_status(open, "Abandoned").await;
    canceled(shop.database.pool(), 1).await;
    shop.add("ABANDONED", MINUTE).await;
    canceled(shop.database.pool(), 2).await;
    assert_eq!(shop.sandbox.cancels(open), 1, "{}", daemon.stderr());
    let others = "SELECT count(*) FROM geft_sweeper.sweeps WHERE trigger <> 'notify' OR status <> 'finished'";
    eventually(LIMIT, async || shop.value::<i64>(others).await == 0).await;
}

#[tokio::test]
async fn a_burst_is_gathered_and_one_row_of_sweeps_has_its_counts() {
    let shop = shop().await;
    let daemon = listening(&program(&shop)).await;
    for _ in 0..100 {
        shop.add("abandoned", MINUTE).await;
    }
    canceled(shop.database.pool(), 100).await;
    let row = "SELECT count(*) = 1 AND bool_and(status = 'finished') AND sum(discovered) = 100 AND sum(canceled) = 100
        FROM geft_sweeper.sweeps";
    eventually(LIMIT, async || shop.value::<bool>(row).await).await;
    assert_eq!((daemon.events("sweep.started").len(), daemon.events("sweep.ended").len()), (1, 1));
}

#[tokio::test]
async fn a_request_that_takes_its_time_does_not_keep_the_next_session_waiting() {
    let shop = shop().await;
    let program = program(&shop).with("api.timeout", "15s");
    let daemon = listening(&program).await;
    let hold = shop.sandbox.hold(Endpoint::Cancel, Moment::AfterEffect);
    for waiting in 1..=3 {
        shop.add("abandoned", MINUTE).await;
        let arrived = shop.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == waiting);
        tokio::time::timeout(LIMIT, arrived).await.unwrap_or_else(|_| panic!("{waiting}: {}", daemon.stderr()));
    }
    assert_eq!(shop.sandbox.counts().finished(Endpoint::Cancel), 0);
    hold.release();
    canceled(shop.database.pool(), 3).await;
}

#[tokio::test]
async fn every_brake_holds_for_what_a_notification_sets_off() {
    let shop = shop().await;
    let _daemon = listening(&program(&shop).with("brakes.max_discovered", 1)).await;
    shop.execute(
        "INSERT INTO payment_sessions SELECT gen_random_uuid(), 'x', 'abandoned', now() FROM generate_series(1, 2)",
    )
    .await;
    let braked = "SELECT EXISTS (SELECT FROM geft_sweeper.sweeps WHERE trigger = 'notify' AND status = 'stopped'
        AND error LIKE '2 sessions would be taken on after 0%')";
    eventually(LIMIT, async || shop.value::<bool>(braked).await).await;
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.cancellations").await, 0);
}

#[tokio::test]
async fn where_the_api_is_not_accepted_nothing_is_looked_for() {
    let shop = shop().await;
    program(&shop).with("api.client_id", "another").run(["accept-api", "--actor", "test"]).await.expect_code(0);
    let daemon = program(&shop).start(["run"]);
    daemon.logged("\"notify.listening\"").await;
    daemon.logged("\"brake.applied\"").await;
    shop.add("abandoned", MINUTE).await;
    let stopped = "SELECT count(*) FROM geft_sweeper.sweeps WHERE trigger = 'notify' AND status = 'stopped'";
    eventually(LIMIT, async || shop.value::<i64>(stopped).await == 1).await;
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.cancellations").await, 0);
    shop.expect_no_request();
}

#[tokio::test]
async fn a_notification_says_nothing_of_what_is_to_be_canceled() {
    let shop = shop().await;
    let daemon = listening(&program(&shop)).await;
    let paid = shop.add("paid", MINUTE).await;
    shop.execute(&format!("NOTIFY geft_sweeper, '{paid}'")).await;
    eventually(LIMIT, async || shop.value::<i64>(NOTIFIED).await == 1).await;
    daemon.logged("\"sweep.ended\"").await;
    assert_eq!(shop.value::<i64>("SELECT discovered FROM geft_sweeper.sweeps").await, 0);
}
