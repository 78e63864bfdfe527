//! Holds the files of `deploy/` against the program: the settings that they name, their configurations, ports, times and version.
//!
//! Whether Kubernetes and systemd take them is for `script/deploy-check` to say.

mod monitoring;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use geft_sweeper::config::{self, KEYS, PREFIX};

/// What an orderly end takes beyond its longest attempt: results are written, and the process says goodbye.
const AFTER_THE_LAST_ATTEMPT: Duration = Duration::from_secs(15);

#[test]
fn every_variable_in_the_deployment_files_is_a_setting() {
    let known: BTreeSet<_> = KEYS.iter().map(config::Key::variable).collect();
    let mut named = 0;
    for (file, text) in deployment_files() {
        for name in words(&text, PREFIX) {
            assert!(known.contains(&name), "{} names {name}, which is no setting", file.display());
            named += 1;
        }
    }
    assert!(named > 0);
}

#[test]
fn every_configuration_of_an_overlay_is_right_and_leaves_time_for_an_orderly_end() {
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let variables = [
        (
            "GEFT_SWEEPER__DATABASE__URL_FILE",
            secret("database-url", "postgres://db.example.com/shop?sslmode=verify-full"),
        ),
        ("GEFT_SWEEPER__API__CLIENT_SECRET_FILE", secret("client-secret", "secret")),
    ];
    let patience = patience();
    assert!(patience.len() >= 4, "{patience:?}");
    for file in files_named("config.toml") {
        let read = config::read(Some(&file), variables.clone()).complete();
        let config = read.unwrap_or_else(|problems| panic!("{}: {problems:?}", file.display()));
        // No attempt lasts longer than its lease, and no lease is shorter than the request's time limit.
        let needed = config.retry.lease + AFTER_THE_LAST_ATTEMPT;
        for (place, given) in &patience {
            assert!(*given >= needed && *given > config.api.timeout, "{} gives {given:?}", place.display());
        }
    }
}

#[test]
fn where_a_role_of_its_own_migrates_the_daemon_does_not() {
    let mut found = 0;
    for file in files_named("kustomization.yaml") {
        if fs::read_to_string(&file).unwrap().contains("components/migrate\n") {
            let text = fs::read_to_string(file.with_file_name("config.toml")).unwrap();
            let table: toml::Table = text.parse().unwrap();
            assert_eq!(table["database"]["auto_migrate"], toml::Value::Boolean(false), "{}", file.display());
            found += 1;
        }
    }
    assert!(found > 0);
}

#[test]
fn the_ports_in_the_deployment_files_are_the_one_that_is_listened_at() {
    let port = |text: &str| text.rsplit(':').next().unwrap().trim_matches(['"', ' ', '}']).parse::<u16>().unwrap();
    let deployment = read("deploy/kubernetes/base/deployment.yaml");
    let listen = rest_of_line(&deployment, "GEFT_SWEEPER__SERVER__LISTEN, value: ");
    let [listen] = listen[..] else { panic!("{listen:?}") };
    let listened_at = port(listen);
    let elsewhere = [
        (deployment.as_str(), "containerPort: "),
        (&read("deploy/kubernetes/base/service.yaml"), " port: "),
        (&read("deploy/Dockerfile"), "EXPOSE "),
        (config::SAMPLE, "listen = "),
    ];
    for (text, beginning) in elsewhere {
        let found = rest_of_line(text, beginning);
        let [found] = found[..] else { panic!("{beginning}: {found:?}") };
        assert_eq!(port(found.split(',').next().unwrap()), listened_at, "{beginning}{found}");
    }
}

#[test]
fn every_version_in_the_deployment_files_is_that_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let with_hyphens = version.replace('.', "-");
    let mut named = 0;
    for (file, text) in deployment_files() {
        let tags = ["newTag: ", "/geft-sweeper:"].map(|beginning| rest_of_line(&text, beginning)).concat();
        for tag in tags {
            let tag = tag.split([' ', '}']).next().unwrap();
            assert_eq!(tag, version, "{}", file.display());
            named += 1;
        }
        for name in rest_of_line(&text, "name: geft-sweeper-migrate-") {
            assert_eq!(name, with_hyphens, "{}", file.display());
            named += 1;
        }
    }
    assert!(named >= 5, "only {named} found");
    assert!(read("deploy/debian/changelog").starts_with(&format!("geft-sweeper ({version}-")));
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Every file below `deploy/`, with its text.
fn deployment_files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut paths = vec![repository().join("deploy")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
    }
    files
}

fn files_named(name: &str) -> Vec<PathBuf> {
    let all = deployment_files().into_iter().map(|(path, _)| path);
    let found: Vec<_> = all.filter(|path| path.file_name().is_some_and(|found| found == name)).collect();
    assert!(!found.is_empty(), "no {name} in deploy/");
    found
}

/// The words of a text that begin so.
fn words(text: &str, beginning: &str) -> Vec<String> {
    let is_of_a_word = |character: &char| character.is_ascii_alphabetic() || *character == '_';
    text.match_indices(beginning).map(|(at, _)| text[at..].chars().take_while(is_of_a_word).collect()).collect()
}

/// How long each kind of deployment waits for an orderly end.
fn patience() -> Vec<(PathBuf, Duration)> {
    let mut found = Vec::new();
    for (file, text) in deployment_files() {
        let given =
            ["terminationGracePeriodSeconds: ", "TimeoutStopSec="].map(|name| rest_of_line(&text, name)).concat();
        found.extend(given.iter().map(|seconds| (file.clone(), Duration::from_secs(seconds.parse().unwrap()))));
    }
    found
}

/// What stands behind these words, in each line that has them.
fn rest_of_line<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.split_once(words)).map(|(_, rest)| rest.trim()).collect()
}
