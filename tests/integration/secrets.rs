//! No secret in any output: logs at every level, standard output, the tables, and what is served over HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use geft_sweeper::postgres::{Options, PrivatePostgres};
use geft_sweeper::sandbox::{EndpointFaults, Faults, Kind};
use nix::sys::signal::Signal;

use crate::support::{Program, Shop, eventually};

const LIMIT: Duration = Duration::from_secs(30);
const CLIENT_SECRET: &str = "client-Pa55phrase+/of=the#API";
const WRONG_SECRET: &str = "wrong-Pa55phrase+/of=the#API";
const PASSWORD: &str = "database-Pa55phrase";
const WRONG_PASSWORD: &str = "database-Mi5take";
const HEADER: &str = "header-Pa55phrase";

/// Every way to ask for logs: the program's own levels, and everything that its libraries can say.
const LEVELS: [&str; 4] = ["info", "debug", "trace", "trace,hyper=trace,reqwest=trace,sqlx=trace,h2=trace"];

/// Everything that must not be found anywhere. The sandbox's tokens all begin alike.
fn secrets() -> Vec<String> {
    let basic = |secret| BASE64_STANDARD.encode(format!("client:{secret}"));
    let mut secrets = [CLIENT_SECRET, WRONG_SECRET, PASSWORD, WRONG_PASSWORD, HEADER].map(str::to_owned).to_vec();
    secrets.extend([basic(CLIENT_SECRET), basic(WRONG_SECRET)]);
    secrets.extend((1..10).map(|number| format!("sandbox-{number}-")));
    secrets
}

/// Fails where a secret is found, and shows the line.
#[track_caller]
fn assert_clean(place: &str, text: &str) {
    for secret in secrets() {
        let found: Vec<_> = text.lines().filter(|line| line.contains(&secret)).collect();
        assert!(found.is_empty(), "{secret} in {place}: {found:#?}");
    }
}

/// A database that asks `shopkeeper` for a password, and a shop on it.
async fn guarded() -> (PrivatePostgres, tempfile::TempDir, Shop) {
    let folder = tempfile::Builder::new().prefix("geft-sweeper-hba-").tempdir_in("/tmp").unwrap();
    let rules = folder.path().join("pg_hba.conf");
    fs::write(&rules, "local all shopkeeper scram-sha-256\nlocal all all trust\n").unwrap();
    // The server runs as another user where the tests run as root.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let options = Options::not_durable().with("hba_file", format!("'{}'", rules.display()));
    let server = PrivatePostgres::start(options).await.unwrap();
    let shop = Shop::on(&server.url("postgres")).await;
    let role = format!("CREATE ROLE shopkeeper SUPERUSER LOGIN PASSWORD '{PASSWORD}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(role)).execute(shop.pool()).await.unwrap();
    (server, folder, shop)
}

fn url(server: &PrivatePostgres, password: &str) -> String {
    server.url("postgres").replace("sweeper@", &format!("shopkeeper:{password}@"))
}

/// A provider that refuses the first cancels of each session and repeats the token in the refusal.
fn careless() -> Faults {
    let cancel = EndpointFaults::first([Kind::Code(422), Kind::Code(500)]);
    Faults { cancel, status: EndpointFaults::first([Kind::Code(400)]), echo_token: true, ..Faults::default() }
}

fn program(server: &PrivatePostgres, shop: &Shop) -> Program {
    let headers = toml::Table::from_iter([("x-api-key".to_owned(), HEADER.into())]);
    shop.program()
        .with("database.url", url(server, PASSWORD))
        .with("api.client_secret", CLIENT_SECRET)
        .with("api.headers", headers)
        .with("retry.initial_interval", "50ms")
        .with("schedule.sweep", "* * * * * *")
        .with("server.listen", "127.0.0.1:0")
}

/// Each command once at this level and in this form, over sessions whose first requests are refused.
async fn every_command(program: &Program, shop: &Shop) {
    for arguments in [&["check"][..], &["sweep", "--wait", "30s"], &["sweep", "--dry-run"], &["status"]] {
        shop.abandon(3).await;
        let running = match arguments {
            [one] => program.start([*one]),
            [one, two] => program.start([*one, *two]),
            _ => program.start(["sweep", "--wait", "30s"]),
        };
        let ended = running.finished().await.expect_code(0);
        assert_clean(&format!("{arguments:?}"), &(ended.stdout + &ended.stderr));
    }
    let before = shop.number("canceled").await;
    shop.abandon(3).await;
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    eventually(LIMIT, async || shop.number("canceled").await >= before + 3).await;
    for path in ["/metrics", "/readyz", "/healthz"] {
        assert_clean(path, &endpoints.get(path).await.1);
    }
    daemon.signal(Signal::SIGTERM);
    let ended = daemon.finished().await.expect_code(0);
    assert_clean("run", &(ended.stdout + &ended.stderr));
}

/// Everything in the ledger's tables, as text.
async fn tables(shop: &Shop) -> String {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'geft_sweeper'",
    )
    .fetch_all(shop.pool())
    .await
    .unwrap();
    let mut all = Vec::new();
    for name in names {
        let rows = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {name} t"));
        all.extend(sqlx::query_scalar::<_, String>(rows).fetch_all(shop.pool()).await.unwrap());
    }
    all.join("\n")
}

#[tokio::test]
async fn no_secret_is_in_any_output_at_any_level() {
    let (server, _folder, shop) = guarded().await;
    shop.provider.set_client_secret(CLIENT_SECRET.into());
    shop.provider.set_faults(careless()).unwrap();
    for (level, format) in LEVELS.into_iter().zip(["json", "pretty", "json", "json"]) {
        every_command(&program(&server, &shop).with("log.level", level).with("log.format", format), &shop).await;
    }
    let tables = tables(&shop).await;
    assert!(tables.contains("refused: Bearer [redacted]"), "the provider repeated the token: {tables}");
    assert_clean("the tables", &tables);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn refused_credentials_are_not_repeated() {
    let (server, _folder, shop) = guarded().await;
    shop.provider.set_client_secret(CLIENT_SECRET.into());
    shop.provider.set_faults(careless()).unwrap();
    shop.abandon(3).await;
    for level in LEVELS {
        let program = program(&server, &shop).with("api.client_secret", WRONG_SECRET).with("log.level", level);
        for command in ["check", "sweep"] {
            let ended = program.run([command]).await.expect_code(1);
            assert_clean(command, &(ended.stdout + &ended.stderr));
        }
        let daemon = program.start(["run"]);
        let endpoints = daemon.endpoints().await;
        daemon.logged("sending.held_back").await;
        assert_clean("/readyz", &endpoints.get("/readyz").await.1);
        daemon.signal(Signal::SIGTERM);
        assert_clean("run", &daemon.finished().await.expect_code(0).stderr);
    }
    assert_clean("the tables", &tables(&shop).await);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_database_password_is_not_repeated() {
    let (server, _folder, shop) = guarded().await;
    for level in LEVELS {
        let program =
            program(&server, &shop).with("database.url", url(&server, WRONG_PASSWORD)).with("log.level", level);
        for command in ["check", "sweep", "status", "migrate"] {
            let ended = program.run([command]).await.expect_code(1);
            let said = ended.stdout + &ended.stderr;
            assert!(said.contains("password authentication failed"), "{command}: {said}");
            assert_clean(command, &said);
        }
        let daemon = program.start(["run"]);
        let endpoints = daemon.endpoints().await;
        daemon.logged("part.ill").await;
        assert_clean("/readyz", &endpoints.get("/readyz").await.1);
        daemon.signal(Signal::SIGTERM);
        assert_clean("run", &daemon.finished().await.expect_code(1).stderr);
    }
    server.stop().await.unwrap();
}
