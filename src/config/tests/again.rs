//! What is read again while the program runs, and what is left as it was at the start.

use std::fs;

use secrecy::ExposeSecret as _;

use super::{Config, REQUIRED, file};
use crate::config::{Again, one_sentence, read};

/// A configuration with these lines and variables, and the file that it is in.
fn started(lines: &str, variables: &[(&str, &str)]) -> (Config, tempfile::NamedTempFile) {
    let written = file(lines);
    let config = read(Some(written.path()), variables.iter().copied()).complete().unwrap();
    (config, written)
}

fn again(config: &Config) -> Again {
    config.origin.read_again().unwrap_or_else(|problems| panic!("{}", one_sentence(&problems)))
}

#[test]
fn secrets_come_from_the_files_that_were_named_at_the_start() {
    let (first, second) = (file("first"), file("second"));
    let named = |file: &tempfile::NamedTempFile| {
        let line = format!("client_secret_file = {:?}", file.path());
        REQUIRED.replace(r#"client_secret = "s3cr3t""#, &line)
    };
    let (config, written) = started(&named(&first), &[]);
    fs::write(first.path(), "rotated").unwrap();
    fs::write(written.path(), named(&second)).unwrap();
    let read = again(&config);
    assert_eq!(read.api.client_secret.expose_secret(), "rotated");
    assert_eq!(read.left_alone, ["api.client_secret_file"]);
    assert_eq!(config.origin.api_secrets().unwrap().client_secret.expose_secret(), "rotated");
}

#[test]
fn a_secret_in_the_configuration_itself_is_left_alone_as_every_other_setting() {
    let (config, written) = started(REQUIRED, &[]);
    let changed = REQUIRED.replace(r#"client_secret = "s3cr3t""#, r#"client_secret = "changed""#);
    fs::write(written.path(), format!("{changed}\n[retry]\nmax_attempts = 3\n[log]\nlevel = \"debug\"\n")).unwrap();
    let read = again(&config);
    assert_eq!(read.api.client_secret.expose_secret(), "s3cr3t");
    assert_eq!((read.level.as_str(), read.left_alone), ("debug", vec!["api.client_secret", "retry.max_attempts"]));
}

#[test]
fn what_the_environment_gives_stays_as_it_is() {
    let variables = [("GEFT_SWEEPER__LOG__LEVEL", "warn"), ("GEFT_SWEEPER__RETRY__MAX_ATTEMPTS", "5")];
    let (config, written) = started(REQUIRED, &variables);
    fs::write(written.path(), format!("{REQUIRED}\n[retry]\nmax_attempts = 3\n[log]\nlevel = \"debug\"\n")).unwrap();
    let read = again(&config);
    assert_eq!((read.level.as_str(), read.left_alone), ("warn", vec![]));
}

#[test]
fn a_secret_that_cannot_be_read_again_is_none() {
    let secret = file("first");
    let line = format!("client_secret_file = {:?}", secret.path());
    let (config, _written) = started(&REQUIRED.replace(r#"client_secret = "s3cr3t""#, &line), &[]);
    secret.close().unwrap();
    assert!(config.origin.api_secrets().is_none());
    assert!(config.origin.database_url().is_some(), "the other secret has nothing to do with it");
    let problems = config.origin.read_again().unwrap_err();
    assert!(one_sentence(&problems).starts_with("api.client_secret_file names "), "{problems:?}");
}
