//! The schema: who makes it, what it promises, and that nobody writes where nothing is to be done.

mod schema;

use geft_sweeper::sandbox::{EndpointFaults, Fault, Faults};

use crate::commands::{MINUTE, Shop};

/// What a role needs to run the program on a schema that is current, beside USAGE on the schema and SELECT on the source.
pub(crate) const LEAST_RIGHTS: [(&str, &str); 15] = [
    ("_sqlx_migrations", "SELECT"),
    ("schema_compatibility", "SELECT"),
    ("processes", "SELECT, INSERT, UPDATE, DELETE"),
    ("sweeps", "SELECT, INSERT, UPDATE"),
    ("cancellations", "SELECT, INSERT, UPDATE"),
    ("claims", "SELECT, INSERT, UPDATE, DELETE"),
    ("cancel_attempts", "SELECT, INSERT"),
    ("paid_after_abandonment", "SELECT"),
    ("discovery", "SELECT, INSERT, UPDATE"),
    ("request_slots", "SELECT, UPDATE"),
    ("holds", "SELECT, INSERT, UPDATE, DELETE"),
    ("brakes", "SELECT, INSERT, UPDATE, DELETE"),
    ("intakes", "SELECT, INSERT, DELETE"),
    ("allowances", "SELECT, INSERT, UPDATE"),
    ("accepted_apis", "SELECT, INSERT, UPDATE"),
];

/// A migration of a later program, which ours can live with.
pub(crate) const A_LATER_MIGRATION: &str = "INSERT INTO geft_sweeper._sqlx_migrations
    (version, description, success, checksum, execution_time) VALUES (1000, 'later', true, '', 0);
    ALTER TABLE geft_sweeper.sweeps ADD COLUMN later text";

/// Those rights, for `{role}`.
pub(crate) fn grants() -> String {
    let tables = LEAST_RIGHTS.map(|(table, rights)| format!("GRANT {rights} ON geft_sweeper.{table} TO {{role}};"));
    format!("GRANT USAGE ON SCHEMA geft_sweeper TO {{role}}; {}", tables.concat())
}

#[tokio::test]
async fn migrate_makes_the_schema_says_so_and_the_second_time_writes_nothing() {
    let shop = Shop::without_schema().await;
    let said = shop.program().run(["migrate"]).await.expect_code(0);
    assert_eq!(said.stdout, "created the schema geft_sweeper, at version 3\n");
    assert_eq!(said.stderr, "");
    let before = shop.contents().await;
    let said = shop.program().run(["migrate"]).await.expect_code(0);
    assert_eq!(said.stdout, "the schema geft_sweeper is current, at version 3: nothing was written\n");
    assert_eq!(shop.contents().await, before);
    shop.expect_no_request();
    shop.database.close().await;
}

#[tokio::test]
async fn of_five_processes_that_migrate_at_once_one_does_it_and_none_fails() {
    let shop = Shop::without_schema().await;
    let programs: [_; 5] = std::array::from_fn(|_| shop.program());
    let running: Vec<_> = programs.iter().map(|program| program.start(["migrate"])).collect();
    let mut said = Vec::new();
    for one in running {
        said.push(one.finished().await.expect_code(0).stdout);
    }
    let made = said.iter().filter(|text| text.starts_with("created the schema")).count();
    let found = said.iter().filter(|text| text.contains("nothing was written")).count();
    assert_eq!((made, found), (1, 4), "{said:#?}");
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper._sqlx_migrations").await, 3);
    shop.database.close().await;
}

#[tokio::test]
async fn five_sweeps_at_once_on_a_new_database_make_one_schema_and_cancel_once() {
    let shop = Shop::without_schema().await;
    let id = shop.add("abandoned", MINUTE).await;
    let programs: [_; 5] = std::array::from_fn(|_| shop.program());
    let running: Vec<_> = programs.iter().map(|program| program.start(["sweep"])).collect();
    for one in running {
        one.finished().await.expect_code(0);
    }
    assert_eq!(shop.sandbox.cancels(id), 1);
    shop.database.close().await;
}

#[tokio::test]
async fn a_role_with_the_least_rights_runs_every_command_on_a_current_schema() {
    let shop = Shop::new().await;
    shop.execute("ALTER TABLE payment_sessions ADD updated_at timestamptz DEFAULT now()").await;
    let role = shop.role(&format!("{} GRANT SELECT ON payment_sessions TO {{role}}", grants())).await;
    let mut columns = toml::Table::new();
    columns.insert("updated_at".to_owned(), "updated_at".into());
    let program = shop
        .program()
        .with("database.url", role.url.clone())
        .with("source.columns", columns)
        .with("api.max_requests_per_second", 1000.0)
        .with("retry.initial_interval", "10ms")
        .with("retry.max_attempts", 2)
        .with("brakes.max_discovered", 1);
    let paid = shop.add("abandoned", MINUTE).await;
    shop.sandbox.set_status(paid, "Completed", None).unwrap();
    shop.add("abandoned", MINUTE).await;
    let fault: Fault = "500".parse().unwrap();
    let twice = EndpointFaults::first([fault, fault]);
    shop.sandbox.set_faults(Faults { cancel: twice, ..Faults::default() }).unwrap();

    program.run(["migrate"]).await.expect_code(0);
    program.run(["check"]).await.expect_code(0);
    program.run(["sweep", "--dry-run"]).await.expect_code(0);
    program.run(["sweep"]).await.expect_code(1);
    program.run(["allow", "1", "--actor", "jane"]).await.expect_code(0);
    let report = program.run(["sweep", "--wait", "1m", "--json"]).await.expect_code(0).json();
    let counts = ["discovered", "retried", "failed", "paid_after_abandonment"].map(|name| report[name].as_i64());
    assert_eq!(counts[0], Some(2), "{report}");
    program.run(["requeue", "--outcome", "server_error", "--since", "1h"]).await.expect_code(0);
    let said = program.run(["sweep", "--wait", "1m"]).await.expect_code(0);
    assert!(!said.stderr.contains("permission denied"), "{}", said.stderr);
    let status = program.run(["status", "--json"]).await.expect_code(0).json();
    assert_eq!(status["backlog"]["canceled"], 1, "{status}");
    assert_eq!(status["backlog"]["already_terminal"], 1, "{status}");
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.processes").await, 0, "it has said goodbye");
    shop.close_with(role).await;
}

#[tokio::test]
async fn a_role_that_may_not_make_the_schema_is_told_so() {
    let shop = Shop::without_schema().await;
    let role = shop.role("GRANT SELECT ON payment_sessions TO {role}").await;
    let program = shop.program().with("database.url", role.url.clone());
    for command in ["migrate", "sweep"] {
        let said = program.run([command]).await.expect_code(1);
        assert_eq!((said.stdout.as_str(), said.stderr.lines().count()), ("", 1), "{said:#?}");
        assert!(said.stderr.contains("the schema geft_sweeper could not be brought up to date: "), "{}", said.stderr);
        assert!(said.stderr.contains("permission denied for database"), "{}", said.stderr);
        assert!(said.stderr.contains("`geft-sweeper check` names the GRANT"), "{}", said.stderr);
    }
    shop.close_with(role).await;
}

#[tokio::test]
async fn a_schema_that_a_dba_made_for_the_role_is_filled_without_rights_on_the_database() {
    let shop = Shop::without_schema().await;
    let role =
        shop.role("GRANT SELECT ON payment_sessions TO {role}; CREATE SCHEMA geft_sweeper AUTHORIZATION {role}").await;
    let program = shop.program().with("database.url", role.url.clone());
    shop.add("abandoned", MINUTE).await;
    assert_eq!(program.run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 1);
    let said = program.run(["migrate"]).await.expect_code(0);
    assert!(said.stdout.contains("nothing was written"), "{}", said.stdout);
    shop.close_with(role).await;
}

#[tokio::test]
async fn a_newer_schema_that_declares_itself_compatible_is_worked_with_and_left_alone() {
    let shop = Shop::new().await;
    shop.execute(A_LATER_MIGRATION).await;
    shop.add("abandoned", MINUTE).await;
    let said = shop.program().run(["migrate"]).await.expect_code(0);
    assert!(said.stdout.contains("at version 1000, newer than this program's 3"), "{}", said.stdout);
    assert_eq!(shop.program().run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 1);
    shop.program().run(["status"]).await.expect_code(0);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper._sqlx_migrations").await, 4);
    shop.database.close().await;
}

#[tokio::test]
async fn a_newer_schema_that_is_not_compatible_is_refused_with_the_mend() {
    let shop = Shop::new().await;
    shop.execute(A_LATER_MIGRATION).await;
    shop.execute("UPDATE geft_sweeper.schema_compatibility SET oldest_program_schema = 1000").await;
    shop.add("abandoned", MINUTE).await;
    let before = shop.contents().await;
    for command in ["migrate", "sweep", "status"] {
        let said = shop.program().run([command]).await.expect_code(1);
        assert_eq!((said.stdout.as_str(), said.stderr.lines().count()), ("", 1), "{said:#?}");
        assert!(said.stderr.contains("at version 1000") && said.stderr.contains("install a newer geft-sweeper"));
    }
    assert_eq!(shop.contents().await, before);
    shop.expect_no_request();
    shop.database.close().await;
}
