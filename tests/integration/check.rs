//! `check`: each wrong set-up is found, together with the others, and nothing is written on the way.

mod source;

use serde_json::Value;

use crate::commands::{MINUTE, SECRET, Shop, geft_sweeper};
use crate::support::{Finished, Program};

/// The lines of a check, as result, name and detail.
#[derive(Debug)]
pub(crate) struct Lines(Vec<[String; 3]>);

impl Lines {
    /// Reads the object, and holds it against its promised shape and the exit status.
    #[track_caller]
    pub(crate) fn of(said: &Finished) -> Self {
        let object = said.json();
        let text = |line: &Value, key: &str| line[key].as_str().expect("text").to_owned();
        let lines = object["checks"].as_array().unwrap().iter();
        let lines: Vec<_> = lines.map(|line| ["result", "name", "detail"].map(|key| text(line, key))).collect();
        assert!(lines.iter().all(|[result, ..]| ["ok", "warn", "fail"].contains(&result.as_str())), "{lines:#?}");
        let ok = !lines.iter().any(|[result, ..]| result == "fail");
        assert_eq!(object["ok"], ok);
        assert_eq!(said.code(), Some(i32::from(!ok)), "{said:#?}");
        Self(lines)
    }

    /// Fails unless there is a line of this result and name whose detail holds all these parts.
    #[track_caller]
    pub(crate) fn expect(&self, result: &str, name: &str, parts: &[&str]) {
        let found = self.0.iter().any(|[its, called, detail]| {
            its == result && called == name && parts.iter().all(|part| detail.contains(part))
        });
        assert!(found, "no {result} {name} with {parts:?} in {self:#?}");
    }

    /// Fails unless these are all the names of lines with this result, in this order.
    #[track_caller]
    fn expect_all(&self, result: &str, names: &[&str]) {
        let found: Vec<_> = self.0.iter().filter(|[its, ..]| its == result).map(|[_, name, _]| name.as_str()).collect();
        assert_eq!(found, names, "{self:#?}");
    }
}

async fn check(program: &Program) -> Lines {
    Lines::of(&program.run(["check", "--json"]).await)
}

#[tokio::test]
async fn where_everything_is_right_all_is_ok() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    let lines = check(&shop.program()).await;
    lines.expect_all("fail", &[]);
    lines.expect_all("warn", &[]);
    for name in [
        "configuration",
        "database",
        "tls",
        "schema",
        "rights",
        "source",
        "plan",
        "notify",
        "status",
        "newest row",
        "environment",
        "api",
        "credentials",
        "clocks",
    ] {
        lines.expect("ok", name, &[]);
    }

    let text = shop.program().run(["check"]).await.expect_code(0);
    assert!(text.stdout.lines().all(|line| line.starts_with("ok  ")), "{}", text.stdout);
    assert_eq!(text.stderr, "");
    shop.database.close().await;
}

#[tokio::test]
async fn check_writes_nothing_and_never_migrates() {
    let (with, without) = (Shop::new().await, Shop::without_schema().await);
    for shop in [&with, &without] {
        let id = shop.add("abandoned", MINUTE).await;
        let before = shop.contents().await;
        shop.program().run(["check"]).await.expect_code(0);
        shop.program().run(["check", "--json"]).await.expect_code(0);
        assert_eq!(shop.contents().await, before);
        assert_eq!(shop.sandbox.cancels(id), 0);
    }
    with.database.close().await;
    without.database.close().await;
}

#[tokio::test]
async fn faults_of_every_kind_are_found_in_one_run() {
    let shop = Shop::without_schema().await;
    let program = shop
        .program()
        .with("database.auto_migrate", false)
        .with("source.table", "public.payment_session")
        .with("api.client_secret", "wrong-hunter")
        .with("log.level", "loud")
        .with("retry.lease", "20s");
    let said = program.run(["check", "--json"]).await;
    let lines = Lines::of(&said);
    lines.expect_all("fail", &["configuration", "configuration", "schema", "source", "credentials"]);
    lines.expect("fail", "configuration", &["retry.lease is 20s, but must be at least"]);
    lines.expect("fail", "configuration", &["log.level is \"loud\", but must be error, warn"]);
    lines.expect("fail", "schema", &["is missing: run `geft-sweeper migrate`"]);
    lines.expect("fail", "source", &["public.payment_session", "payment_sessions"]);
    lines.expect("fail", "credentials", &["see api.client_id and api.client_secret"]);
    lines.expect("ok", "api", &["answers"]);
    assert!(!said.stdout.contains("wrong-hunter") && !said.stderr.contains("wrong-hunter"));
    shop.database.close().await;
}

#[tokio::test]
async fn without_any_configuration_every_setting_that_is_needed_is_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let said = geft_sweeper(folder.path(), &["check"], &[]).await;
    assert_eq!((said.code, said.stdout.lines().count(), said.stderr.as_str()), (Some(1), 5, ""));
    assert!(
        said.stdout.lines().all(|line| line.starts_with("fail  configuration  ") && line.contains("is missing: write"))
    );
}

#[tokio::test]
async fn a_database_that_is_not_there_is_told_beside_an_api_that_is() {
    let shop = Shop::new().await;
    let url = format!("postgres://sweeper:{SECRET}@127.0.0.1:1/shop");
    let said = shop.program().with("database.url", url).run(["check", "--json"]).await;
    let lines = Lines::of(&said);
    lines.expect_all("fail", &["database"]);
    lines.expect("fail", "database", &["127.0.0.1:1", "database.url", "refused"]);
    lines.expect("ok", "credentials", &[]);
    assert!(!said.stdout.contains(SECRET));

    let nowhere = shop.database.url().replace("/test_", "/missing_");
    let lines = check(&shop.program().with("database.url", nowhere)).await;
    lines.expect("fail", "database", &["does not exist", "database.url"]);
    let nobody = shop.database.url().replace("//sweeper@", "//nobody_at_all@");
    let lines = check(&shop.program().with("database.url", nobody)).await;
    lines.expect("fail", "database", &["nobody_at_all", "database.url"]);
    shop.database.close().await;
}

#[tokio::test]
async fn an_sslmode_below_verify_full_is_a_warning_even_where_nobody_answers() {
    let shop = Shop::new().await;
    let weak = ["disable", "allow", "prefer", "require", "verify-ca"].map(|mode| (mode, "warn"));
    for (mode, result) in weak.into_iter().chain([("verify-full", "ok")]) {
        // By its standard that name never leads anywhere.
        let url = format!("postgres://sweeper@db.invalid/shop?sslmode={mode}");
        let lines = check(&shop.program().with("database.url", url)).await;
        lines.expect(result, "tls", if result == "warn" { &["db.invalid", "sslmode=verify-full"] } else { &[] });
        lines.expect_all("fail", &["database"]);
    }
    shop.database.close().await;
}

#[tokio::test]
async fn an_api_that_is_not_there_is_told_with_its_address() {
    let shop = Shop::new().await;
    let lines = check(&shop.program().with("api.base_url", "http://127.0.0.1:1")).await;
    lines.expect_all("fail", &["api", "credentials"]);
    lines.expect("fail", "api", &["http://127.0.0.1:1", "see api.base_url"]);
    lines.expect("ok", "database", &[]);
    shop.database.close().await;
}

#[tokio::test]
async fn a_missing_schema_is_ok_only_where_the_role_may_and_will_make_it() {
    let shop = Shop::without_schema().await;
    check(&shop.program()).await.expect("ok", "schema", &["missing", "`run` and `sweep` create it"]);
    let lines = check(&shop.program().with("database.auto_migrate", false)).await;
    lines.expect("fail", "schema", &["missing", "geft-sweeper migrate"]);

    let role = shop.role("GRANT SELECT ON payment_sessions TO {role}").await;
    let lines = check(&shop.program().with("database.url", role.url.clone())).await;
    lines.expect_all("fail", &["schema"]);
    let database: String = shop.value("SELECT current_database()::text").await;
    let grant = format!("GRANT CREATE ON DATABASE {database} TO {};", role.name);
    lines.expect("fail", "schema", &["missing", "this role may not", &grant]);
    shop.execute(&grant).await;
    check(&shop.program().with("database.url", role.url.clone())).await.expect("ok", "schema", &["missing"]);
    shop.execute(&format!("REVOKE CREATE ON DATABASE {database} FROM {}", role.name)).await;

    // A DBA can make the schema instead, for this role.
    shop.execute(&format!("CREATE SCHEMA geft_sweeper AUTHORIZATION {}", role.name)).await;
    check(&shop.program().with("database.url", role.url.clone())).await.expect("ok", "schema", &["missing"]);
    shop.close_with(role).await;
}

#[tokio::test]
async fn a_newer_schema_is_ok_where_it_says_so_and_else_a_fault() {
    let shop = Shop::new().await;
    shop.execute(crate::migration::A_LATER_MIGRATION).await;
    check(&shop.program()).await.expect("ok", "schema", &["version 1000", "newer", "compatible"]);
    shop.execute("UPDATE geft_sweeper.schema_compatibility SET oldest_program_schema = 1000").await;
    let lines = check(&shop.program()).await;
    lines.expect_all("fail", &["schema"]);
    lines.expect("fail", "schema", &["version 1000", "install a newer geft-sweeper"]);
    shop.database.close().await;
}

#[tokio::test]
async fn every_missing_right_is_told_as_the_grant_that_mends_it() {
    let shop = Shop::new().await;
    let role = shop.role("GRANT SELECT ON payment_sessions TO {role}").await;
    let program = shop.program().with("database.url", role.url.clone());
    // Without any right not even the version can be read, and yet all is told at once.
    let lines = check(&program).await;
    lines.expect("fail", "rights", &["GRANT USAGE ON SCHEMA geft_sweeper TO", &role.name]);
    lines.expect("fail", "rights", &["GRANT SELECT, INSERT ON geft_sweeper.cancel_attempts TO"]);
    let grants: Vec<_> = lines.0.iter().filter(|[_, name, _]| name == "rights").collect();
    assert_eq!(grants.len(), 1 + crate::migration::LEAST_RIGHTS.len(), "{lines:#?}");

    // What it says mends it.
    for [_, _, detail] in grants {
        shop.execute(detail.strip_prefix("a right is missing: ").unwrap()).await;
    }
    let lines = check(&program).await;
    lines.expect_all("fail", &[]);
    lines.expect("ok", "rights", &[]);

    for (table, rights) in crate::migration::LEAST_RIGHTS {
        for right in rights.split(", ") {
            shop.execute(&format!("REVOKE {right} ON geft_sweeper.{table} FROM {}", role.name)).await;
            let lines = check(&program).await;
            let grant = format!("GRANT {right} ON geft_sweeper.{table} TO");
            lines.expect("fail", "rights", &[&grant]);
            shop.execute(&format!("{grant} {}", role.name)).await;
        }
    }
    shop.close_with(role).await;
}
