//! That an index serves each statement, whatever the types of the columns.

use std::collections::HashSet;

use geft_sweeper::source::Changes;
use sqlx::Connection as _;
use sqlx::PgConnection;

use super::{ONE, THREE, TWO, connection, create, discover, ids, inspect, keys, run, settings, table};

/// How often this process of the server has read the table from end to end, and by an index; to be compared within one
/// transaction, at whose end the server may start again from zero.
async fn scans(connection: &mut PgConnection) -> (i64, i64) {
    sqlx::query_as("SELECT seq_scan, idx_scan FROM pg_stat_xact_user_tables WHERE relid = 'sessions'::regclass")
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_enum_and_an_index_on_the_status_serve_whatever_the_letter_case() {
    for status in ["text", "varchar(20)", "char(20)", "a_domain", "an_enum", "domain_over_enum"] {
        let mut db = connection().await;
        run(
            &mut db,
            "CREATE DOMAIN a_domain AS text; CREATE TYPE an_enum AS ENUM ('Abandoned', 'PENDING', 'paid');
             CREATE DOMAIN domain_over_enum AS an_enum",
        )
        .await;
        create(&mut db, "uuid", status, "timestamptz").await;
        run(
            &mut db,
            &format!(
                "INSERT INTO sessions SELECT gen_random_uuid(), NULL, 'paid', now() FROM generate_series(1, 20000);
                 INSERT INTO sessions VALUES ('{ONE}', NULL, 'Abandoned', now()),
                                             ('{TWO}', NULL, 'PENDING', now() - interval '1 hour');
                 CREATE INDEX ON sessions (status, created_at); ANALYZE sessions"
            ),
        )
        .await;
        let source = inspect(&settings(table()), &mut db).await;
        let mut transaction = db.begin().await.unwrap();
        let before = scans(&mut transaction).await;
        assert_eq!(ids(&discover(&source, &mut transaction).await), [ONE, TWO], "{status}");
        let after = scans(&mut transaction).await;
        assert!(after.0 == before.0 && after.1 > before.1, "{status}: {before:?}, then {after:?}");
        transaction.rollback().await.unwrap();
        assert!(source.plans(&mut db).await.unwrap().discovery.uses_index(), "{status}");
    }
}

#[tokio::test]
async fn looking_again_is_served_by_the_index_of_the_key_whatever_its_type() {
    let mut db = connection().await;
    run(
        &mut db,
        "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;
         CREATE DOMAIN id_domain AS uuid; CREATE DOMAIN text_domain AS varchar(60) CHECK (VALUE <> '')",
    )
    .await;
    for id in ["uuid", "text", "varchar(36)", "char(36)", "char(40)", "public.citext", "id_domain", "text_domain"] {
        create(&mut db, id, "text", "timestamptz").await;
        run(
            &mut db,
            &format!(
                "INSERT INTO sessions SELECT gen_random_uuid()::text::{id}, NULL, 'abandoned', now()
                   FROM generate_series(1, 100000);
                 INSERT INTO sessions VALUES ('{ONE}', NULL, 'abandoned', now() - interval '1 year'),
                   ('{TWO}', NULL, 'pending', now()), ('{THREE}', NULL, 'pending', now() - interval '1 year');
                 CREATE UNIQUE INDEX ON sessions (session_id); ANALYZE sessions"
            ),
        )
        .await;
        let source = inspect(&settings(table()), &mut db).await;
        let mut transaction = db.begin().await.unwrap();
        let before = scans(&mut transaction).await;
        let named = source.still_named(&mut transaction, &keys(&[ONE, TWO, THREE, "none"])).await.unwrap();
        assert_eq!(named, HashSet::from([ONE.to_owned(), THREE.to_owned()]), "{id}");
        let after = scans(&mut transaction).await;
        assert!(after.0 == before.0 && after.1 > before.1, "{id}: {before:?}, then {after:?}");
        transaction.rollback().await.unwrap();
        assert!(source.plans(&mut db).await.unwrap().look_again.uses_index(), "{id}");
        run(&mut db, "DROP TABLE sessions").await;
    }
}

#[tokio::test]
async fn a_missing_index_is_told_with_the_statement_that_mends_it() {
    let mut db = connection().await;
    create(&mut db, "text", "text", "timestamptz").await;
    let source = inspect(&settings(table()), &mut db).await;
    let plans = source.plans(&mut db).await.unwrap();
    assert_eq!(plans.discovery.scanned, ["sessions"]);
    for advice in [plans.discovery.advice.unwrap(), plans.look_again.advice.unwrap()] {
        assert!(advice.starts_with("CREATE INDEX CONCURRENTLY ON \"test_"), "{advice}");
        run(&mut db, &advice).await;
    }
    let source = inspect(&settings(table()), &mut db).await;
    let plans = source.plans(&mut db).await.unwrap();
    assert!(plans.discovery.uses_index() && plans.look_again.uses_index(), "{plans:?}");
    assert_eq!((plans.discovery.advice, plans.look_again.advice), (None, None));
}

#[tokio::test]
async fn the_index_that_makes_a_look_at_what_changed_cheap_is_told_until_it_is_there() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamptz").await;
    run(&mut db, "ALTER TABLE sessions ADD \"changed at\" timestamptz; CREATE INDEX ON sessions (status, created_at)")
        .await;
    let mut tracked = table();
    let untold = inspect(&settings(tracked.clone()), &mut db).await.plans(&mut db).await.unwrap().changes;
    assert_eq!(untold, Changes::Untold);
    tracked.columns.updated_at = Some("changed at".to_owned());
    let source = inspect(&settings(tracked), &mut db).await;
    let Changes::Unserved(advice) = source.plans(&mut db).await.unwrap().changes else { panic!("an index serves") };
    assert!(advice.ends_with("(\"status\", \"changed at\");"), "{advice}");
    run(&mut db, &advice).await;
    assert_eq!(source.plans(&mut db).await.unwrap().changes, Changes::ByIndex);
    run(&mut db, "CREATE VIEW seen AS SELECT * FROM sessions").await;
    let mut view = table();
    (view.table, view.columns.updated_at) = ("seen".to_owned(), Some("changed at".to_owned()));
    let source = inspect(&settings(view), &mut db).await;
    assert_eq!(source.plans(&mut db).await.unwrap().changes, Changes::ByIndex, "there can be none on a view");
}

#[tokio::test]
async fn a_partitioned_table_works() {
    let mut db = connection().await;
    run(
        &mut db,
        &format!(
            "CREATE TABLE sessions (session_id uuid, reference_id text, status text, created_at timestamptz)
               PARTITION BY RANGE (created_at);
             CREATE TABLE old PARTITION OF sessions FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
             CREATE TABLE young PARTITION OF sessions DEFAULT;
             CREATE INDEX ON sessions (status, created_at); CREATE INDEX ON sessions (session_id);
             INSERT INTO sessions VALUES ('{ONE}', NULL, 'ABANDONED', now()), ('{TWO}', NULL, 'abandoned', '2019-01-01')"
        ),
    )
    .await;
    let source = inspect(&settings(table()), &mut db).await;
    assert_eq!(ids(&discover(&source, &mut db).await), [ONE]);
    assert!(source.plans(&mut db).await.unwrap().discovery.uses_index());
    assert_eq!(source.still_named(&mut db, &keys(&[ONE, TWO])).await.unwrap().len(), 2);
}
