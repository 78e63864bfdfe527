//! What lies in the database is what was promised, and nothing of it lies outside its schema.

use sqlx::Connection as _;

use crate::commands::{MINUTE, Shop};

/// The promised columns and their types, as the documentation names them.
const PROMISED: [(&str, &[(&str, &str)]); 4] = [
    (
        "cancel_attempts",
        &[
            ("id", "bigint"),
            ("session_id", "uuid"),
            ("reference_id", "text"),
            ("attempt", "integer"),
            ("reason", "text"),
            ("sweep_id", "uuid"),
            ("instance", "text"),
            ("started_at", "timestamp with time zone"),
            ("finished_at", "timestamp with time zone"),
            ("outcome", "text"),
            ("http_status", "integer"),
            ("session_status", "text"),
            ("status_details", "text"),
            ("error", "text"),
            ("next_attempt_at", "timestamp with time zone"),
        ],
    ),
    (
        "cancellations",
        &[
            ("session_id", "uuid"),
            ("reference_id", "text"),
            ("reason", "text"),
            ("source_status", "text"),
            ("source_created_at", "timestamp with time zone"),
            ("state", "text"),
            ("attempts", "integer"),
            ("next_attempt_at", "timestamp with time zone"),
            ("session_status", "text"),
            ("status_details", "text"),
            ("discovered_at", "timestamp with time zone"),
            ("finished_at", "timestamp with time zone"),
        ],
    ),
    (
        "sweeps",
        &[
            ("id", "uuid"),
            ("trigger", "text"),
            ("instance", "text"),
            ("status", "text"),
            ("error", "text"),
            ("started_at", "timestamp with time zone"),
            ("finished_at", "timestamp with time zone"),
            ("discovered", "bigint"),
            ("canceled", "bigint"),
            ("already_terminal", "bigint"),
            ("retried", "bigint"),
            ("failed", "bigint"),
            ("withdrawn", "bigint"),
            ("skipped", "bigint"),
        ],
    ),
    (
        "paid_after_abandonment",
        &[
            ("session_id", "uuid"),
            ("reference_id", "text"),
            ("reason", "text"),
            ("status_details", "text"),
            ("amount", "numeric"),
            ("found_at", "timestamp with time zone"),
            ("kind", "text"),
        ],
    ),
];

#[tokio::test]
async fn the_promised_columns_are_there_with_their_types() {
    let shop = Shop::without_schema().await;
    shop.program().run(["migrate"]).await.expect_code(0);
    for (table, columns) in PROMISED {
        let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns
                    WHERE table_schema = 'geft_sweeper' AND table_name = $1";
        let found: Vec<(String, String)> =
            sqlx::query_as(sql).bind(table).fetch_all(shop.database.pool()).await.unwrap();
        for (name, kind) in columns {
            assert!(found.contains(&((*name).to_owned(), (*kind).to_owned())), "{table}.{name} {kind}: {found:#?}");
        }
    }
    shop.database.close().await;
}

#[tokio::test]
async fn all_of_it_lies_in_the_schema_and_sqlxs_own_table_too() {
    let shop = Shop::without_schema().await;
    let elsewhere = "SELECT coalesce(string_agg(oid::regclass::text, ' ' ORDER BY 1), '') FROM pg_class
                      WHERE relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname = 'geft_sweeper' OR nspname LIKE 'pg\\_%')";
    let procedures =
        "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public'";
    let (before, functions) = (shop.value::<String>(elsewhere).await, shop.value::<i64>(procedures).await);
    // A search path that leads elsewhere first changes nothing.
    let url = format!("{}&options=-c%20search_path%3Dpublic", shop.database.url());
    shop.add("abandoned", MINUTE).await;
    shop.program().with("database.url", url).run(["sweep"]).await.expect_code(0);
    assert_eq!(shop.value::<String>(elsewhere).await, before);
    assert_eq!(shop.value::<i64>(procedures).await, functions);
    assert!(shop.value::<bool>("SELECT to_regclass('geft_sweeper._sqlx_migrations') IS NOT NULL").await);
    shop.database.close().await;
}

#[tokio::test]
async fn the_audit_table_refuses_every_change_to_its_owner_and_to_a_superuser() {
    let shop = Shop::without_schema().await;
    let role =
        shop.role("GRANT SELECT ON payment_sessions TO {role}; CREATE SCHEMA geft_sweeper AUTHORIZATION {role}").await;
    shop.add("abandoned", MINUTE).await;
    shop.program().with("database.url", role.url.clone()).run(["sweep"]).await.expect_code(0);
    let audit = "SELECT string_agg(a::text, ' ') FROM geft_sweeper.cancel_attempts a";
    let before: String = shop.value(audit).await;
    for url in [role.url.as_str(), shop.database.url()] {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        for statement in [
            "UPDATE geft_sweeper.cancel_attempts SET error = 'changed'",
            "UPDATE geft_sweeper.cancel_attempts SET error = 'changed' WHERE false",
            "DELETE FROM geft_sweeper.cancel_attempts",
            "TRUNCATE geft_sweeper.cancel_attempts",
            "INSERT INTO geft_sweeper.cancel_attempts (session_id, attempt, reason, sweep_id, instance, started_at,
                 finished_at, outcome) SELECT session_id, attempt, reason, sweep_id, instance, started_at, finished_at, 'x'
                 FROM geft_sweeper.cancel_attempts ON CONFLICT (session_id, attempt) DO UPDATE SET outcome = 'x'",
        ] {
            let error = sqlx::raw_sql(statement).execute(&mut connection).await.unwrap_err().to_string();
            assert!(error.contains("append-only"), "{statement}: {error}");
        }
        connection.close().await.unwrap();
    }
    let mut superuser = sqlx::PgConnection::connect(shop.database.url()).await.unwrap();
    let replica = "SET session_replication_role = replica";
    sqlx::raw_sql(replica).execute(&mut superuser).await.unwrap();
    let error = sqlx::raw_sql("DELETE FROM geft_sweeper.cancel_attempts").execute(&mut superuser).await.unwrap_err();
    assert!(error.to_string().contains("append-only"), "{error}");
    assert_eq!(shop.value::<String>(audit).await, before);
    shop.close_with(role).await;
}
