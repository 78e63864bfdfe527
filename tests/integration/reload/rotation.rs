//! A rotation without a restart and without a signal: what is refused is read again from its file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use geft_sweeper::postgres::{Options, PrivatePostgres};
use geft_sweeper::sandbox::{Answered, Endpoint, Moment};
use nix::sys::signal::Signal;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use super::{EVERY_SECOND, LIMIT, program, secret_file};
use crate::support::{Program, Shop, eventually};

#[tokio::test]
async fn a_client_secret_that_is_refused_is_read_again() {
    let shop = Shop::new().await;
    let (_folder, secret) = secret_file("secret");
    let daemon = program(&shop, &secret).start(["run"]);
    shop.abandon(1).await;
    eventually(LIMIT, async || shop.number("canceled").await == 1).await;
    fs::write(&secret, "rotated\n").unwrap();
    shop.provider.set_client_secret("rotated".into());
    shop.provider.revoke_tokens();
    shop.abandon(3).await;
    eventually(LIMIT, async || shop.number("canceled").await == 4).await;
    assert_eq!(daemon.events("secret.replaced").len(), 1, "{}", daemon.stderr());
    assert_eq!(daemon.events("sending.held_back").len(), 0, "it was noticed before sending was held back");
    let refused = shop.provider.counts().answered(Endpoint::Authorize, Answered::Code(401));
    assert_eq!(refused, 1, "the old secret was sent once more: {}", daemon.stderr());
    assert!(!daemon.stderr().contains("rotated\""), "{}", daemon.stderr());
}

#[tokio::test]
async fn a_file_that_comes_late_is_looked_for_with_each_attempt_to_find_out() {
    let shop = Shop::new().await;
    let (_folder, secret) = secret_file("secret");
    shop.provider.set_client_secret("rotated".into());
    shop.abandon(2).await;
    let daemon = program(&shop, &secret).start(["run"]);
    daemon.logged("\"sending.held_back\"").await;
    let refused = || shop.provider.counts().answered(Endpoint::Authorize, Answered::Code(401));
    assert_eq!(refused(), 1, "no tight loop: {}", daemon.stderr());
    fs::write(&secret, "rotated\n").unwrap();
    eventually(LIMIT, async || shop.number("canceled").await == 2).await;
    assert_eq!(refused(), 1, "it was read before it was sent: {}", daemon.stderr());
    assert_eq!(daemon.events("sending.resumed").len(), 1, "{}", daemon.stderr());
}

#[tokio::test]
async fn corrected_credentials_need_not_wait_for_the_next_attempt_after_a_hangup() {
    let shop = Shop::new().await;
    let (_folder, secret) = secret_file("wrong");
    shop.abandon(1).await;
    let daemon = program(&shop, &secret).start(["run"]);
    daemon.logged("\"sending.held_back\"").await;
    fs::write(&secret, "secret").unwrap();
    let since = Instant::now();
    daemon.signal(Signal::SIGHUP);
    eventually(LIMIT, async || shop.number("canceled").await == 1).await;
    assert!(since.elapsed() < Duration::from_secs(9), "the cool-down is ten seconds: {:?}", since.elapsed());
}

#[tokio::test]
async fn a_sweep_goes_on_with_a_secret_that_was_rotated_under_it() {
    let shop = Shop::new().await;
    let (_folder, secret) = secret_file("secret");
    shop.abandon(2).await;
    let hold = shop.provider.hold(Endpoint::Authorize, Moment::BeforeEffect);
    let sweep = program(&shop, &secret).start(["sweep"]);
    shop.held(Endpoint::Authorize, 1).await;
    shop.provider.set_client_secret("rotated".into());
    fs::write(&secret, "rotated").unwrap();
    hold.release();
    sweep.finished().await.expect_code(0);
    assert_eq!(shop.number("canceled").await, 2);
}

/// A database that asks `shopkeeper` for a password, a shop on it, and the daemon of that shop with the URL in a file.
struct Guarded {
    server: PrivatePostgres,
    shop: Shop,
    program: Program,
    url_file: PathBuf,
    _folder: TempDir,
}

impl Guarded {
    async fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("geft-sweeper-hba-").tempdir_in("/tmp").unwrap();
        let rules = folder.path().join("pg_hba.conf");
        fs::write(&rules, "local all shopkeeper scram-sha-256\nlocal all all trust\n").unwrap();
        // The server runs as another user where the tests run as root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let options = Options::not_durable().with("hba_file", format!("'{}'", rules.display()));
        let server = PrivatePostgres::start(options).await.unwrap();
        let shop = Shop::on(&server.url("postgres")).await;
        let url_file = folder.path().join("database-url");
        let program = shop.program().with("schedule.sweep", EVERY_SECOND).without("database.url");
        let program = program.with("database.url_file", url_file.to_str().unwrap());
        let guarded = Self { server, shop, program, url_file, _folder: folder };
        guarded.execute("CREATE ROLE shopkeeper SUPERUSER LOGIN").await;
        guarded.rotate_role("first").await;
        guarded.rotate_file("first");
        guarded
    }

    async fn execute(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(self.shop.pool()).await.unwrap();
    }

    async fn rotate_role(&self, password: &str) {
        self.execute(&format!("ALTER ROLE shopkeeper PASSWORD '{password}'")).await;
    }

    fn rotate_file(&self, password: &str) {
        let url = self.server.url("postgres").replace("sweeper@", &format!("shopkeeper:{password}@"));
        fs::write(&self.url_file, url).unwrap();
    }

    /// Cuts every connection of the program.
    async fn cut(&self) {
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shopkeeper'").await;
    }

    async fn cancels_one_more(&self) {
        let before = self.shop.number("canceled").await;
        self.shop.abandon(1).await;
        eventually(LIMIT, async || self.shop.number("canceled").await == before + 1).await;
    }
}

#[tokio::test]
async fn a_password_that_the_database_refuses_is_read_again() {
    let guarded = Guarded::new().await;
    let daemon = guarded.program.start(["run"]);
    guarded.cancels_one_more().await;
    guarded.rotate_file("second");
    guarded.rotate_role("second").await;
    guarded.cancels_one_more().await;
    guarded.cut().await;
    guarded.cancels_one_more().await;
    assert_eq!(daemon.events("secret.replaced").len(), 1, "{}", daemon.stderr());
    assert_eq!(daemon.events("secret.replaced")[0]["secret.section"], "database");

    // The file comes late: until then nothing works, and it is looked for with each try.
    guarded.rotate_role("third").await;
    guarded.cut().await;
    eventually(LIMIT, async || daemon.stderr().contains("password authentication failed")).await;
    guarded.rotate_file("third");
    guarded.cancels_one_more().await;
    assert_eq!(daemon.events("secret.replaced").len(), 2, "{}", daemon.stderr());
    assert!(!["first", "second", "third"].iter().any(|password| daemon.stderr().contains(password)));
    guarded.server.stop().await.unwrap();
}

#[tokio::test]
async fn a_result_on_its_way_is_written_with_the_password_that_was_rotated_meanwhile() {
    let guarded = Guarded::new().await;
    let session = guarded.shop.abandon(1).await[0];
    let hold = guarded.shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    let daemon = guarded.program.start(["run"]);
    guarded.shop.held(Endpoint::Cancel, 1).await;
    guarded.rotate_role("second").await;
    guarded.cut().await;
    hold.release();
    daemon.logged("\"ledger.not_writing\"").await;
    guarded.rotate_file("second");
    eventually(LIMIT, async || guarded.shop.number("canceled").await == 1).await;
    assert_eq!(guarded.shop.outcomes(session).await, ["canceled"], "{}", daemon.stderr());
    guarded.server.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_hangup_new_connections_are_made_with_the_new_password() {
    let guarded = Guarded::new().await;
    let daemon = guarded.program.start(["run"]);
    guarded.cancels_one_more().await;
    guarded.rotate_role("second").await;
    guarded.rotate_file("second");
    daemon.signal(Signal::SIGHUP);
    daemon.logged("\"settings.read_again\"").await;
    guarded.cut().await;
    guarded.cancels_one_more().await;
    assert!(!daemon.stderr().contains("password authentication failed"), "{}", daemon.stderr());
    assert_eq!(daemon.events("secret.replaced").len(), 0, "it was not refused");

    // Another database is where nothing of this process is: that takes a restart.
    let elsewhere = fs::read_to_string(&guarded.url_file).unwrap().replace("/postgres?", "/template1?");
    fs::write(&guarded.url_file, elsewhere).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.logged("\"settings.refused\"").await;
    let refused = daemon.events("settings.refused")[0]["message"].as_str().unwrap().to_owned();
    assert!(refused.contains("names another server or database now"), "{refused}");
    guarded.cancels_one_more().await;
    guarded.server.stop().await.unwrap();
}
