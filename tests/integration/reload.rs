//! What is read again while the daemon runs: the log level and the secret files, by SIGHUP or because they are refused.

mod rotation;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use geft_sweeper::sandbox::{Answered, Endpoint, Moment};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::support::{Program, Running, Shop, eventually};

const LIMIT: Duration = Duration::from_secs(30);
const EVERY_SECOND: &str = "* * * * * *";

/// A folder with the secret in it.
fn secret_file(secret: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::Builder::new().prefix("geft-sweeper-secret-").tempdir().unwrap();
    let file = folder.path().join("client-secret");
    fs::write(&file, secret).unwrap();
    (folder, file)
}

/// A daemon of this shop that takes its client secret from the file.
fn program(shop: &Shop, client_secret: &Path) -> Program {
    let program = shop.program().with("schedule.sweep", EVERY_SECOND).without("api.client_secret");
    program.with("api.client_secret_file", client_secret.to_str().unwrap())
}

/// Changes the configuration file by hand, as an operator does, and asks to have it read again. Gives the event of its end.
async fn reload(daemon: &Running, file: &Path, change: impl FnOnce(&str) -> String, event: &str) -> serde_json::Value {
    let before = daemon.events(event).len();
    let changed = change(&fs::read_to_string(file).unwrap());
    fs::write(file, changed).unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually(LIMIT, async || daemon.events(event).len() > before).await;
    daemon.events(event).pop().unwrap()
}

fn replacing<'text>(old: &'text str, new: &'text str) -> impl FnOnce(&str) -> String + 'text {
    move |text| {
        assert!(text.contains(old), "{old}: {text}");
        text.replace(old, new)
    }
}

#[tokio::test]
async fn a_hangup_changes_the_log_level_and_names_what_it_leaves_alone() {
    let shop = Shop::new().await;
    let (_folder, secret) = secret_file("secret");
    let program = program(&shop, &secret).with("log.level", "info").with("brakes.max_discovered", 77);
    let daemon = program.start(["run"]);
    eventually(LIMIT, async || daemon.events("sweep.ended").len() > 1).await;
    shop.abandon(1).await;
    eventually(LIMIT, async || shop.number("canceled").await == 1).await;
    assert_eq!(daemon.events("api.request").len(), 0);

    reload(&daemon, &program.config_file(), replacing("level = \"info\"", "level = \"debug\""), "settings.read_again")
        .await;
    assert_eq!(daemon.events("settings.left_alone").len(), 0);
    shop.abandon(1).await;
    eventually(LIMIT, async || !daemon.events("api.request").is_empty()).await;

    let back = |text: &str| {
        replacing("level = \"debug\"", "level = \"info\"")(&replacing("max_discovered = 77", "max_discovered = 78")(
            text,
        ))
    };
    let left = reload(&daemon, &program.config_file(), back, "settings.left_alone").await;
    assert_eq!(left["settings.names"], "brakes.max_discovered");
    let requests = daemon.events("api.request").len();
    shop.abandon(1).await;
    eventually(LIMIT, async || shop.number("canceled").await == 3).await;
    assert_eq!(daemon.events("api.request").len(), requests, "debug lines after the level was info again");
}

#[tokio::test]
async fn a_mistake_changes_nothing_and_is_said_in_one_sentence() {
    let shop = Shop::new().await;
    let (_folder, secret) = secret_file("secret");
    let program = program(&shop, &secret).with("log.level", "info");
    let daemon = program.start(["run"]);
    eventually(LIMIT, async || !daemon.events("sweep.ended").is_empty()).await;

    // The level would be right; another setting is not.
    let both = |text: &str| {
        text.replace("level = \"info\"", "level = \"debug\"").replace("max_age = \"30m\"", "max_age = \"soon\"")
    };
    let refused = reload(&daemon, &program.config_file(), both, "settings.refused").await;
    assert!(refused["message"].as_str().unwrap().contains("source.max_age is \"soon\""), "{refused}");
    let whole = |text: &str| {
        text.replace("max_age = \"soon\"", "max_age = \"30m\"").replace("level = \"debug\"", "level = \"trace\"")
    };
    // And now a secret file that holds nothing.
    fs::write(&secret, "\n").unwrap();
    let refused = reload(&daemon, &program.config_file(), whole, "settings.refused").await;
    assert!(refused["message"].as_str().unwrap().contains("api.client_secret_file holds nothing"), "{refused}");
    let damaged = |_: &str| "[api".to_owned();
    let refused = reload(&daemon, &program.config_file(), damaged, "settings.refused").await;
    assert!(refused["message"].as_str().unwrap().contains("is not valid TOML"), "{refused}");
    fs::remove_file(program.config_file()).unwrap();
    daemon.signal(Signal::SIGHUP);
    eventually(LIMIT, async || daemon.events("settings.refused").len() == 4).await;

    shop.abandon(2).await;
    eventually(LIMIT, async || shop.number("canceled").await == 2).await;
    assert_eq!(daemon.events("settings.read_again").len(), 0);
    assert!(!daemon.stderr().contains("\"DEBUG\"") && !daemon.stderr().contains("\"TRACE\""), "the level was changed");
    daemon.signal(Signal::SIGTERM);
    daemon.finished().await.expect_code(0);
}

#[tokio::test]
async fn after_a_hangup_the_new_secret_is_sent_and_no_token_of_the_old_one() {
    let shop = Shop::new().await;
    let (_folder, secret) = secret_file("secret");
    let program = program(&shop, &secret);
    let daemon = program.start(["run"]);
    shop.abandon(1).await;
    eventually(LIMIT, async || shop.number("canceled").await == 1).await;
    let granted = || shop.provider.counts().answered(Endpoint::Authorize, Answered::Code(200));
    let before = granted();
    // The old token would serve on: nobody has revoked it.
    shop.provider.set_client_secret("rotated".into());
    fs::write(&secret, "rotated\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.logged("\"settings.read_again\"").await;
    shop.abandon(1).await;
    eventually(LIMIT, async || shop.number("canceled").await == 2).await;
    assert_eq!(granted(), before + 1, "a token for the new secret: {}", daemon.stderr());
    assert_eq!(shop.provider.counts().answered(Endpoint::Authorize, Answered::Code(401)), 0, "{}", daemon.stderr());
}

#[tokio::test]
async fn a_hangup_ends_a_sweep_as_it_ends_every_other_command() {
    let shop = Shop::new().await;
    shop.abandon(1).await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let sweep = shop.program().start(["sweep"]);
    shop.held(Endpoint::Cancel, 1).await;
    sweep.signal(Signal::SIGHUP);
    assert_eq!(sweep.finished().await.code(), None, "ended by the signal itself");
    hold.release();
}
