//! What `check` says of the merchant's table: its name, columns, types, rights, indexes and rows.

use toml::{Table, Value};

use super::{Lines, check};
use crate::at_once::psql;
use crate::commands::{MINUTE, Shop};

/// A check of the source after this change of the merchant's table.
async fn after(sql: &str) -> Lines {
    let shop = Shop::new().await;
    shop.execute(sql).await;
    let lines = check(&shop.program()).await;
    shop.database.close().await;
    lines
}

#[tokio::test]
async fn a_table_that_is_not_there_is_told_with_the_nearest() {
    let lines = after("ALTER TABLE payment_sessions RENAME TO payments_sessions").await;
    lines.expect_all("fail", &["source"]);
    lines.expect("fail", "source", &["\"public.payment_sessions\"", "\"public\".\"payments_sessions\""]);
}

#[tokio::test]
async fn several_wrong_columns_are_told_in_one_run_each_with_the_nearest_or_its_type() {
    let lines = after(
        "ALTER TABLE payment_sessions RENAME status TO state;
         ALTER TABLE payment_sessions ALTER session_id TYPE bytea USING ''::bytea;
         ALTER TABLE payment_sessions ALTER created_at TYPE date",
    )
    .await;
    lines.expect_all("fail", &["source", "source", "source"]);
    lines.expect("fail", "source", &["columns.status", "no such column", "the nearest is \"state\""]);
    lines.expect("fail", "source", &["columns.session_id", "type bytea", "uuid or text"]);
    lines.expect("fail", "source", &["columns.created_at", "type date", "timestamptz or timestamp"]);
}

#[tokio::test]
async fn a_time_zone_is_asked_for_where_it_is_needed_and_refused_where_it_is_not() {
    let lines = after("ALTER TABLE payment_sessions ALTER created_at TYPE timestamp").await;
    lines.expect("fail", "source", &["time_zone", "is missing", "\"created_at\"", "America/Toronto"]);

    let shop = Shop::new().await;
    let lines = check(&shop.program().with("source.time_zone", "America/Toronto")).await;
    lines.expect("fail", "source", &["time_zone", "\"America/Toronto\"", "take the setting out"]);
    shop.execute("ALTER TABLE payment_sessions ALTER created_at TYPE timestamp").await;
    let lines = check(&shop.program().with("source.time_zone", "America/Torronto")).await;
    lines.expect("fail", "source", &["\"America/Torronto\"", "the nearest is \"America/Toronto\""]);
    check(&shop.program().with("source.time_zone", "America/Toronto")).await.expect_all("fail", &[]);
    shop.database.close().await;
}

#[tokio::test]
async fn a_table_that_may_not_be_read_is_told_with_the_grant() {
    let shop = Shop::new().await;
    let role = shop.role(&crate::migration::grants()).await;
    let program = shop.program().with("database.url", role.url.clone());
    let lines = check(&program).await;
    lines.expect_all("fail", &["source"]);
    let columns = r#"("session_id", "reference_id", "status", "created_at")"#;
    let grant = format!("GRANT SELECT {columns} ON \"public\".\"payment_sessions\" TO \"{}\"", role.name);
    lines.expect("fail", "source", &[&grant]);
    shop.execute(&grant).await;
    check(&program).await.expect_all("fail", &[]);
    shop.close_with(role).await;
}

#[tokio::test]
async fn a_missing_index_is_a_warning_with_the_statement_that_makes_it() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    shop.execute("DROP INDEX payment_sessions_created, payment_sessions_status_created_at_idx").await;
    shop.execute("ALTER TABLE payment_sessions DROP CONSTRAINT payment_sessions_pkey").await;
    let lines = check(&shop.program()).await;
    lines.expect_all("warn", &["plan", "plan"]);
    for columns in ["(\"status\", \"created_at\");", "(\"session_id\");"] {
        let index = format!("CREATE INDEX CONCURRENTLY ON \"public\".\"payment_sessions\" {columns}");
        lines.expect("warn", "plan", &["reads the whole of payment_sessions", &index]);
        shop.execute(&index).await;
    }
    check(&shop.program()).await.expect_all("warn", &[]);
    shop.database.close().await;
}

#[tokio::test]
async fn an_empty_table_is_a_warning() {
    let shop = Shop::new().await;
    let lines = check(&shop.program()).await;
    lines.expect_all("warn", &["newest row"]);
    lines.expect("warn", "newest row", &["is this the right table?"]);
    shop.database.close().await;
}

#[tokio::test]
async fn each_status_is_told_with_its_count_and_what_would_happen_letter_case_aside() {
    let shop = Shop::new().await;
    for status in ["ABANDONED", "ABANDONED", "Created", "settled"] {
        shop.add(status, MINUTE).await;
    }
    shop.add("Created", 45 * MINUTE).await;
    shop.add("beyond", 8 * 24 * 60 * MINUTE).await;
    let lines = check(&shop.program()).await;
    lines.expect("ok", "status", &["\"ABANDONED\": 2 rows", "canceled as abandoned (2 now)"]);
    lines.expect("ok", "status", &["\"Created\": 2 rows", "older than source.max_age (1 now)"]);
    lines.expect("ok", "status", &["\"settled\": 1 row within", "left alone", "neither list"]);
    lines.expect_all("warn", &[]);
    assert!(!format!("{lines:?}").contains("beyond"), "it is older than the lookback");
    lines.expect("ok", "newest row", &["ago"]);
    shop.database.close().await;
}

#[tokio::test]
async fn rows_dated_in_the_future_are_a_warning() {
    let shop = Shop::new().await;
    shop.add("created", MINUTE).await;
    shop.execute("INSERT INTO payment_sessions VALUES (gen_random_uuid(), 'x', 'created', now() + interval '5 h')")
        .await;
    let lines = check(&shop.program()).await;
    lines.expect_all("warn", &["dates"]);
    lines.expect("warn", "dates", &["in the future", "never aged", "1 row"]);
    shop.database.close().await;
}

#[tokio::test]
async fn a_query_is_held_against_what_it_must_give() {
    let shop = Shop::new().await;
    let with = |query: &str| {
        let program = shop.program().without("source.table").without("source.open_statuses").without("source.max_age");
        program.with("source.query", query)
    };
    let lines = check(&with("SELECT session_id, reference_id FROM payment_sessions")).await;
    lines.expect("fail", "source", &["no column reason", "session_id, reference_id"]);
    let lines = check(&with("SELEC 1")).await;
    lines.expect("fail", "source", &["refused by the database", "syntax error"]);
    let lines = check(&with("SELECT session_id, reference_id, 'left' AS reason FROM payment_sessions")).await;
    lines.expect_all("fail", &[]);
    shop.database.close().await;
}

#[tokio::test]
async fn a_name_with_capitals_is_found_as_it_is_written() {
    let shop = Shop::new().await;
    shop.execute("ALTER TABLE payment_sessions RENAME TO \"PaymentSessions\"").await;
    shop.execute("ALTER TABLE \"PaymentSessions\" RENAME status TO \"State\"").await;
    let columns: Table = [("status".to_owned(), Value::from("State"))].into_iter().collect();
    let program = shop.program().with("source.table", "public.\"PaymentSessions\"").with("source.columns", columns);
    check(&program).await.expect_all("fail", &[]);
    let lines = check(&shop.program().with("source.table", "public.PaymentSessions")).await;
    lines.expect("fail", "source", &["\"public\".\"PaymentSessions\""]);
    shop.database.close().await;
}

#[tokio::test]
async fn the_triggers_that_notify_are_held_against_the_settings() {
    let shop = Shop::new().await;
    let url = shop.database.url();
    check(&shop.program()).await.expect("ok", "notify", &["no trigger", "at the next tick"]);
    psql(url, "notify.sql", &[]).await;
    check(&shop.program()).await.expect("ok", "notify", &["at once"]);
    let lines = check(&shop.program().with("source.abandoned_statuses", vec!["abandoned", "left"])).await;
    lines.expect("warn", "notify", &["[\"status\", \"abandoned\"]", "\"left\"", "running that file again"]);
    psql(url, "notify.sql", &[("statuses", "{Left,ABANDONED}")]).await;
    let lines = check(&shop.program().with("source.abandoned_statuses", vec!["abandoned", "left"])).await;
    lines.expect("ok", "notify", &["at once"]);
    shop.execute("ALTER TABLE payment_sessions DISABLE TRIGGER geft_sweeper_notify_update").await;
    check(&shop.program()).await.expect("warn", "notify", &["missing or disabled"]);
    shop.database.close().await;
}
