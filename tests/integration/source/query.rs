//! A query instead of a table.

use std::collections::HashSet;

use geft_sweeper::source::{Error, Fate};
use sqlx::Connection as _;

use super::{ONE, THREE, TWO, connection, discover, faults, ids, inspect, keys, query, run};
use crate::ledger;
use crate::support::TestDatabase;

#[tokio::test]
async fn a_query_is_a_source_too() {
    let mut db = connection().await;
    run(
        &mut db,
        &format!(
            "CREATE TABLE carts (id text PRIMARY KEY, why text, lost boolean);
             INSERT INTO carts VALUES ('{ONE}', 'left the shop', true), ('{TWO}', ' ', true), ('{THREE}', 'x', false),
                                      ('no id', NULL, true)"
        ),
    )
    .await;
    let text = "SELECT id AS session_id, NULL AS reference_id, why AS reason FROM carts WHERE lost; -- the lost ones";
    assert!(faults(&query(text), &mut db).await[0].contains("refused by the database"));
    let text =
        "SELECT id AS session_id, NULL AS reference_id, why AS reason FROM carts WHERE lost -- the lost ones\n ; ";
    let source = inspect(&query(text), &mut db).await;
    let page = discover(&source, &mut db).await;
    assert_eq!(ids(&page), [ONE, TWO]);
    assert_eq!(page.candidates[0].reason.as_str(), "left the shop");
    assert_eq!(page.candidates[1].reason.as_str(), "unspecified");
    assert_eq!(page.skipped.len(), 1);
    let named = source.still_named(&mut db, &keys(&[ONE, THREE])).await.unwrap();
    assert_eq!(named, HashSet::from([ONE.to_owned()]));
    assert!(!source.tracks_changes());
    let census = source.census(&mut db).await.unwrap();
    assert_eq!(census.statuses.len(), 3);
    assert!(census.statuses.iter().all(|status| status.fate == Fate::Queried && status.due == 1));
    source.plans(&mut db).await.unwrap();
}

#[tokio::test]
async fn the_merchants_tables_are_read_as_the_merchants_server_plans() {
    const OTHERS: &str = "SELECT string_agg(name, ' ' ORDER BY name) FROM pg_settings
         WHERE category LIKE 'Query Tuning%' AND setting <> reset_val";
    let database = TestDatabase::without_schema().await;
    let mut db = ledger::database(database.url(), "test").connect().await.unwrap();
    let ours: String = sqlx::query_scalar(OTHERS).fetch_one(&mut db).await.unwrap();
    assert_eq!(ours, "jit plan_cache_mode random_page_cost");
    let text = format!("SELECT '{ONE}' AS session_id, ({OTHERS}) AS reference_id, NULL AS reason");
    let source = inspect(&query(&text), &mut db).await;
    // Nothing is compiled, and all of the cursor is read.
    let read_with = Some("cursor_tuple_fraction jit".to_owned());
    assert_eq!(discover(&source, &mut db).await.candidates[0].reference_id, read_with);
    let named = query(&format!("{text} WHERE ({OTHERS}) = 'jit'"));
    assert_eq!(inspect(&named, &mut db).await.still_named(&mut db, &keys(&[ONE])).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_query_can_neither_write_nor_be_two() {
    let mut db = connection().await;
    run(
        &mut db,
        "CREATE TABLE written (at timestamptz);
         CREATE FUNCTION write() RETURNS text LANGUAGE sql VOLATILE AS
           $$ INSERT INTO written VALUES (now()) RETURNING at::text $$",
    )
    .await;
    for text in [
        "SELECT 1) AS merchant; DELETE FROM written; SELECT (1",
        "SELECT NULL::text AS session_id, NULL AS reference_id, '' AS reason; DELETE FROM written",
        "DELETE FROM written RETURNING at::text AS session_id, NULL AS reference_id, '' AS reason",
        "",
    ] {
        let faults = faults(&query(text), &mut db).await;
        assert!(faults[0].starts_with("`[source] query` is refused by the database"), "{faults:?}");
    }
    let source = inspect(&query("SELECT write() AS session_id, '' AS reference_id, '' AS reason"), &mut db).await;
    let mut transaction = db.begin().await.unwrap();
    source.open(&mut transaction, None, None).await.unwrap();
    run(&mut transaction, "INSERT INTO written VALUES (now())").await;
    let refused = source.next_page(&mut transaction, 10).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Database { source, .. } if source.to_string().contains("read-only")),
        "{refused:?}"
    );
    transaction.rollback().await.unwrap();
    assert!(source.still_named(&mut db, &keys(&[ONE])).await.is_err());
}

#[tokio::test]
async fn a_query_that_lacks_columns_is_refused_with_all_faults() {
    let mut db = connection().await;
    let faults = faults(&query("SELECT 1 AS session_id, '' AS reference"), &mut db).await;
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[0].contains("gives no column reference_id, only session_id, reference"), "{faults:?}");
    assert!(faults[2].contains("as integer"), "{faults:?}");
}

#[tokio::test]
async fn a_query_gives_its_ids_in_any_type() {
    let mut db = connection().await;
    run(&mut db, "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public; CREATE DOMAIN an_id AS uuid").await;
    for id in ["uuid", "text", "varchar(36)", "char(40)", "public.citext", "an_id"] {
        let text = format!("SELECT '{ONE}'::{id} AS session_id, 7 AS reference_id, NULL AS reason");
        let source = inspect(&query(&text), &mut db).await;
        assert_eq!(ids(&discover(&source, &mut db).await), [ONE], "{id}");
        assert_eq!(source.still_named(&mut db, &keys(&[ONE, TWO])).await.unwrap().len(), 1, "{id}");
    }
}
