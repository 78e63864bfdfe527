//! The sample file is the source of the defaults, and names every setting.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::super::{InProgress, KEYS, LogFormat, SAMPLE, Selection, TokenUse, UnknownApi};
use super::{REQUIRED, accepted, complete, sections};

const SECOND: Duration = Duration::from_secs(1);

/// The paths that the sample names, examples (`# name = …`) among them.
fn named_in_sample() -> Vec<String> {
    let mut section = String::new();
    let mut paths = Vec::new();
    for line in SAMPLE.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ")
            && name.chars().all(|character| character.is_ascii_lowercase() || "_.".contains(character))
        {
            paths.push(format!("{section}.{name}"));
        }
    }
    paths
}

/// The sample with its examples put into force, less the names given.
fn uncommented(less: &[&str]) -> String {
    let keep = |line: &&str| !less.iter().any(|name| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
    let uncomment = |line: &str| {
        let name = line.strip_prefix("# ").and_then(|rest| rest.split_once(" = ")).map(|(name, _)| name);
        let is_example =
            name.is_some_and(|name| name.chars().all(|letter| letter.is_ascii_lowercase() || "_.".contains(letter)));
        if is_example { line[2..].to_owned() } else { line.to_owned() }
    };
    SAMPLE.lines().filter(keep).map(uncomment).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_sample_names_every_setting_once_and_in_order() {
    let known: Vec<&str> = KEYS.iter().map(|key| key.path).filter(|path| *path != "source.columns").collect();
    assert_eq!(named_in_sample(), known);
}

#[test]
fn the_required_settings_alone_give_the_documented_defaults() {
    let config = complete(REQUIRED, &[]);
    assert_eq!(config.database.max_connections, 8);
    assert!(config.database.auto_migrate);
    assert_eq!(config.database.statement_timeout, 30 * SECOND);
    assert_eq!(config.source.lookback, Duration::from_hours(7 * 24));
    let Selection::Table(table) = config.source.selection else { panic!("a table was given") };
    let columns = table.columns;
    assert_eq!(
        [columns.session_id, columns.reference_id, columns.status, columns.created_at],
        ["session_id", "reference_id", "status", "created_at"]
    );
    assert_eq!((columns.updated_at, table.time_zone, table.max_age), (None, None, None));
    assert_eq!(table.abandoned_statuses, ["abandoned"]);
    assert!(table.open_statuses.is_empty());
    assert_eq!(config.schedule.sweep, "0 * * * * *");
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Auto));
    assert_eq!(config.server.listen, Some(([127, 0, 0, 1], 9464).into()));
}

#[test]
fn the_defaults_of_sending_and_retrying_are_the_documented_ones() {
    let config = complete(REQUIRED, &[]);
    let (api, retry) = (config.api, config.retry);
    assert_eq!((api.timeout, api.connect_timeout, api.max_retry_after), (10 * SECOND, 3 * SECOND, 900 * SECOND));
    assert_eq!((api.max_in_flight, api.max_requests_per_second), (32, None));
    assert_eq!((api.token_use, api.ca_file), (TokenUse::Auto, None));
    assert!(api.headers.is_empty());
    assert_eq!((retry.initial_interval, retry.max_interval), (SECOND, 1800 * SECOND));
    assert_eq!((retry.multiplier, retry.randomization_factor), (2.0, 0.5));
    assert_eq!((retry.max_attempts, retry.lease), (20, 60 * SECOND));
}

#[test]
fn the_defaults_of_the_brakes_are_the_safe_ones() {
    let config = complete(REQUIRED, &[]);
    let brakes = config.brakes;
    assert_eq!((brakes.max_discovered, brakes.unknown_api), (10_000, UnknownApi::Refuse));
    assert_eq!(brakes.clock_tolerance, 120 * SECOND);
    assert_eq!(config.source.in_progress, InProgress::Cancel);
    let waiting = accepted(&[("source", "in_progress = \"wait\"")]);
    assert_eq!(waiting.source.in_progress, InProgress::Wait { grace: 1800 * SECOND });
}

#[test]
fn the_sample_as_it_stands_lacks_only_what_has_no_default() {
    let missing: Vec<String> = sections(SAMPLE, &[]).problems.into_iter().map(|problem| problem.setting).collect();
    assert_eq!(missing, ["database.url", "source.table", "api.base_url", "api.client_id", "api.client_secret"]);
}

#[test]
fn every_example_of_the_sample_works_when_it_is_put_into_force() {
    let mut files = vec!["url_file", "client_secret_file", "ca_file", "headers_file"];
    if !cfg!(feature = "otlp") {
        files.push("otlp_endpoint");
    }
    let config = complete(&uncommented(&[files.as_slice(), &["query"]].concat()), &[]);
    assert_eq!(config.telemetry.otlp_endpoint.is_some(), cfg!(feature = "otlp"));
    assert_eq!(config.api.max_requests_per_second, Some(50.0));
    let Selection::Table(table) = config.source.selection else { panic!("the sample shows a table") };
    assert_eq!(table.open_statuses, ["created", "pending"]);
    assert_eq!(table.max_age, Some(1800 * SECOND));
    assert_eq!(table.columns.updated_at.as_deref(), Some("updated_at"));

    let of_a_table = [
        "table",
        "columns.session_id",
        "columns.reference_id",
        "columns.status",
        "columns.created_at",
        "columns.updated_at",
        "time_zone",
        "abandoned_statuses",
        "open_statuses",
        "max_age",
    ];
    let config = complete(&uncommented(&[files.as_slice(), &of_a_table].concat()), &[]);
    assert!(matches!(config.source.selection, Selection::Query(query) if query.starts_with("SELECT ")));
}

#[test]
fn the_files_of_the_sample_can_hold_the_secrets() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writing a secret");
        path.display().to_string()
    };
    let url = write("url", "postgres://localhost/shop\n");
    let secret = write("secret", "from a file\r\n");
    let headers = write("headers", "x-client-id = \"ours\"\n");
    let text = uncommented(&["url", "client_secret", "headers", "ca_file", "query"])
        .replace("/run/secrets/geft-sweeper-database-url", &url)
        .replace("/run/secrets/geft-sweeper-client-secret", &secret)
        .replace("/run/secrets/geft-sweeper-headers.toml", &headers);
    let config = complete(&text, &[]);
    assert_eq!(config.database.url.expose_secret(), "postgres://localhost/shop");
    assert_eq!(config.api.client_secret.expose_secret(), "from a file");
    let (name, value) = &config.api.headers[0];
    assert_eq!((name.as_str(), value.expose_secret()), ("x-client-id", "ours"));
}
