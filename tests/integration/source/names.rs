//! Names and statuses made up at random, in a real database: quoted by us, they mean what they mean to the server.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;

/// So many made-up cases in one run.
const CASES: usize = 30;

/// What a name can hold, in the 63 bytes that the server gives it.
fn name() -> impl Strategy<Value = String> {
    "[^\0]{1,12}|[\"'\\\\.;$ -]{1,12}|[a-zA-Zéß_]{1,12}"
}

fn made_up<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

/// A name as the server quotes it.
async fn quoted(name: &str, connection: &mut PgConnection) -> String {
    sqlx::query_scalar("SELECT quote_ident($1)").bind(name).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn a_table_is_read_whatever_it_and_its_columns_and_statuses_are_called() {
    let mut connection = connection().await;
    let mut runner = TestRunner::default();
    for case in 0..CASES {
        // Each its own, and none that the server keeps to itself.
        let names = made_up(&proptest::collection::vec(name(), 6), &mut runner);
        let names: Vec<String> = (0..).zip(&names).map(|(number, name)| format!("x{name}_{case}_{number}")).collect();
        let mut as_quoted = Vec::new();
        for name in &names {
            as_quoted.push(quoted(name, &mut connection).await);
        }
        let [schema, relation, id, reference, status, created] = as_quoted.try_into().unwrap();
        let written = format!("{schema}.{relation}");
        let create = format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {written} ({id} text, {reference} text, {status} text, {created} timestamptz)"
        );
        run(&mut connection, &create).await;
        for (id, status) in [(ONE, &names[0]), (TWO, &names[1]), (THREE, &names[2])] {
            let insert = format!("INSERT INTO {written} VALUES ($1, $2, $3, now() - interval '1 hour')");
            let insert = sqlx::query(AssertSqlSafe(insert)).bind(id).bind(&names[3]).bind(status);
            insert.execute(&mut connection).await.unwrap();
        }
        let mut table = table();
        table.table = written;
        let [_, _, session_id, reference_id, status, created_at] = names.clone().try_into().unwrap();
        table.columns = Columns { session_id, reference_id, status, created_at, updated_at: None };
        table.abandoned_statuses = vec![names[0].clone()];
        table.open_statuses = vec![names[1].clone()];
        let source = inspect(&settings(table), &mut connection).await;
        let page = discover(&source, &mut connection).await;
        assert_eq!(ids(&page), [ONE, TWO], "{names:?}");
        for (candidate, status) in page.candidates.iter().zip(&names) {
            assert_eq!(
                (&candidate.source_status, &candidate.reference_id),
                (&Some(status.clone()), &Some(names[3].clone()))
            );
        }
        let still = source.still_named(&mut connection, &keys(&[ONE, TWO, THREE])).await.unwrap();
        assert_eq!(still, keys(&[ONE, TWO]).into_iter().collect(), "{names:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_taken_means_the_table_that_it_means_in_a_query() {
    let mut connection = connection().await;
    run(&mut connection, "CREATE SCHEMA a").await;
    let tables =
        ["a", "\"A\"", "\"a a\"", "\"a.a\"", "\"a\"\"a\"", "é", "\"É\"", "aa", "a.a", "a.\"A\"", "a.\".\"", "a.é"];
    for (number, table) in (1_u128..).zip(tables) {
        let id = Uuid::from_u128(number);
        run(
            &mut connection,
            &format!(
                "CREATE TABLE {table} (session_id, reference_id, status, created_at) AS
                 VALUES ('{id}'::uuid, 'x', 'abandoned', now())"
            ),
        )
        .await;
    }
    let mut runner = TestRunner::default();
    let mut taken = 0;
    for _ in 0..CASES * 10 {
        let mut table = table();
        table.table = made_up(&"[aA]{1,2}|[aAéÉ\". ]{1,7}|\"[aA. ]{1,3}\"|a ?\\. ?\"[aA.]{1,2}\"", &mut runner);
        let written = table.table.clone();
        let Ok(source) = Source::inspect(&settings(table), &mut connection).await else { continue };
        taken += 1;
        let meant: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(format!("SELECT session_id FROM {written}")))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(ids(&discover(&source, &mut connection).await), [meant[0].to_string()], "{written}");
    }
    assert!(taken > CASES, "only {taken} names were taken");
}
