//! Which rows are found, under which names, and whether they still are.

use std::collections::HashSet;

use geft_sweeper::config::{self, Columns, Table};
use geft_sweeper::source::Fate;
use sqlx::{Connection as _, PgConnection};

use super::{
    HOUR, ONE, THREE, TWO, connection, create, discover, discover_with, ids, inspect, keys, run, settings, table,
};
use crate::ledger;
use crate::support::TestDatabase;

#[tokio::test]
async fn abandoned_and_aged_rows_are_found_and_nothing_else() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamptz").await;
    run(
        &mut db,
        "INSERT INTO sessions VALUES
         ('7d444840-9dc0-41d1-b245-5ffdce74fad1', 'order 1', 'Abandoned', now()),
         ('7d444840-9dc0-41d1-b245-5ffdce74fad2', NULL, 'PENDING', now() - interval '31 minutes'),
         ('7d444840-9dc0-41d1-b245-5ffdce74fad3', 'order 3', 'abandoned', 'infinity'),
         (gen_random_uuid(), NULL, 'pending', now() - interval '29 minutes'),
         (gen_random_uuid(), NULL, 'pending', now() + interval '1 day'),
         (gen_random_uuid(), NULL, 'pending', NULL),
         (gen_random_uuid(), NULL, 'paid', now() - interval '1 day'),
         (gen_random_uuid(), NULL, NULL, now() - interval '1 day'),
         (gen_random_uuid(), NULL, 'abandoned', now() - interval '8 days'),
         (gen_random_uuid(), NULL, 'pending', now() - interval '8 days')",
    )
    .await;
    let source = inspect(&settings(table()), &mut db).await;
    let page = discover(&source, &mut db).await;
    assert_eq!(ids(&page), [ONE, TWO, THREE]);
    let reasons: Vec<_> = page.candidates.iter().map(|candidate| candidate.reason.as_str()).collect();
    assert_eq!(reasons, ["abandoned", "aged", "abandoned"]);
    assert_eq!(page.candidates[0].reference_id.as_deref(), Some("order 1"));
    assert_eq!(page.candidates[1].source_status.as_deref(), Some("PENDING"));
    assert_eq!(page.candidates[2].source_created_at, None);
    assert!(page.skipped.is_empty());

    let unaged = Table { max_age: None, ..table() };
    let source = inspect(&settings(unaged), &mut db).await;
    assert_eq!(ids(&discover(&source, &mut db).await), [ONE, THREE]);
}

#[tokio::test]
async fn a_row_whose_id_cannot_be_used_is_skipped_and_the_others_go_on() {
    let mut db = connection().await;
    create(&mut db, "text", "text", "timestamptz").await;
    run(
        &mut db,
        "INSERT INTO sessions VALUES
         (' 7D444840-9DC0-41D1-B245-5FFDCE74FAD1 ', NULL, 'abandoned', now()),
         ('7d4448409dc041d1b2455ffdce74fad2', NULL, 'abandoned', now()),
         (NULL, NULL, 'abandoned', now()),
         ('cs_1234', NULL, 'abandoned', now()),
         (repeat('x', 100000), NULL, 'abandoned', now())",
    )
    .await;
    let source = inspect(&settings(table()), &mut db).await;
    let known = format!("NOT EXISTS (SELECT FROM (VALUES ('{THREE}'::uuid)) k (id) WHERE k.id = {{session_id}})");
    for not_known in [None, Some(known.as_str())] {
        let page = discover_with(&source, &mut db, not_known, None).await;
        assert_eq!(ids(&page), [ONE, TWO]);
        assert_eq!(page.candidates[0].source_key, " 7D444840-9DC0-41D1-B245-5FFDCE74FAD1 ");
        assert_eq!(page.skipped.len(), 3);
        assert!(page.skipped.iter().flat_map(|row| &row.key).all(|key| key.len() <= 201));
    }
}

#[tokio::test]
async fn known_sessions_are_passed_over_in_the_database() {
    for id in ["uuid", "text", "char(40)"] {
        let mut db = connection().await;
        create(&mut db, id, "text", "timestamptz").await;
        let sql = format!(
            "INSERT INTO sessions VALUES (upper('{ONE}')::{id}, NULL, 'abandoned', now()),
                                         ('{TWO}', NULL, 'pending', now() - interval '1 hour');
             CREATE TABLE known AS SELECT '{ONE}'::uuid AS session_id"
        );
        run(&mut db, &sql.replace("upper", if id == "uuid" { "" } else { "upper" })).await;
        let source = inspect(&settings(table()), &mut db).await;
        let not_known = "NOT EXISTS (SELECT FROM known k WHERE k.session_id = {session_id})";
        assert_eq!(ids(&discover_with(&source, &mut db, Some(not_known), None).await), [TWO], "{id}");
        assert_eq!(ids(&discover(&source, &mut db).await), [ONE, TWO], "{id}");
    }
}

#[tokio::test]
async fn names_are_taken_as_they_are_written() {
    let mut db = connection().await;
    run(
        &mut db,
        "CREATE TABLE \"Payment \"\"Sessions\"\"\" (\"sessionId\" uuid, \"ref'id\" int, \"the status\" varchar(20),
         \"created\\at\" timestamptz);
         INSERT INTO \"Payment \"\"Sessions\"\"\" VALUES ('7d444840-9dc0-41d1-b245-5ffdce74fad1', 7, 'O''Brien\\x', now());
         CREATE VIEW Seen AS SELECT * FROM \"Payment \"\"Sessions\"\"\"",
    )
    .await;
    for name in ["\"Payment \"\"Sessions\"\"\"", "SEEN"] {
        let columns = Columns {
            session_id: "sessionId".to_owned(),
            reference_id: "ref'id".to_owned(),
            status: "the status".to_owned(),
            created_at: "created\\at".to_owned(),
            updated_at: None,
        };
        let abandoned_statuses = vec!["o'brien\\X".to_owned()];
        let source =
            inspect(&settings(Table { table: name.to_owned(), columns, abandoned_statuses, ..table() }), &mut db).await;
        let page = discover(&source, &mut db).await;
        assert_eq!(ids(&page), [ONE]);
        assert_eq!(page.candidates[0].reference_id.as_deref(), Some("7"));
        assert_eq!(source.still_named(&mut db, &keys(&[ONE, TWO])).await.unwrap(), HashSet::from([ONE.to_owned()]));
    }
}

#[tokio::test]
async fn looking_again_takes_the_spelling_of_the_column() {
    let mut db = connection().await;
    create(&mut db, "text", "text", "timestamptz").await;
    let upper = ONE.to_uppercase();
    run(&mut db, &format!("INSERT INTO sessions VALUES ('{upper}', NULL, 'abandoned', now())")).await;
    let source = inspect(&settings(table()), &mut db).await;
    assert_eq!(source.still_named(&mut db, &keys(&[&upper])).await.unwrap(), HashSet::from([upper.clone()]));
    run(&mut db, "UPDATE sessions SET status = 'paid'").await;
    assert!(source.still_named(&mut db, &keys(&[&upper])).await.unwrap().is_empty());

    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamptz").await;
    run(&mut db, &format!("INSERT INTO sessions VALUES ('{ONE}', NULL, 'abandoned', NULL)")).await;
    let source = inspect(&settings(table()), &mut db).await;
    assert_eq!(source.still_named(&mut db, &keys(&[&upper])).await.unwrap(), HashSet::from([upper]));
}

#[tokio::test]
async fn the_census_says_what_happens_to_each_status() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamptz").await;
    run(
        &mut db,
        "INSERT INTO sessions SELECT gen_random_uuid(), NULL, status, now() - ago::interval FROM (VALUES
         ('paid', '1 hour'), ('paid', '2 hours'), ('paid', '3 hours'), ('Pending', '1 hour'), ('Pending', '1 minute'),
         ('abandoned', '-1 hour'), ('abandoned', NULL), ('paid', '8 days')) AS made (status, ago)",
    )
    .await;
    let source = inspect(&settings(table()), &mut db).await;
    let census = source.census(&mut db).await.unwrap();
    let said: Vec<_> = census
        .statuses
        .iter()
        .map(|status| (status.status.as_deref().unwrap(), status.rows, status.fate, status.due))
        .collect();
    assert_eq!(
        said,
        [("paid", 3, Fate::LeftAlone, 0), ("Pending", 2, Fate::Aged, 1), ("abandoned", 1, Fate::Abandoned, 1)]
    );
    assert_eq!((census.in_future, census.without_date), (1, 1));
    assert!((HOUR / 60..HOUR / 30).contains(&census.newest_age.unwrap()), "{census:?}");
}

#[tokio::test]
async fn the_fingerprint_changes_with_what_is_found() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamptz").await;
    let first = inspect(&settings(table()), &mut db).await.fingerprint();
    assert_eq!(first, inspect(&settings(table()), &mut db).await.fingerprint());
    let more = Table { abandoned_statuses: keys(&["abandoned", "left"]), ..table() };
    assert_ne!(first, inspect(&settings(more), &mut db).await.fingerprint());
    let longer = config::Source { lookback: 8 * 24 * HOUR, ..settings(table()) };
    assert_ne!(first, inspect(&longer, &mut db).await.fingerprint());
}

#[tokio::test]
async fn reading_locks_nothing_and_leaves_the_callers_transaction_writable() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamptz").await;
    run(&mut db, &format!("INSERT INTO sessions VALUES ('{ONE}', NULL, 'abandoned', now())")).await;
    let source = inspect(&settings(table()), &mut db).await;
    let mut transaction = db.begin().await.unwrap();
    source.open(&mut transaction, None, None).await.unwrap();
    assert_eq!(source.next_page(&mut transaction, 10).await.unwrap().unwrap().candidates.len(), 1);
    let locks: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'sessions'::regclass",
    )
    .fetch_all(&mut *transaction)
    .await
    .unwrap();
    assert_eq!(locks, ["AccessShareLock"]);
    run(&mut transaction, "UPDATE sessions SET status = 'paid'").await;
    assert_eq!(source.next_page(&mut transaction, 10).await.unwrap(), None);
    transaction.commit().await.unwrap();
    assert!(discover(&source, &mut db).await.candidates.is_empty());
}

#[tokio::test]
async fn what_was_let_go_holds_up_nobody_and_is_read_on() {
    let database = TestDatabase::without_schema().await;
    let pool = ledger::database(database.url(), "test").single();
    let mut db = PgConnection::connect(database.url()).await.unwrap();
    create(&mut db, "uuid", "text", "timestamptz").await;
    let rows = [ONE, TWO, THREE].map(|id| format!("('{id}', NULL, 'abandoned', now())")).join(", ");
    run(&mut db, &format!("INSERT INTO sessions VALUES {rows}; SET lock_timeout = '5s'")).await;
    let source = inspect(&settings(table()), &mut db).await;
    for column in ["one", "another"] {
        let mut transaction = pool.begin().await.unwrap();
        source.open(&mut transaction, None, None).await.unwrap();
        assert_eq!(source.next_page(&mut transaction, 1).await.unwrap().unwrap().candidates.len(), 1);
        source.let_go(&mut transaction).await.unwrap();
        run(&mut db, &format!("ALTER TABLE sessions ADD COLUMN {column} text; UPDATE sessions SET reference_id = 'x'"))
            .await;
        assert_eq!(source.next_page(&mut transaction, 9).await.unwrap().unwrap().candidates.len(), 2);
        // Whatever becomes of it, the next one begins anew on the same connection.
        transaction.rollback().await.unwrap();
    }
}
