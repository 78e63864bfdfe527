//! Texts from outside, each far too long: none is stored in full, whatever column it goes to.

use std::time::Duration;

use geft_sweeper::config;
use geft_sweeper::database::Database;
use geft_sweeper::ledger::{Brake, Instance, Ledger, SweepStatus, Trigger};
use geft_sweeper::sandbox::Faults;

use crate::support::{Shop, TestDatabase};

/// No column holds more characters.
const LONGEST: i64 = 1_000;

#[tokio::test]
async fn no_text_from_outside_is_stored_at_any_length() {
    let database = TestDatabase::new().await;
    let shop = Shop::on(database.url()).await;
    let mut faults = Faults::default();
    faults.cancel.shares.insert("422".parse().unwrap(), 1.0);
    shop.provider.set_faults(faults).unwrap();
    let id = shop.abandon(1).await[0];
    let long = "x".repeat(20_000);
    shop.provider.set_status(id, &long, Some(&long)).unwrap();
    let query = format!(
        "SELECT '{id}'::text AS session_id, repeat('r', 100000) AS reference_id, repeat('w', 100000) AS reason"
    );
    let program = shop.program().without("source.table").without("source.open_statuses").without("source.max_age");
    program.with("source.query", query).run(["sweep"]).await.expect_code(0);
    let ledger = ledger(database.url());
    let sweep = ledger.open_sweep(Trigger::Command).await.unwrap();
    ledger.close_sweep(sweep, SweepStatus::Stopped, Some(&long)).await.unwrap();
    ledger.apply_brake(Brake::Environment, &long).await.unwrap();

    let lengths = lengths(&database).await;
    let length = |column: &str| lengths.iter().find(|(name, _)| name == column).map(|(_, length)| *length);
    for cut in ["cancellations.reference_id", "cancel_attempts.reason", "sweeps.error", "brakes.sentence"] {
        assert_eq!(length(cut), Some(LONGEST), "{cut} was given more than that: {lengths:?}");
    }
    assert_eq!(length("cancel_attempts.session_status"), Some(200), "{lengths:?}");
    assert!(length("cancel_attempts.error").unwrap() <= 300, "{lengths:?}");
    assert!(lengths.iter().all(|(_, length)| *length <= LONGEST), "{lengths:?}");
    database.close().await;
}

fn ledger(url: &str) -> Ledger {
    let settings = config::Database {
        url: url.into(),
        max_connections: 2,
        auto_migrate: true,
        statement_timeout: Duration::from_secs(30),
    };
    Ledger::new(Database::new(&settings, "test").unwrap(), Instance::new(&"h".repeat(1_000)))
}

/// The longest text in each column of our tables; columns without any are left out.
async fn lengths(database: &TestDatabase) -> Vec<(String, i64)> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
          WHERE table_schema = 'geft_sweeper' AND data_type = 'text' AND table_name <> '_sqlx_migrations'",
    )
    .fetch_all(database.pool())
    .await
    .unwrap();
    let mut lengths = Vec::new();
    for (table, column) in columns {
        let longest = format!("SELECT max(length({column}))::bigint FROM geft_sweeper.{table}");
        let longest: Option<i64> =
            sqlx::query_scalar(sqlx::AssertSqlSafe(longest)).fetch_one(database.pool()).await.unwrap();
        lengths.extend(longest.map(|longest| (format!("{table}.{column}"), longest)));
    }
    lengths
}
