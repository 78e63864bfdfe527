//! 0: it ran to its end. 1: it could not run. 2: the command line or the configuration is wrong.

use geft_sweeper::sandbox::{EndpointFaults, Fault, Faults};

use super::{MINUTE, SECRET, Shop, geft_sweeper};
use crate::support::Program;

const COMMANDS: [&str; 9] = ["run", "sweep", "migrate", "check", "status", "requeue", "allow", "sandbox", "demo"];

/// The commands that need a configuration, with arguments that are right.
const CONFIGURED: [&[&str]; 7] = [
    &["run"],
    &["sweep"],
    &["sweep", "--dry-run"],
    &["migrate"],
    &["status"],
    &["requeue", "--session", "7d444840-9dc0-41d1-b245-5ffdce74fad1"],
    &["allow", "5", "--actor", "jane"],
];

#[tokio::test]
async fn the_help_of_every_command_has_an_example() {
    let folder = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        let said = geft_sweeper(folder.path(), &[command, "--help"], &[]).await;
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{command}");
        let (_, examples) = said.stdout.split_once("Example").unwrap_or_else(|| panic!("{command}: {}", said.stdout));
        assert!(examples.contains(&format!("\n  geft-sweeper {command}")), "{command}: {examples}");
        assert!(said.stdout.contains("--config <FILE>"), "{command}");
    }
}

#[tokio::test]
async fn a_wrong_command_line_is_one_sentence_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let session = "7d444840-9dc0-41d1-b245-5ffdce74fad1";
    let cases: [(&[&str], &[&str]); 16] = [
        (&["sweeep"], &["'sweeep'", "'sweep'"]),
        (&["sweep", "--dryrun"], &["'--dryrun'", "'--dry-run'"]),
        (&["status", "now"], &["'now'"]),
        (&["sweep", "--wait", "soon"], &["'soon'", "'--wait <DURATION>'", "90s"]),
        (&["sweep", "--dry-run", "--wait", "3s"], &["'--dry-run'", "'--wait <DURATION>'"]),
        (&["requeue"], &["--session", "--outcome"]),
        (&["requeue", "--session", "17"], &["'17'", "UUID"]),
        (&["requeue", "--session", session, "--outcome", "rejected"], &["--session", "--outcome"]),
        (&["requeue", "--outcome", "rejected"], &["--since"]),
        (&["requeue", "--outcome", "rejected", "--since", "noon"], &["'noon'", "2026-11-01T00:00:00Z", "2h"]),
        (&["allow", "--actor", "jane"], &["<N>"]),
        (&["allow", "5"], &["--actor <NAME>"]),
        (&["allow", "5", "--actor", " "], &["'--actor <NAME>'", "responsibility"]),
        (&["allow", "0", "--actor", "jane"], &["'0'", "1..=1000000000"]),
        (&["allow", "5", "--actor", "jane", "--for", "8d"], &["'8d'", "7d", "brakes.max_discovered"]),
        (&["sandbox", "--spelling", "Cancled"], &["'Cancled'", "Canceled", "Cancelled"]),
    ];
    for (arguments, says) in cases {
        let said = geft_sweeper(folder.path(), arguments, &[]).await;
        said.expect_refusal(2, 1);
        assert!(says.iter().all(|part| said.stderr.contains(part)), "{arguments:?}: {}", said.stderr);
    }
}

#[tokio::test]
async fn a_wrong_outcome_is_told_with_every_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let said = geft_sweeper(folder.path(), &["requeue", "--outcome", "canceld", "--since", "2h"], &[]).await;
    said.expect_refusal(2, 1);
    for outcome in geft_sweeper::outcome::Outcome::ALL {
        assert!(said.stderr.contains(outcome.as_str()), "{}", said.stderr);
    }
}

#[tokio::test]
async fn every_command_refuses_a_wrong_configuration_with_status_2_and_a_sentence_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[database]\nurl = \"postgres://localhost/shop\"\n[source]\ntable = \"sessions\"\nmax_aeg = \"30m\"\n\
                [api]\nbase_url = \"http://geft.example.com\"\nclient_id = \"c\"\nclient_secret = \"hunter2-secret\"\n\
                client_secret_file = \"/no/such/file\"\n";
    std::fs::write(folder.path().join("geft-sweeper.toml"), file).unwrap();
    for arguments in CONFIGURED {
        let said = geft_sweeper(folder.path(), arguments, &[("GEFT_SWEEPER__API__TIMEOUT", "soon")]).await;
        said.expect_refusal(2, 4);
        for part in [
            "source.max_aeg is not a setting; the nearest is source.max_age",
            "api.base_url is \"http://geft.example.com\", which would send the credentials in the clear: write https",
            "api.client_secret is given together with api.client_secret_file: leave one of them out",
            "api.timeout (environment variable GEFT_SWEEPER__API__TIMEOUT) is \"soon\", which is no duration: write",
        ] {
            assert!(said.stderr.contains(part), "{arguments:?}: {}", said.stderr);
        }
        assert!(!said.stderr.contains(SECRET), "{}", said.stderr);
    }
}

#[tokio::test]
async fn a_configuration_file_that_was_named_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in CONFIGURED {
        let said = geft_sweeper(folder.path(), &[arguments, &["--config", "no/such.toml"]].concat(), &[]).await;
        said.expect_refusal(2, 1);
        assert!(said.stderr.contains("no/such.toml cannot be read as the configuration file: No such file"));
    }
}

#[tokio::test]
async fn without_any_configuration_every_setting_that_is_needed_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = geft_sweeper(folder.path(), &["sweep"], &[]).await;
    said.expect_refusal(2, 5);
    for (line, setting) in
        said.stderr.lines().zip(["database.url", "source.table", "api.base_url", "api.client_id", "api.client_secret"])
    {
        assert!(line.contains(&format!("{setting} is missing: write `")), "{line}");
    }
}

#[tokio::test]
async fn a_database_that_is_not_reached_is_told_with_its_place_and_status_1() {
    let said = Program::new(&format!("postgres://sweeper:{SECRET}@127.0.0.1:1/shop"), "http://127.0.0.1:1");
    for command in ["sweep", "migrate", "status"] {
        let said = said.run([command]).await.expect_code(1);
        assert_eq!(said.stdout, "");
        let sentence = "geft-sweeper: could not connect to the database at 127.0.0.1:1, which database.url names: ";
        assert!(said.stderr.starts_with(sentence) && said.stderr.contains("refused"), "{}", said.stderr);
        assert!(!said.stderr.contains(SECRET) && said.stderr.lines().count() == 1, "{}", said.stderr);
    }
}

#[tokio::test]
async fn a_missing_schema_is_status_1_where_it_may_not_be_made() {
    let shop = Shop::without_schema().await;
    let program = shop.program().with("database.auto_migrate", false);
    let session = "7d444840-9dc0-41d1-b245-5ffdce74fad1";
    for said in [
        program.run(["sweep"]).await,
        program.run(["status"]).await,
        program.run(["status", "--json"]).await,
        program.run(["requeue", "--session", session]).await,
    ] {
        let said = said.expect_code(1);
        assert_eq!(said.stdout, "");
        assert!(said.stderr.contains("the schema geft_sweeper is missing: run `geft-sweeper migrate`"), "{said:?}");
    }
    shop.expect_no_request();
    shop.database.close().await;
}

#[tokio::test]
async fn refused_credentials_end_a_sweep_with_status_1_and_lose_no_session() {
    let shop = Shop::new().await;
    let id = shop.add("abandoned", MINUTE).await;
    let said = shop.program().with("api.client_secret", "wrong-hunter").run(["sweep", "--json"]).await.expect_code(1);
    assert_eq!(said.json()["status"], "stopped");
    assert!(said.stderr.contains("the provider refuses the credentials: see api.client_id and api.client_secret"));
    assert!(!said.stderr.contains("wrong-hunter") && !said.stdout.contains("wrong-hunter"));
    assert_eq!(shop.value::<String>("SELECT state || attempts FROM geft_sweeper.cancellations").await, "pending0");
    assert_eq!(shop.sandbox.cancels(id), 0);

    let said = shop.program().run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!(said.json()["canceled"], 1);
    shop.database.close().await;
}

#[tokio::test]
async fn sessions_that_will_be_retried_or_have_failed_change_nothing_in_the_status() {
    let shop = Shop::new().await;
    shop.add("abandoned", MINUTE).await;
    let always: Fault = "500".parse().unwrap();
    let faults = |cancel| Faults { cancel, ..Faults::default() };
    shop.sandbox.set_faults(faults(EndpointFaults::always(always))).unwrap();
    let said = shop.program().run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!((said.json()["retried"].clone(), said.json()["failed"].clone()), (1.into(), 0.into()));

    shop.execute("UPDATE geft_sweeper.cancellations SET next_attempt_at = now()").await;
    let said = shop.program().with("retry.max_attempts", 2).run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!(said.json()["failed"], 1);
    shop.database.close().await;
}
