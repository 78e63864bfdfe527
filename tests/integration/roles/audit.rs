//! The role of the auditors: it reads all of the ledger, and nothing else of anybody's.

use sqlx::{Connection as _, PgConnection};

use super::{attempt, expect_denied, set_up, take_down, url};

#[tokio::test]
async fn an_auditor_reads_the_whole_ledger_and_writes_nothing_and_sees_no_table_of_the_merchants() {
    let (shop, roles) = set_up().await;
    let auditor = shop.role(&format!("GRANT \"{}\" TO {{role}}", roles.audit)).await;
    // A later migration needs no further grant.
    attempt(&url(&shop, &roles.owner), "CREATE TABLE geft_sweeper.later (id int)").await.unwrap();
    let relations = "SELECT oid::regclass::text, relkind = 'r' FROM pg_class
        WHERE relnamespace = 'geft_sweeper'::regnamespace AND relkind IN ('r', 'v')";
    let relations: Vec<(String, bool)> = sqlx::query_as(relations).fetch_all(shop.database.pool()).await.unwrap();
    assert!(relations.len() > 10, "{relations:?}");
    for (relation, is_table) in &relations {
        attempt(&auditor.url, &format!("SELECT * FROM {relation}")).await.unwrap();
        if *is_table {
            for statement in
                ["INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {}", "SELECT * FROM {} FOR UPDATE"]
            {
                expect_denied(&auditor.url, &statement.replace("{}", relation)).await;
            }
        }
    }
    for statement in [
        "UPDATE geft_sweeper.cancel_attempts SET outcome = 'canceled'",
        "UPDATE geft_sweeper.cancellations SET state = 'failed'",
        "CREATE TABLE geft_sweeper.mine (id int)",
        "SELECT session_id FROM payment_sessions",
        "SELECT * FROM customers",
    ] {
        expect_denied(&auditor.url, statement).await;
    }
    let refused = PgConnection::connect(&url(&shop, &roles.audit)).await.unwrap_err().to_string();
    assert!(refused.contains("not permitted to log in"), "{refused}");
    shop.execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", auditor.name)).await;
    take_down(shop, roles).await;
}
