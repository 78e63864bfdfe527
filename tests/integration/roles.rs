//! `deploy/roles.sql`: each of its roles can do its work and nothing else, proved by trying.

mod audit;
mod missing;
mod runtime;

use std::process::Stdio;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::process::Command;
use uuid::Uuid;

use crate::commands::Shop;

/// What the file says where there is nothing yet to grant rights on.
const RUN_AGAIN: &str = "run `geft-sweeper migrate`";

/// The names of one test's roles: they are the whole server's. With capitals, so that a missing quote shows.
pub(crate) struct Roles {
    pub(crate) owner: String,
    pub(crate) runtime: String,
    pub(crate) audit: String,
}

impl Roles {
    fn new() -> Self {
        let [owner, runtime, audit] =
            ["Owner", "Runtime", "Audit"].map(|name| format!("{name}_{}", Uuid::new_v4().simple()));
        Self { owner, runtime, audit }
    }

    /// Runs the file as a superuser, with these variables beside the names; gives what it says.
    async fn run_file(&self, shop: &Shop, variables: &[(&str, &str)]) -> String {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", "--file"]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/roles.sql"));
        let names = [("owner", &*self.owner), ("runtime", &*self.runtime), ("audit", &*self.audit)];
        for (name, value) in names.iter().chain(variables) {
            command.arg(format!("--set={name}={value}"));
        }
        let done = command.arg(shop.database.url()).stdin(Stdio::null()).output().await.unwrap();
        let complaints = String::from_utf8(done.stderr).unwrap();
        // That the schema is there already is no news.
        let complaints: Vec<_> = complaints.lines().filter(|line| !line.contains("already exists, skipping")).collect();
        assert!(done.status.success() && complaints.is_empty(), "{:?} {complaints:#?}", done.status);
        String::from_utf8(done.stdout).unwrap()
    }
}

/// A shop with more in it than the program is to see, set up as the file's head says.
pub(crate) async fn set_up() -> (Shop, Roles) {
    let (shop, roles) = (Shop::without_schema().await, Roles::new());
    shop.execute("ALTER TABLE payment_sessions ADD card_holder text; CREATE TABLE customers (name text)").await;
    assert!(roles.run_file(&shop, &[]).await.contains(RUN_AGAIN));
    let owner = shop.program().with("database.url", url(&shop, &roles.owner));
    owner.run(["migrate"]).await.expect_code(0);
    assert_eq!(roles.run_file(&shop, &[]).await, "");
    (shop, roles)
}

pub(crate) async fn take_down(shop: Shop, Roles { owner, runtime, audit }: Roles) {
    let drop = |role| format!("DROP OWNED BY \"{role}\" CASCADE; DROP ROLE \"{role}\";");
    shop.execute(&[runtime, audit, owner].map(drop).concat()).await;
    shop.database.close().await;
}

fn url(shop: &Shop, role: &str) -> String {
    shop.database.url().replace("//sweeper@", &format!("//{role}@"))
}

/// Runs a statement as a role.
async fn attempt(url: &str, statement: &str) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
    connection.close().await.unwrap();
    done.map(drop)
}

/// Fails unless the role lacks the right to do it: the guard of the audit table, which refuses with the same code, is not
/// what is asked for here.
async fn expect_denied(url: &str, statement: &str) {
    let error = attempt(url, statement).await.expect_err(statement);
    let said = error.as_database_error().unwrap_or_else(|| panic!("{statement}: {error}"));
    assert_eq!(said.code().as_deref(), Some("42501"), "{statement}: {said}");
    assert!(!said.message().contains("append-only"), "{statement}: {said}");
}

/// Who may do what in the schema, and who owns it: a line for each, in order.
async fn rights(shop: &Shop) -> Vec<String> {
    let rights = "SELECT concat_ws(' ', relname, relowner::regrole, relacl::text) FROM pg_class
         WHERE relnamespace = 'geft_sweeper'::regnamespace AND relkind IN ('r', 'v')
         UNION ALL SELECT concat_ws(' ', proname, proowner::regrole, proacl::text) FROM pg_proc
         WHERE pronamespace = 'geft_sweeper'::regnamespace
         UNION ALL SELECT concat_ws(' ', nspname, nspowner::regrole, nspacl::text) FROM pg_namespace
         UNION ALL SELECT concat_ws(' ', defaclrole::regrole, defaclobjtype, defaclacl::text) FROM pg_default_acl
         UNION ALL SELECT concat_ws(' ', relname, relacl::text) FROM pg_class WHERE relnamespace = 'public'::regnamespace
         UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, attacl::text) FROM pg_attribute WHERE attacl IS NOT NULL
         ORDER BY 1";
    sqlx::query_scalar(rights).fetch_all(shop.database.pool()).await.unwrap()
}

#[tokio::test]
async fn the_file_run_once_more_changes_nothing_but_takes_back_what_is_too_much() {
    let (shop, roles) = set_up().await;
    let before = rights(&shop).await;
    assert!(before.iter().any(|line| line.contains(&roles.runtime)), "{before:#?}");
    assert_eq!(roles.run_file(&shop, &[]).await, "");
    assert_eq!(rights(&shop).await, before);
    shop.execute(&format!(
        "GRANT DELETE ON geft_sweeper.sweeps TO \"{}\"; GRANT SELECT ON geft_sweeper.sweeps TO PUBLIC; GRANT ALL ON payment_sessions TO \"{}\"",
        roles.runtime, roles.audit
    ))
    .await;
    assert_eq!(roles.run_file(&shop, &[]).await, "");
    assert_eq!(rights(&shop).await, before);
    take_down(shop, roles).await;
}

#[tokio::test]
async fn nobody_else_has_any_right_in_the_schema_nor_in_what_its_owner_adds() {
    let (shop, roles) = set_up().await;
    let later = "CREATE TABLE geft_sweeper.later (id int); CREATE FUNCTION geft_sweeper.later() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    attempt(&url(&shop, &roles.owner), later).await.unwrap();
    let everybody = "SELECT count(*) FROM (
        SELECT coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM pg_namespace WHERE nspname = 'geft_sweeper'
        UNION ALL SELECT coalesce(relacl, acldefault('r', relowner)) FROM pg_class
                   WHERE relnamespace = 'geft_sweeper'::regnamespace AND relkind IN ('r', 'v')
        UNION ALL SELECT coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
                   WHERE pronamespace = 'geft_sweeper'::regnamespace) AS stored, aclexplode(acl) AS given
        WHERE given.grantee = 0";
    assert_eq!(shop.value::<i64>(everybody).await, 0);
    let anybody = shop.role("").await;
    expect_denied(&anybody.url, "SELECT count(*) FROM geft_sweeper.cancellations").await;
    expect_denied(&url(&shop, &roles.runtime), "SELECT geft_sweeper.later()").await;
    shop.execute(&format!("DROP ROLE {}", anybody.name)).await;
    take_down(shop, roles).await;
}

#[tokio::test]
async fn the_owner_owns_the_schema_and_can_do_nothing_beside_it() {
    let (shop, roles) = set_up().await;
    let owner = url(&shop, &roles.owner);
    for statement in [
        "SELECT session_id FROM payment_sessions",
        "CREATE TABLE public.mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
    ] {
        expect_denied(&owner, statement).await;
    }
    take_down(shop, roles).await;
}

#[tokio::test]
async fn a_schema_that_the_daemons_role_made_goes_over_to_the_owner() {
    let (shop, roles) = (Shop::without_schema().await, Roles::new());
    let database: String = shop.value("SELECT current_database()::text").await;
    shop.execute(&format!(
        "CREATE ROLE \"{0}\" LOGIN; GRANT CREATE ON DATABASE {database} TO \"{0}\"; GRANT SELECT ON payment_sessions TO \"{0}\"",
        roles.runtime
    ))
    .await;
    let program = shop.program().with("database.url", url(&shop, &roles.runtime));
    program.run(["sweep"]).await.expect_code(0);
    assert_eq!(roles.run_file(&shop, &[]).await, "");
    let others = format!(
        "SELECT count(*) FROM (SELECT nspowner FROM pg_namespace WHERE nspname = 'geft_sweeper'
            UNION ALL SELECT relowner FROM pg_class WHERE relnamespace = 'geft_sweeper'::regnamespace
            UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = 'geft_sweeper'::regnamespace) AS owned (by)
          WHERE by <> '\"{}\"'::regrole",
        roles.owner
    );
    assert_eq!(shop.value::<i64>(&others).await, 0);
    let runtime = url(&shop, &roles.runtime);
    for statement in [
        "DROP TRIGGER append_only ON geft_sweeper.cancel_attempts",
        "CREATE SCHEMA another",
        "SELECT * FROM geft_sweeper.cancel_attempts FOR UPDATE",
    ] {
        expect_denied(&runtime, statement).await;
    }
    program.run(["sweep"]).await.expect_code(0);
    take_down(shop, roles).await;
}

#[tokio::test]
async fn table_and_columns_are_written_as_in_sql_and_can_be_left_to_the_user() {
    let (shop, roles) = (Shop::without_schema().await, Roles::new());
    shop.execute(
        "CREATE SCHEMA \"Web Shop\"; CREATE TABLE \"Web Shop\".\"Payments\" (\"Id\" uuid, ref text, state text, made timestamptz, iban text)",
    )
    .await;
    let variables = [("table", "\"Web Shop\".\"Payments\""), ("columns", "\"Id\", ref, state, made")];
    roles.run_file(&shop, &variables).await;
    let runtime = url(&shop, &roles.runtime);
    attempt(&runtime, "SELECT \"Id\", ref, state, made FROM \"Web Shop\".\"Payments\"").await.unwrap();
    expect_denied(&runtime, "SELECT iban FROM \"Web Shop\".\"Payments\"").await;

    roles.run_file(&shop, &[("table", ""), ("columns", "")]).await;
    expect_denied(&runtime, "SELECT session_id FROM public.payment_sessions").await;
    take_down(shop, roles).await;
}
