//! Defaults, file, environment: which of them has the last word, and what a fault in one leaves usable.

use std::path::Path;

use secrecy::ExposeSecret;

use super::super::{KEYS, Selection, first_of, read};
use super::{REQUIRED, accepted, complete, file, only_problem, sections, with};

#[test]
fn the_environment_goes_over_the_file_in_every_kind() {
    let config = complete(
        &with(&[("api", "timeout = \"5s\"\nmax_in_flight = 2")]),
        &[
            ("GEFT_SWEEPER__API__BASE_URL", "https://other.example.com"),
            ("GEFT_SWEEPER__API__MAX_IN_FLIGHT", "4"),
            ("GEFT_SWEEPER__API__MAX_REQUESTS_PER_SECOND", "2.5"),
            ("GEFT_SWEEPER__API__HEADERS", "{ x-client-id = \"ours\" }"),
            ("GEFT_SWEEPER__DATABASE__AUTO_MIGRATE", "false"),
            ("GEFT_SWEEPER__SOURCE__ABANDONED_STATUSES", "[\"gone\", \"left\"]"),
            ("GEFT_SWEEPER__SOURCE__COLUMNS", "{ status = \"state\", created_at = \"made\" }"),
            ("GEFT_SWEEPER__SOURCE__COLUMNS__STATUS", "condition"),
            ("GEFT_SWEEPER_PORT", "tcp://10.0.0.1:9464"),
            ("PATH", "/bin"),
        ],
    );
    assert_eq!(config.api.base_url.as_str(), "https://other.example.com/");
    assert_eq!((config.api.timeout.as_secs(), config.api.max_in_flight), (5, 4));
    assert_eq!(config.api.max_requests_per_second, Some(2.5));
    assert_eq!(config.api.headers[0].0, "x-client-id");
    assert!(!config.database.auto_migrate);
    let Selection::Table(table) = config.source.selection else { panic!("a table was given") };
    assert_eq!(table.abandoned_statuses, ["gone", "left"]);
    let columns = table.columns;
    assert_eq!([columns.status, columns.created_at, columns.session_id], ["condition", "made", "session_id"]);
}

#[test]
fn the_environment_alone_is_enough() {
    let sections = read(
        None,
        [
            ("GEFT_SWEEPER__DATABASE__URL", "postgres://localhost/shop"),
            ("GEFT_SWEEPER__SOURCE__QUERY", "SELECT 1"),
            ("GEFT_SWEEPER__API__BASE_URL", "https://geft.example.com"),
            ("GEFT_SWEEPER__API__CLIENT_ID", "123"),
            ("GEFT_SWEEPER__API__CLIENT_SECRET", "true"),
        ],
    );
    assert_eq!(sections.file, None);
    let config = sections.complete().expect("a whole configuration");
    assert_eq!((config.api.client_id.as_str(), config.api.client_secret.expose_secret()), ("123", "true"));
}

#[test]
fn a_problem_from_the_environment_names_the_variable() {
    for (variable, value, says) in [
        ("GEFT_SWEEPER__API__MAX_IN_FLIGHT", "many", "is \"many\", but must be a whole number"),
        ("GEFT_SWEEPER__API__MAX_REQUESTS_PER_SECOND", "NaN", "is NaN, but must be more than 0"),
        ("GEFT_SWEEPER__DATABASE__AUTO_MIGRATE", "1", "true or false"),
        ("GEFT_SWEEPER__SOURCE__OPEN_STATUSES", "created", "written as in TOML"),
        ("GEFT_SWEEPER__SOURCE__OPEN_STATUSES", "[]\nother = 1", "written as in TOML"),
        ("GEFT_SWEEPER__API__HEADERS", "[]", "written as in TOML"),
        ("GEFT_SWEEPER__SOURCE__COLUMNS", "{ statuss = \"a\" }", "source.columns.status"),
        ("GEFT_SWEEPER__API__TIMEOUT", "", "is \"\", which is no duration"),
        ("GEFT_SWEEPER__API__BASE_UR", "x", "the nearest is GEFT_SWEEPER__API__BASE_URL"),
        ("GEFT_SWEEPER_API_BASE_URL", "x", "the nearest is GEFT_SWEEPER__API__BASE_URL"),
        ("GEFT_SWEEPER__API__HEADERS__X_KEY", "x", "the nearest is GEFT_SWEEPER__API__HEADERS"),
    ] {
        let sentence = only_problem(REQUIRED, &[(variable, value)]);
        assert!(sentence.contains(&format!("(environment variable {variable})")), "{sentence}");
        assert!(sentence.contains(says), "{sentence}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_refused_not_guessed() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let secret = OsString::from_vec(vec![b's', 0xff]);
    let file = file(REQUIRED);
    let sections = read(Some(file.path()), [("GEFT_SWEEPER__API__CLIENT_SECRET", secret)]);
    assert!(sections.api.is_none());
    assert!(sections.problems[0].to_string().ends_with("must be text in UTF-8"));
}

#[test]
fn each_variable_name_is_that_of_one_setting() {
    let names: std::collections::BTreeSet<String> = KEYS.iter().map(super::super::Key::variable).collect();
    assert_eq!(names.len(), KEYS.len());
    assert!(names.contains("GEFT_SWEEPER__SOURCE__COLUMNS__STATUS"));
}

#[test]
fn both_forms_of_a_secret_in_one_place_are_refused() {
    let secret = file("from a file");
    let path = secret.path().to_str().expect("a path of text");
    let text = with(&[("api", &format!("client_secret_file = {path:?}"))]);
    assert!(only_problem(&text, &[]).starts_with("api.client_secret is given together with api.client_secret_file"));

    let url = ("GEFT_SWEEPER__DATABASE__URL", "postgres://localhost/a");
    let sentence = only_problem(REQUIRED, &[url, ("GEFT_SWEEPER__DATABASE__URL_FILE", path)]);
    assert!(sentence.starts_with("database.url (environment variable GEFT_SWEEPER__DATABASE__URL) is given together"));

    let headers = "headers = { a = \"b\" }\nheaders_file = \"x\"";
    let sentences = sections(&with(&[("api", headers)]), &[]).problems;
    assert!(sentences[0].to_string().starts_with("api.headers is given together with api.headers_file"));
}

#[test]
fn either_form_in_the_environment_replaces_both_of_the_file() {
    let secret = file("from a file\n");
    let headers = file("b = \"2\"");
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().expect("a path of text").to_owned();
    let config = complete(
        &with(&[("api", "headers = { a = \"1\" }")]),
        &[
            ("GEFT_SWEEPER__API__CLIENT_SECRET_FILE", &path(&secret)),
            ("GEFT_SWEEPER__API__HEADERS_FILE", &path(&headers)),
        ],
    );
    assert_eq!(config.api.client_secret.expose_secret(), "from a file");
    assert_eq!(config.api.headers.len(), 1);
    assert_eq!(config.api.headers[0].0, "b");

    let text = REQUIRED.replace("client_secret = \"s3cr3t\"", "client_secret_file = \"no/such/file\"");
    let config = complete(&text, &[("GEFT_SWEEPER__API__CLIENT_SECRET", "given")]);
    assert_eq!(config.api.client_secret.expose_secret(), "given");

    let text = with(&[("api", "headers = { a = \"1\" }")]);
    let config = complete(&text, &[("GEFT_SWEEPER__API__HEADERS", "{ c = \"3\" }")]);
    assert_eq!(config.api.headers.len(), 1, "the table of the file is replaced, not added to");
}

#[test]
fn a_secret_file_that_cannot_be_read_is_named_with_its_cause() {
    let text = REQUIRED.replace("client_secret = \"s3cr3t\"", "client_secret_file = \"no/such/file\"");
    let sentence = only_problem(&text, &[]);
    assert!(
        sentence.starts_with("api.client_secret_file names \"no/such/file\", which cannot be read: "),
        "{sentence}"
    );
    assert!(sentence.contains("No such file"), "{sentence}");
}

#[test]
fn a_section_that_is_right_is_usable_beside_one_that_is_not() {
    let sections = sections(&with(&[("api", "timeout = \"soon\"\ntoken_use = \"x\""), ("log", "level = \"x\"")]), &[]);
    assert!(sections.api.is_none() && sections.log.is_none());
    assert!(sections.database.is_some() && sections.source.is_some() && sections.schedule.is_some());
    assert!(sections.server.is_some());
    let settings: Vec<&str> = sections.problems.iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["api.timeout", "api.token_use", "log.level"], "all of them, in the order of the sample");
}

#[test]
fn an_unknown_key_makes_its_section_unusable() {
    let sections = sections(&with(&[("source", "max_aeg = \"1h\"")]), &[]);
    assert!(sections.source.is_none() && sections.api.is_some());
    assert_eq!(sections.complete().expect_err("a key that is not known").len(), 1);
}

#[test]
fn a_file_that_is_not_toml_is_one_problem_with_line_and_column() {
    let sentence = only_problem("[api]\nclient_secret = \"hidden\nurl = 1", &[]);
    assert!(sentence.contains("is not valid TOML at line 2, column "), "{sentence}");
    assert!(!sentence.contains("hidden"), "{sentence}");
}

#[test]
fn a_file_that_was_named_must_exist() {
    let sections = read(Some(Path::new("no/such.toml")), [("GEFT_SWEEPER__API__TIMEOUT", "x"); 0]);
    assert_eq!(sections.problems.len(), 1);
    assert!(sections.problems[0].to_string().starts_with("no/such.toml cannot be read as the configuration file: "));
}

#[test]
fn the_first_place_that_has_a_file_is_taken() {
    let (one, other) = (file(""), file(""));
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().expect("a path of text").to_owned();
    assert_eq!(first_of(&["no/such.toml", &path(&one), &path(&other)]).as_deref(), Some(one.path()));
    assert_eq!(first_of(&["no/such.toml"]), None);
}

#[test]
fn an_api_is_known_by_its_scheme_host_and_port() {
    let origin = |url: &str| accepted(&[("api", &format!("base_url = \"{url}\""))]).api.origin();
    for same in ["https://geft.example.com", "https://GEFT.example.com:443/", "https://geft.example.com/pay/v1"] {
        assert_eq!(origin(same), "https://geft.example.com");
    }
    assert_eq!(origin("https://geft.example.com:8443"), "https://geft.example.com:8443");
    assert_eq!(origin("http://127.0.0.1:8099"), "http://127.0.0.1:8099");
}
