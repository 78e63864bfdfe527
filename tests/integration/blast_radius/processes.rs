//! One limit for all processes together, whatever becomes of one of them, and one sight of the brake.

use std::time::Duration;

use geft_sweeper::ledger::{Intake, Trigger};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use super::{abandon, assert_stopped, program, take_on};
use crate::commands::Shop;
use crate::ledger::{candidate, ledger};
use crate::support::eventually;

const LIMIT: Duration = Duration::from_secs(30);

/// Processes that wait for a lock with their sessions in hand.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND wait_event_type = 'Lock' AND query LIKE '%ledger.take_on %'";

/// Processes that wait until another has taken its sessions on.
const IN_LINE: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND wait_event_type = 'Lock' AND query LIKE '%ledger.lock_intakes %'";

/// Discoveries under way.
const DISCOVERING: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = hashtext('geft_sweeper.discovery')::bigint";

/// Holds back whoever writes to a table of ours, but nobody who reads.
async fn hold(shop: &Shop, table: &str) -> PgConnection {
    let mut connection = PgConnection::connect(shop.database.url()).await.unwrap();
    let lock = format!("BEGIN; LOCK TABLE geft_sweeper.{table} IN SHARE MODE");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut connection).await.unwrap();
    connection
}

async fn taken_on(shop: &Shop) -> (i64, i64) {
    let rows = shop.value("SELECT count(*) FROM geft_sweeper.cancellations").await;
    (rows, shop.value("SELECT coalesce(sum(sessions), 0)::bigint FROM geft_sweeper.intakes").await)
}

#[tokio::test]
async fn several_at_once_keep_to_one_limit() {
    let shop = Shop::new().await;
    abandon(&shop, 6).await;
    let programs: [_; 4] = std::array::from_fn(|_| program(&shop, 5));
    for expected in [0, 6] {
        // Whoever finds that another discovers just now has nothing to complain of.
        let running: Vec<_> = programs.iter().map(|program| program.start(["sweep", "--json"])).collect();
        for one in running {
            one.finished().await;
        }
        assert_eq!(taken_on(&shop).await, (expected, expected));
        shop.program().run(["allow", "1", "--actor", "jane"]).await.expect_code(0);
    }
    shop.database.close().await;
}

#[tokio::test]
async fn what_another_process_took_on_counts() {
    let shop = Shop::new().await;
    abandon(&shop, 5).await;
    assert_eq!(take_on(program(&shop, 5)).await, 5);
    abandon(&shop, 1).await;
    assert_stopped(&program(&shop, 5).run(["sweep", "--json"]).await, &["1 session would be taken on after 5 in"]);
    shop.database.close().await;
}

#[tokio::test]
async fn two_that_take_on_at_once_cannot_go_past_the_limit_together() {
    // As when one has lost the connection that holds the lock of discovery, and does not know it yet.
    let shop = Shop::new().await;
    let hold = hold(&shop, "intakes").await;
    let intakes = [0, 1].map(|_| {
        let ledger = ledger(shop.database.url());
        tokio::spawn(async move {
            let sweep = ledger.open_sweep(Trigger::Command).await.unwrap();
            let mut candidates: Vec<_> = (0..600).map(|_| candidate(Uuid::new_v4())).collect();
            candidates.sort_by_key(|candidate| candidate.session_id);
            ledger.take_on(sweep, &candidates, 1_000).await.unwrap()
        })
    });
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    eventually(LIMIT, async || shop.value::<i64>(waiting).await == 2).await;
    hold.close().await.unwrap();
    let mut came_to = Vec::new();
    for intake in intakes {
        came_to.push(intake.await.unwrap());
    }
    let taken = Intake::Taken { sessions: 600, released: 0 };
    assert!(came_to.contains(&taken) && came_to.contains(&Intake::Refused), "{came_to:?}");
    assert_eq!(taken_on(&shop).await, (600, 600));
    assert_eq!(shop.value::<i64>("SELECT sum(discovered)::bigint FROM geft_sweeper.sweeps").await, 600);
    shop.database.close().await;
}

#[tokio::test]
async fn one_that_dies_while_it_takes_on_leaves_nothing_half_done() {
    let shop = Shop::new().await;
    abandon(&shop, 5).await;
    let hold = hold(&shop, "cancellations").await;
    let dying = program(&shop, 5);
    let dying = dying.start(["sweep"]);
    eventually(LIMIT, async || shop.value::<i64>(WAITING).await == 1).await;
    dying.signal(Signal::SIGKILL);
    dying.finished().await;
    eventually(LIMIT, async || shop.value::<i64>(DISCOVERING).await == 0).await;
    // Its statement is still under way in the database when the next one comes.
    let next = program(&shop, 5);
    let next = next.start(["sweep", "--json"]);
    eventually(LIMIT, async || shop.value::<i64>(IN_LINE).await == 1).await;
    hold.close().await.unwrap();
    let report = next.finished().await.expect_code(0).json();
    assert_eq!((&report["discovered"], &report["canceled"]), (&json!(5), &json!(5)));
    assert_eq!(taken_on(&shop).await, (5, 5));
    shop.database.close().await;
}

#[tokio::test]
async fn what_is_committed_after_the_count_waits_for_the_next_sweep() {
    let shop = Shop::new().await;
    // More than one page: the second is read after the first was taken on.
    abandon(&shop, 1_500).await;
    let hold = hold(&shop, "cancellations").await;
    let limited = program(&shop, 1_500).with("api.client_secret", "wrong");
    let sweep = limited.start(["sweep", "--json"]);
    eventually(LIMIT, async || shop.value::<i64>(WAITING).await == 1).await;
    abandon(&shop, 7).await;
    hold.close().await.unwrap();
    assert_eq!(sweep.finished().await.expect_code(1).json()["discovered"], 1_500);
    assert_eq!(taken_on(&shop).await, (1_500, 1_500));
    let swept = program(&shop, 1_500).with("api.client_secret", "wrong").run(["sweep", "--json"]).await;
    assert_stopped(&swept, &["7 sessions would be taken on after 1500 in", "allow 7 "]);
    shop.database.close().await;
}

/// Reading the busiest ten minutes waits for the lock 42 where there is something to read: it is asked for after the first
/// page was read, and before the sessions are counted.
const GATE: &str = "ALTER TABLE geft_sweeper.intakes RENAME TO kept;
    CREATE FUNCTION geft_sweeper.gate() RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN true; END';
    CREATE VIEW geft_sweeper.intakes AS SELECT * FROM geft_sweeper.kept WHERE geft_sweeper.gate();
    INSERT INTO geft_sweeper.kept (taken_at, sweep_id, sessions) VALUES (now() - interval '1 day', gen_random_uuid(), 1)";

#[tokio::test]
async fn what_is_counted_is_what_was_read_whatever_is_committed_in_between() {
    let shop = Shop::new().await;
    shop.execute(GATE).await;
    let ids = abandon(&shop, 1_001).await;
    let mut gate = PgConnection::connect(shop.database.url()).await.unwrap();
    sqlx::raw_sql("SELECT pg_advisory_lock(42)").execute(&mut gate).await.unwrap();
    let program = program(&shop, 1_000);
    let sweep = program.start(["sweep", "--json"]);
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
        AND wait_event_type = 'Lock' AND query LIKE '%ledger.busiest_ten_minutes %'";
    eventually(LIMIT, async || shop.value::<i64>(waiting).await == 1).await;
    // Counted now, they would be no more than the limit; the cursor has one more.
    shop.sessions.set_status(ids[0], "paid").await;
    gate.close().await.unwrap();
    assert_stopped(&sweep.finished().await, &["1001 sessions would", "allow 1 "]);
    assert_eq!(taken_on(&shop).await.0, 0);
    shop.database.close().await;
}

#[tokio::test]
async fn a_daemon_says_it_once_shows_it_and_goes_on_when_it_is_released() {
    let shop = Shop::new().await;
    abandon(&shop, 6).await;
    let program = program(&shop, 5).with("schedule.sweep", "* * * * * *").with("server.listen", "127.0.0.1:0");
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    let stopped = "SELECT count(*) FROM geft_sweeper.sweeps WHERE status = 'stopped' AND trigger = 'schedule'
                    AND error LIKE '6 sessions would be taken on after 0 %'";
    eventually(LIMIT, async || shop.value::<i64>(stopped).await >= 2).await;
    let acting = "geft_sweeper_brake_acting{brake=\"blast_radius\"}";
    assert_eq!(endpoints.metric(acting).await, Some(1.0));
    let (status, ready) = endpoints.json("/readyz").await;
    assert_eq!((status, &ready["brakes"][0]["name"]), (200, &json!("blast_radius")), "{ready}");
    assert!(ready["brakes"][0]["means"].as_str().unwrap().contains("geft-sweeper allow 1 --for 1h"), "{ready}");
    assert_eq!(daemon.events("brake.applied").len(), 1, "{}", daemon.stderr());
    assert_eq!(taken_on(&shop).await, (0, 0));

    shop.program().run(["allow", "1", "--actor", "jane"]).await.expect_code(0);
    eventually(LIMIT, async || shop.value::<i64>("SELECT count(*) FROM geft_sweeper.cancel_attempts").await == 6).await;
    daemon.logged("\"brake.lifted\"").await;
    assert_eq!((endpoints.metric(acting).await, daemon.events("brake.lifted").len()), (Some(0.0), 1));
    assert_eq!(endpoints.json("/readyz").await.1["brakes"], json!([]));
    shop.database.close().await;
}

#[tokio::test]
async fn a_daemon_that_never_discovers_learns_from_the_others() {
    let shop = Shop::new().await;
    let mut other = PgConnection::connect(shop.database.url()).await.unwrap();
    let lock = "SELECT pg_advisory_lock(hashtext('geft_sweeper.discovery'));
        INSERT INTO geft_sweeper.brakes (name, sentence) VALUES ('blast_radius', 'too many')";
    sqlx::raw_sql(lock).execute(&mut other).await.unwrap();
    let program = program(&shop, 5).with("schedule.sweep", "* * * * * *").with("server.listen", "127.0.0.1:0");
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    let brakes = async || endpoints.json("/readyz").await.1["brakes"].clone();
    eventually(LIMIT, async || brakes().await == json!([{ "name": "blast_radius", "means": "too many" }])).await;
    sqlx::raw_sql("DELETE FROM geft_sweeper.brakes").execute(&mut other).await.unwrap();
    eventually(LIMIT, async || brakes().await == Value::Array(Vec::new())).await;
    daemon.logged("\"brake.lifted\"").await;
    assert_eq!([daemon.events("brake.applied").len(), daemon.events("brake.lifted").len()], [1, 1]);
    shop.database.close().await;
}
