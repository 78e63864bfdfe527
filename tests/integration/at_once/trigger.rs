//! The triggers themselves: when they notify, that they never abort a transaction, and that nothing of them is left.

use std::time::Duration;

use geft_sweeper::postgres::{Options, PrivatePostgres};
use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use super::{psql, shop};
use crate::commands::Shop;

/// What has to come, comes within this time.
const LIMIT: Duration = Duration::from_secs(30);

async fn listener(url: &str) -> PgListener {
    let mut listener = PgListener::connect(url).await.unwrap();
    listener.listen_all(["geft_sweeper", "done"]).await.unwrap();
    listener
}

/// How many notifications these statements send, each being a transaction: all that come before one of our own.
async fn notifications(url: &str, listener: &mut PgListener, statements: &[&str]) -> usize {
    let mut connection = PgConnection::connect(url).await.unwrap();
    for statement in statements.iter().chain(&["NOTIFY done"]) {
        sqlx::raw_sql(sqlx::AssertSqlSafe((*statement).to_owned())).execute(&mut connection).await.unwrap();
    }
    let mut heard: Vec<PgNotification> = Vec::new();
    loop {
        let next = timeout(LIMIT, listener.recv()).await.expect("not even our own").unwrap();
        if next.channel() == "done" {
            assert!(heard.iter().all(|notification| notification.payload().is_empty()), "{heard:?}");
            return heard.len();
        }
        heard.push(next);
    }
}

#[tokio::test]
async fn only_a_change_into_an_abandoned_status_notifies_and_says_nothing_with_it() {
    let shop = Shop::new().await;
    let url = shop.database.url();
    let mut listener = listener(url).await;
    for kind in ["text", "varchar(20)", "char(20)", "a_status"] {
        shop.execute(&format!(
            "DROP SCHEMA IF EXISTS \"Web Shop\" CASCADE; CREATE SCHEMA \"Web Shop\"; DROP TYPE IF EXISTS a_status;
             CREATE TYPE a_status AS ENUM ('Abandoned', 'abandoned', 'O''Brien''s', 'paid', 'open');
             CREATE TABLE \"Web Shop\".\"Pay\" (id int PRIMARY KEY, \"the State\" {kind}, amount int)"
        ))
        .await;
        let variables =
            [("table", "\"Web Shop\".\"Pay\""), ("status", "the State"), ("statuses", "{ABANDONED,O'Brien's}")];
        psql(url, "notify.sql", &variables).await;
        let mut count = async |statement: &str| notifications(url, &mut listener, &[statement]).await;
        let table = "\"Web Shop\".\"Pay\"";
        for (statement, expected) in [
            (format!("INSERT INTO {table} VALUES (1, 'open'), (2, 'paid'), (3, NULL)"), 0),
            (format!("INSERT INTO {table} VALUES (4, 'Abandoned')"), 1),
            (format!("INSERT INTO {table} VALUES (5, 'O''Brien''s'), (6, 'abandoned')"), 1),
            (format!("UPDATE {table} SET \"the State\" = 'Abandoned' WHERE id = 1"), 1),
            (format!("UPDATE {table} SET \"the State\" = 'O''Brien''s' WHERE id = 3"), 1),
            (format!("UPDATE {table} SET \"the State\" = 'O''Brien''s' WHERE id IN (1, 4)"), 0),
            (format!("UPDATE {table} SET \"the State\" = 'Abandoned', amount = 7 WHERE id IN (4, 6)"), 0),
            (format!("UPDATE {table} SET amount = 8"), 0),
            (format!("UPDATE {table} SET \"the State\" = 'paid' WHERE id < 5"), 0),
            (format!("BEGIN; UPDATE {table} SET \"the State\" = 'abandoned' WHERE id = 4; ROLLBACK"), 0),
            (format!("DELETE FROM {table}"), 0),
        ] {
            assert_eq!(count(&statement).await, expected, "{kind}: {statement}");
        }
    }
}

#[tokio::test]
async fn no_error_of_its_own_aborts_the_transaction() {
    let shop = shop().await;
    shop.execute("REVOKE EXECUTE ON FUNCTION pg_notification_queue_usage() FROM PUBLIC").await;
    let role = shop.role("GRANT SELECT, INSERT, UPDATE ON payment_sessions TO {role}").await;
    let insert = "INSERT INTO payment_sessions VALUES (gen_random_uuid(), 'x', 'abandoned', now())";
    let mut listener = listener(shop.database.url()).await;
    assert_eq!(notifications(&role.url, &mut listener, &[insert]).await, 0, "it failed");
    assert_eq!(
        notifications(shop.database.url(), &mut listener, &[insert]).await,
        1,
        "a superuser is asked for no right"
    );
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM payment_sessions").await, 2, "both were committed");
    drop(listener);
    shop.close_with(role).await;
}

#[tokio::test]
async fn a_transaction_that_is_prepared_is_not_refused() {
    let options = Options::not_durable().with("max_prepared_transactions", "2");
    let server = PrivatePostgres::start(options).await.unwrap();
    let url = server.url("postgres");
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut run = async |sql: &'static str| sqlx::raw_sql(sql).execute(&mut connection).await.map(drop);
    run("CREATE TABLE payment_sessions (session_id int, status text)").await.unwrap();
    psql(&url, "notify.sql", &[]).await;
    run("BEGIN; INSERT INTO payment_sessions VALUES (1, 'abandoned')").await.unwrap();
    run("PREPARE TRANSACTION 'payment'").await.unwrap();
    run("COMMIT PREPARED 'payment'").await.unwrap();
    // What it would come to if the transaction had notified.
    run("BEGIN; NOTIFY geft_sweeper").await.unwrap();
    assert!(run("PREPARE TRANSACTION 'another'").await.is_err());
    connection.close().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_in_a_hurry_is_not_made_to_wait_at_its_commit() {
    let shop = shop().await;
    let mut listener = listener(shop.database.url()).await;
    let insert = "INSERT INTO payment_sessions VALUES (gen_random_uuid(), 'x', 'abandoned', now())";
    for (limit, expected) in [
        ("lock_timeout = '10ms'", 0),
        ("statement_timeout = '5s'", 0),
        ("lock_timeout = '6s'", 1),
        ("statement_timeout = '2min'", 1),
        ("lock_timeout = 0", 1),
    ] {
        let statements = [&*format!("SET {limit}"), insert];
        let sent = notifications(shop.database.url(), &mut listener, &statements).await;
        assert_eq!(sent, expected, "{limit}");
    }
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM payment_sessions").await, 5);
}

#[tokio::test]
async fn nothing_of_it_is_left_and_both_files_can_be_run_twice() {
    let shop = Shop::new().await;
    let url = shop.database.url();
    shop.execute("CREATE TABLE others (id int, status text)").await;
    let there = "SELECT array_agg(line ORDER BY line) FROM (
        SELECT concat_ws(' ', 'trigger', tgname, tgrelid::regclass) AS line FROM pg_trigger WHERE NOT tgisinternal
         UNION ALL SELECT concat_ws(' ', 'function', oid::regprocedure) FROM pg_proc
                    WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
         UNION ALL SELECT concat_ws(' ', 'depends', classid::regclass, objid) FROM pg_depend WHERE refobjid = 'payment_sessions'::regclass
         UNION ALL SELECT concat_ws(' ', 'comment', objoid) FROM pg_description WHERE classoid = 'pg_proc'::regclass AND objoid >= 16384)
        AS lines";
    let before: Vec<String> = shop.value(there).await;
    for file in ["notify.sql", "notify.sql"] {
        psql(url, file, &[]).await;
        psql(url, file, &[("table", "others")]).await;
    }
    assert!(shop.value::<Vec<String>>(there).await.len() > before.len());
    psql(url, "notify-remove.sql", &[("table", "others")]).await;
    let mut listener = listener(url).await;
    let insert = "INSERT INTO payment_sessions VALUES (gen_random_uuid(), 'x', 'abandoned', now())";
    assert_eq!(notifications(url, &mut listener, &[insert]).await, 1, "the other table still has its own");
    for _ in 0..2 {
        psql(url, "notify-remove.sql", &[]).await;
    }
    assert_eq!(shop.value::<Vec<String>>(there).await, before);
    assert_eq!(notifications(url, &mut listener, &[insert]).await, 0);
}

#[tokio::test]
async fn neither_the_shops_role_nor_the_programs_needs_a_right_for_it() {
    let shop = shop().await;
    let program =
        shop.role(&format!("{} GRANT SELECT ON payment_sessions TO {{role}}", crate::migration::grants())).await;
    let merchant = shop.role("GRANT INSERT, UPDATE, SELECT ON payment_sessions TO {role}").await;
    let configured = super::program(&shop).with("database.url", program.url.clone());
    let daemon = super::listening(&configured).await;
    let id = shop.sandbox.seed(vec![geft_sweeper::sandbox::NewSession::default()]).unwrap()[0];
    let mut connection = PgConnection::connect(&merchant.url).await.unwrap();
    let insert = sqlx::query("INSERT INTO payment_sessions VALUES ($1, 'x', 'abandoned', now())").bind(id);
    insert.execute(&mut connection).await.unwrap();
    super::canceled(shop.database.pool(), 1).await;
    drop(daemon);
    connection.close().await.unwrap();
    shop.execute(&format!("DROP OWNED BY {0} CASCADE; DROP ROLE {0}", program.name)).await;
    shop.close_with(merchant).await;
}

#[tokio::test]
async fn a_locked_table_is_not_waited_for() {
    let shop = Shop::new().await;
    let mut holder = shop.database.pool().begin().await.unwrap();
    sqlx::query("LOCK payment_sessions IN SHARE MODE").execute(&mut *holder).await.unwrap();
    let refused = super::run_file(shop.database.url(), "notify.sql", &[]).await;
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("lock timeout"), "{said}");
    holder.rollback().await.unwrap();
    let left = "SELECT count(*) FROM pg_proc WHERE proname = 'geft_sweeper_notify'";
    assert_eq!(shop.value::<i64>(left).await, 0, "all or nothing");
}
