//! The role of the program: it runs every command, and can do nothing that no command does.

use std::collections::BTreeSet;
use std::time::Duration;

use geft_sweeper::sandbox::{EndpointFaults, Fault, Faults};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Roles, expect_denied, set_up, take_down, url};
use crate::commands::{MINUTE, Shop};
use crate::migration::LEAST_RIGHTS;
use crate::support::{Program, eventually};

const LIMIT: Duration = Duration::from_secs(30);

fn program(shop: &Shop, roles: &Roles) -> Program {
    shop.program().with("database.url", url(shop, &roles.runtime))
}

#[tokio::test]
async fn it_has_the_rights_that_the_program_needs_and_no_others() {
    let (shop, roles) = set_up().await;
    let given = format!(
        "SELECT concat_ws(' ', relname, privilege_type) FROM pg_class, aclexplode(relacl)
          WHERE relnamespace = 'geft_sweeper'::regnamespace AND grantee = '\"{0}\"'::regrole
         UNION ALL SELECT concat_ws(' ', nspname, privilege_type) FROM pg_namespace, aclexplode(nspacl)
          WHERE grantee = '\"{0}\"'::regrole
         UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, privilege_type) FROM pg_attribute, aclexplode(attacl)
          WHERE grantee = '\"{0}\"'::regrole
         UNION ALL SELECT concat_ws(' ', proname, privilege_type) FROM pg_proc, aclexplode(proacl)
          WHERE grantee = '\"{0}\"'::regrole",
        roles.runtime
    );
    let given: Vec<String> =
        sqlx::query_scalar(sqlx::AssertSqlSafe(given)).fetch_all(shop.database.pool()).await.unwrap();
    let needed =
        LEAST_RIGHTS.iter().flat_map(|(table, rights)| rights.split(", ").map(move |one| format!("{table} {one}")));
    let schemas = ["geft_sweeper USAGE", "public USAGE"].map(str::to_owned);
    let columns = ["session_id", "reference_id", "status", "created_at"];
    let columns = columns.map(|column| format!("payment_sessions {column} SELECT"));
    let needed: BTreeSet<String> = needed.chain(schemas).chain(columns).collect();
    assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), needed);
    take_down(shop, roles).await;
}

#[tokio::test]
async fn it_runs_every_command_and_check_finds_nothing_missing() {
    let (shop, roles) = set_up().await;
    let program = program(&shop, &roles)
        .with("api.max_requests_per_second", 1000.0)
        .with("retry.initial_interval", "10ms")
        .with("retry.max_attempts", 2);
    let paid = shop.add("abandoned", MINUTE).await;
    shop.sandbox.set_status(paid, "Completed", None).unwrap();
    shop.add("created", 60 * MINUTE).await;
    let fault: Fault = "500".parse().unwrap();
    let twice = EndpointFaults::first([fault, fault]);
    shop.sandbox.set_faults(Faults { cancel: twice, ..Faults::default() }).unwrap();

    let found = program.run(["check", "--json"]).await.expect_code(0).json();
    let is_ok = |line: &Value| line["result"] == "ok";
    assert!(found["checks"].as_array().unwrap().iter().all(is_ok), "{found:#}");
    assert_eq!(program.run(["sweep", "--dry-run", "--json"]).await.expect_code(0).json()["would_cancel"], 2);
    let report = program.run(["sweep", "--wait", "1m", "--json"]).await.expect_code(0).json();
    assert_eq!(report["discovered"], 2, "{report}");
    program.run(["allow", "5", "--actor", "somebody"]).await.expect_code(0);
    program.run(["accept-api", "--actor", "somebody", "--retire"]).await.expect_code(0);
    program.run(["accept-api", "--actor", "somebody"]).await.expect_code(0);
    program.run(["requeue", "--outcome", "server_error", "--since", "1h"]).await.expect_code(0);
    let program = program.with("database.auto_migrate", false);
    let said = program.run(["sweep", "--wait", "1m"]).await.expect_code(0);
    assert!(!said.stderr.contains("permission denied"), "{}", said.stderr);
    let status = program.run(["status", "--json"]).await.expect_code(0).json();
    assert_eq!((&status["backlog"]["canceled"], &status["backlog"]["already_terminal"]), (&1.into(), &1.into()));
    let said = program.run(["migrate"]).await.expect_code(0);
    assert!(said.stdout.contains("nothing was written"), "{}", said.stdout);
    take_down(shop, roles).await;
}

/// Names and sessions of other roles are hidden in parts; what tells the living from the dead is not.
#[tokio::test]
async fn its_daemons_see_each_other_and_close_the_sweeps_of_the_dead_alone() {
    let (shop, roles) = set_up().await;
    let program = program(&shop, &roles).with("schedule.sweep", "* * * * * *");
    let (living, killed) = (program.start(["run"]), program.start(["run"]));
    living.logged("\"sweep.ended\"").await;
    killed.logged("\"sweep.ended\"").await;
    let alive = async |role: &str| {
        let program = shop.program().with("database.url", url(&shop, role));
        let status = program.run(["status", "--json"]).await.expect_code(0).json();
        status["processes"].as_array().unwrap().len()
    };
    eventually(LIMIT, async || alive(&roles.runtime).await == 2 && alive(&roles.owner).await == 2).await;

    killed.signal(Signal::SIGKILL);
    let instance = killed.events("process.started")[0]["process.instance"].as_str().unwrap().to_owned();
    assert_eq!(killed.finished().await.code(), None);
    // As if it had died in a sweep, whatever it was doing.
    shop.execute(&format!("UPDATE geft_sweeper.sweeps SET status = 'running' WHERE instance = '{instance}'")).await;
    let closed =
        format!("SELECT bool_and(status = 'interrupted') FROM geft_sweeper.sweeps WHERE instance = '{instance}'");
    eventually(LIMIT, async || shop.value::<bool>(&closed).await).await;
    eventually(LIMIT, async || alive(&roles.runtime).await == 1 && alive(&roles.owner).await == 1).await;
    let others = format!(
        "SELECT count(*) FROM geft_sweeper.sweeps WHERE instance <> '{instance}' AND status NOT IN ('running', 'finished')"
    );
    assert_eq!(shop.value::<i64>(&others).await, 0, "a process that is alive was taken for a dead one");
    living.signal(Signal::SIGTERM);
    living.finished().await.expect_code(0);
    take_down(shop, roles).await;
}

/// Each of these is valid: only the right is missing.
const FORBIDDEN: [&str; 29] = [
    // The audit trail and its guard.
    "UPDATE geft_sweeper.cancel_attempts SET outcome = 'canceled'",
    "DELETE FROM geft_sweeper.cancel_attempts",
    "TRUNCATE geft_sweeper.cancel_attempts",
    "ALTER TABLE geft_sweeper.cancel_attempts DISABLE TRIGGER append_only",
    "DROP TRIGGER append_only ON geft_sweeper.cancel_attempts",
    "DROP TABLE geft_sweeper.cancel_attempts",
    "ALTER TABLE geft_sweeper.cancel_attempts RENAME TO elsewhere",
    "CREATE OR REPLACE FUNCTION geft_sweeper.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "SET session_replication_role = replica",
    // The rest of the ledger.
    "DELETE FROM geft_sweeper.cancellations",
    "DELETE FROM geft_sweeper.sweeps",
    "DELETE FROM geft_sweeper.allowances",
    "DELETE FROM geft_sweeper.accepted_apis",
    "UPDATE geft_sweeper.intakes SET sessions = 1",
    "UPDATE geft_sweeper.schema_compatibility SET oldest_program_schema = 9",
    "DELETE FROM geft_sweeper._sqlx_migrations",
    // The merchant's tables.
    "SELECT card_holder FROM payment_sessions",
    "SELECT * FROM payment_sessions",
    "SELECT payment_sessions FROM payment_sessions",
    "SELECT session_id FROM payment_sessions FOR UPDATE",
    "UPDATE payment_sessions SET status = 'paid'",
    "INSERT INTO payment_sessions (session_id) VALUES (gen_random_uuid())",
    "DELETE FROM payment_sessions",
    "SELECT * FROM customers",
    // Anything new.
    "CREATE TABLE geft_sweeper.mine (id int)",
    "CREATE TABLE public.mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "COPY (SELECT 1) TO PROGRAM 'true'",
];

#[tokio::test]
async fn it_can_do_nothing_else() {
    let (shop, roles) = set_up().await;
    shop.add("abandoned", MINUTE).await;
    program(&shop, &roles).run(["sweep"]).await.expect_code(0);
    let before = shop.contents().await;
    let runtime = url(&shop, &roles.runtime);
    for statement in FORBIDDEN {
        expect_denied(&runtime, statement).await;
    }
    for role in [&roles.owner, &roles.audit] {
        expect_denied(&runtime, &format!("SET ROLE \"{role}\"")).await;
    }
    assert_eq!(shop.contents().await, before);
    take_down(shop, roles).await;
}
