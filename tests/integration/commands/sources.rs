//! Sources unlike the plain table, all the way through the program to the provider and the audit rows.

use geft_sweeper::sandbox::NewSession;
use toml::{Table, Value};
use uuid::Uuid;

use super::Shop;

fn columns(of: [(&str, &str); 4]) -> Value {
    Value::Table(of.into_iter().map(|(name, column)| (name.to_owned(), Value::from(column))).collect::<Table>())
}

fn seed(shop: &Shop) -> Uuid {
    shop.sandbox.seed(vec![NewSession::default()]).unwrap()[0]
}

#[tokio::test]
async fn a_query_decides_what_is_canceled_and_gives_the_reason() {
    let shop = Shop::new().await;
    let (one, two) = (seed(&shop), seed(&shop));
    shop.execute(&format!(
        "CREATE TABLE checkout (id uuid PRIMARY KEY, order_number int, state text);
         INSERT INTO checkout VALUES ('{one}', 17, 'left'), ('{two}', 18, 'paid')"
    ))
    .await;
    let query = "SELECT id AS session_id, order_number::text AS reference_id, 'cart left'::text AS reason \
                 FROM checkout WHERE state = 'left'";
    let program = shop.program().without("source.table").without("source.open_statuses").without("source.max_age");
    let program = program.with("source.query", query);
    assert_eq!(program.run(["sweep", "--dry-run", "--json"]).await.expect_code(0).json()["would_cancel"], 1);
    program.run(["check"]).await.expect_code(0);
    assert_eq!(program.run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 1);
    let row: String = shop
        .value("SELECT concat_ws(' ', session_id, reference_id, reason, outcome) FROM geft_sweeper.cancel_attempts")
        .await;
    assert_eq!(row, format!("{one} 17 cart left canceled"));
    assert_eq!((shop.sandbox.cancels(one), shop.sandbox.cancels(two)), (1, 0));
    shop.database.close().await;
}

#[tokio::test]
async fn a_table_with_quoted_names_text_ids_an_enum_and_local_times_is_swept() {
    let shop = Shop::new().await;
    let (left, old, young) = (seed(&shop), seed(&shop), seed(&shop));
    shop.execute(&format!(
        "CREATE SCHEMA \"My Shop\";
         CREATE TYPE \"My Shop\".\"State\" AS ENUM ('Open', 'Abandoned', 'Paid');
         CREATE TABLE \"My Shop\".\"Payment Sessions\" (
             \"sessionId\" text PRIMARY KEY, \"Order\" varchar(40), \"State\" \"My Shop\".\"State\", \"createdAt\" timestamp);
         INSERT INTO \"My Shop\".\"Payment Sessions\"
             SELECT upper(id), 'order', state::\"My Shop\".\"State\",
                    now() AT TIME ZONE 'America/Toronto' - make_interval(mins => age)
               FROM (VALUES ('{left}', 'Abandoned', 1), ('{old}', 'Open', 45), ('{young}', 'Open', 15)) AS v (id, state, age);
         INSERT INTO \"My Shop\".\"Payment Sessions\" VALUES ('no uuid', NULL, 'Abandoned', now())"
    ))
    .await;
    let program = shop
        .program()
        .with("source.table", "\"My Shop\".\"Payment Sessions\"")
        .with(
            "source.columns",
            columns([
                ("session_id", "sessionId"),
                ("reference_id", "Order"),
                ("status", "State"),
                ("created_at", "createdAt"),
            ]),
        )
        .with("source.time_zone", "America/Toronto")
        .with("source.open_statuses", vec!["open"]);
    program.run(["check"]).await.expect_code(0);
    let report = program.run(["sweep", "--json"]).await.expect_code(0).json();
    let counts = ["discovered", "canceled", "skipped"].map(|name| report[name].as_i64());
    assert_eq!(counts, [2, 2, 1].map(Some));
    assert_eq!([left, old, young].map(|id| shop.sandbox.cancels(id)), [1, 1, 0], "a live payment must not be canceled");
    let times: bool = shop
        .value("SELECT bool_and(now() - source_created_at < interval '50 min') FROM geft_sweeper.cancellations")
        .await;
    assert!(times);
    shop.database.close().await;
}

#[tokio::test]
async fn a_source_that_cannot_work_is_a_wrong_configuration() {
    let shop = Shop::new().await;
    for program in [
        shop.program().with("source.table", "public.payment_session"),
        shop.program().with("source.time_zone", "America/Toronto"),
    ] {
        for arguments in [["sweep"].as_slice(), &["sweep", "--dry-run"]] {
            let said = match arguments {
                ["sweep"] => program.run(["sweep"]).await,
                _ => program.run(["sweep", "--dry-run"]).await,
            };
            let said = said.expect_code(2);
            assert_eq!(said.stdout, "");
            assert!(said.stderr.contains("geft-sweeper: `[source] t"), "{}", said.stderr);
        }
    }
    shop.expect_no_request();
    shop.database.close().await;
}
