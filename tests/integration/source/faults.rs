//! What cannot work is refused, with the setting and the mend.

use geft_sweeper::config::{Columns, Table};
use uuid::Uuid;

use super::{connection, create, discover, faults, inspect, query, run, settings, table};

#[tokio::test]
async fn every_fault_of_the_settings_is_told_in_one_run() {
    let mut db = connection().await;
    run(&mut db, "CREATE TABLE sessions (id bigint, reference text, status int, created_on date, changed timestamptz)")
        .await;
    let columns = Columns {
        session_id: "id".to_owned(),
        reference_id: "referense".to_owned(),
        status: "status".to_owned(),
        created_at: "created_on".to_owned(),
        updated_at: Some("changed".to_owned()),
    };
    let table = Table { columns, time_zone: Some("UTC".to_owned()), ..table() };
    let faults = faults(&settings(table), &mut db).await;
    let expected = [
        "`[source] columns.session_id` is \"id\", which is of type bigint",
        "the nearest is \"reference\"",
        "`[source] columns.status` is \"status\", which is of type integer",
        "`[source] time_zone` is \"UTC\", but no mapped column",
        "`[source] columns.created_at` is \"created_on\", which is of type date",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.contains(expected), "{fault}");
    }
}

#[tokio::test]
async fn a_wrong_table_zone_or_label_is_told_with_the_nearest() {
    let mut db = connection().await;
    run(&mut db, "CREATE TYPE mood AS ENUM ('left', 'paid')").await;
    create(&mut db, "uuid", "mood", "timestamp").await;
    let wrong = |name: &str| settings(Table { table: name.to_owned(), ..table() });
    assert!(faults(&wrong("sesions"), &mut db).await[0].contains("\"sessions\""));
    assert!(faults(&wrong("a b"), &mut db).await[0].contains("no name in SQL"));
    assert!(faults(&wrong("nowhere.sessions"), &mut db).await[0].contains("no such table"));
    assert!(faults(&wrong("a\0b"), &mut db).await[0].contains("zero byte"));
    let found = faults(&wrong("sessions"), &mut db).await;
    assert!(found[0].contains("choose among left, paid"), "{found:?}");
    assert!(found[1].contains("`[source] time_zone` is missing: column \"created_at\""), "{found:?}");
    for zone in ["America/Torronto", "-05:00", "EST5EDT4"] {
        let zoned = Table { time_zone: Some(zone.to_owned()), ..table() };
        let found = faults(&settings(zoned), &mut db).await;
        assert!(found[1].contains("the database does not know"), "{found:?}");
    }
}

#[tokio::test]
async fn a_missing_right_is_told_with_its_grant() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamptz").await;
    let role = format!("reader_{}", Uuid::new_v4().simple());
    let schema: String = sqlx::query_scalar("SELECT current_schema()::text").fetch_one(&mut db).await.unwrap();
    run(&mut db, &format!("CREATE ROLE {role}; SET ROLE {role}")).await;
    let qualified = settings(Table { table: format!("{schema}.sessions"), ..table() });
    let refused = faults(&qualified, &mut db).await;
    assert!(refused[0].contains(&format!("GRANT USAGE ON SCHEMA \"{schema}\"")), "{refused:?}");
    run(&mut db, &format!("RESET ROLE; GRANT USAGE ON SCHEMA {schema} TO {role}; SET ROLE {role}")).await;
    let refused = faults(&qualified, &mut db).await;
    let grant = refused[0].split_once("with ").unwrap().1.to_owned();
    let columns = r#"("session_id", "reference_id", "status", "created_at")"#;
    assert_eq!(grant, format!("GRANT SELECT {columns} ON \"{schema}\".\"sessions\" TO \"{role}\";"));
    let asking = query("SELECT session_id, reference_id, status AS reason FROM sessions");
    assert!(faults(&asking, &mut db).await[0].contains("GRANT SELECT ON"));
    run(&mut db, &format!("RESET ROLE; {grant} SET ROLE {role}")).await;
    let source = inspect(&qualified, &mut db).await;
    assert!(discover(&source, &mut db).await.candidates.is_empty());
    run(&mut db, &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await;
}
