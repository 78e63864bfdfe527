//! How many sessions there are: each once, the usable ones alone, and no further than it is asked.

use geft_sweeper::source::Source;
use sqlx::{Connection as _, PgConnection};

use super::{ONE, THREE, TWO, connection, create, discover_with, ids, inspect, query, run, settings, table};

async fn count(source: &Source, db: &mut PgConnection, not_known: Option<&str>, enough: u64) -> u64 {
    let mut transaction = db.begin().await.unwrap();
    let number = source.count(&mut transaction, not_known, None, enough).await.unwrap();
    transaction.rollback().await.unwrap();
    number
}

#[tokio::test]
async fn each_session_counts_once_and_a_row_without_a_usable_id_does_not() {
    for id in ["text", "varchar(60)"] {
        let mut db = connection().await;
        create(&mut db, id, "text", "timestamptz").await;
        let sql = format!(
            "INSERT INTO sessions SELECT id, NULL, 'abandoned', now() FROM (VALUES
                 ('{ONE}'), (' {upper} '), ('{{{ONE}}}'), ('{bare}'), ('urn:uuid:{ONE}'), ('URN:UUID:{ONE}'), ('{TWO}'), ('{THREE}'),
                 (NULL), ('cs_1234'), ('{{{ONE}'), ('{bare}0'), ('')) AS made (id);
             INSERT INTO sessions VALUES ('{TWO}', NULL, 'pending', now() - interval '1 hour')",
            upper = ONE.to_uppercase(),
            bare = ONE.replace('-', ""),
        );
        run(&mut db, &sql).await;
        let source = inspect(&settings(table()), &mut db).await;
        assert_eq!(count(&source, &mut db, None, 100).await, 3);
        // The pages say the same of the same rows.
        let mut found = ids(&discover_with(&source, &mut db, None, None).await);
        found.dedup();
        assert_eq!(found, [ONE, TWO, THREE]);
        // In whatever spelling a session is known, it is not found.
        let known = format!("{{session_id}} IS DISTINCT FROM '{ONE}'");
        assert_eq!(count(&source, &mut db, Some(&known), 100).await, 2);
        let page = discover_with(&source, &mut db, Some(&known), None).await;
        assert!(page.candidates.iter().all(|candidate| candidate.session_id.to_string() != ONE), "{page:?}");
    }
}

#[tokio::test]
async fn no_more_are_counted_than_is_enough_and_doubles_are_seen_through() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamptz").await;
    let doubles = format!(
        "INSERT INTO sessions SELECT '{ONE}'::uuid, NULL, 'abandoned', now() FROM generate_series(1, 50);
         INSERT INTO sessions SELECT gen_random_uuid(), NULL, 'abandoned', now() FROM generate_series(1, 9)"
    );
    run(&mut db, &doubles).await;
    let source = inspect(&settings(table()), &mut db).await;
    assert_eq!(count(&source, &mut db, None, 1).await, 1);
    assert_eq!(count(&source, &mut db, None, 10).await, 10, "nine of them stand behind fifty doubles");
    assert_eq!(count(&source, &mut db, None, 11).await, 10);
}

#[tokio::test]
async fn no_row_is_read_beyond_what_is_enough() {
    let mut db = connection().await;
    // A row that cannot be read stands behind the tenth.
    let text = "SELECT lpad((CASE WHEN n > 10 THEN 1 / (n - n) ELSE n END)::text, 32, '0') AS session_id,
                       NULL::text AS reference_id, NULL::text AS reason
                  FROM (SELECT generate_series(1, 1000000) AS n) AS endless";
    let source = inspect(&query(text), &mut db).await;
    assert_eq!(count(&source, &mut db, None, 10).await, 10);
    assert!(source.count(&mut db, None, None, 11).await.is_err(), "the eleventh cannot be read");
}
