//! Every refusal: the setting it names, and that it says what would be right.

use secrecy::ExposeSecret;

use super::{REQUIRED, accepted, complete, file, only_problem, refused, sections, with};

/// Asserts that each of these lines under the section is refused, and says so.
fn all_refused(section: &str, setting: &str, cases: &[(&str, &str)]) {
    for (value, says) in cases {
        let name = setting.split_once('.').map_or(setting, |(_, name)| name);
        refused(&[(section, &format!("{name} = {value}"))], setting, says);
    }
}

#[test]
fn what_is_required_says_how_to_give_it() {
    let problems = sections("", &[]).problems;
    let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let variables = ["DATABASE__URL", "SOURCE__TABLE", "API__BASE_URL", "API__CLIENT_ID", "API__CLIENT_SECRET"];
    assert_eq!(sentences.len(), variables.len(), "{sentences:?}");
    for (sentence, variable) in sentences.iter().zip(variables) {
        assert!(sentence.contains("is missing: write `"), "{sentence}");
        assert!(sentence.contains(&format!("GEFT_SWEEPER__{variable}")), "{sentence}");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    refused(&[("api", "base_ur = \"x\"")], "api.base_ur", "the nearest is api.base_url");
    refused(&[("source", "columns = { statuss = \"x\" }")], "source.columns.statuss", "source.columns.status");
    refused(&[("shedule", "sweep = \"x\"")], "shedule", "the nearest is [schedule]");
    refused(&[("log", "\"a.b\" = 1")], "log.a\\\\.b", "is not a setting");
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    all_refused("api", "api.timeout", &[("10", "is 10, but must be a duration in quotes")]);
    all_refused("api", "api.max_in_flight", &[("\"8\"", "is \"8\", but must be a whole number"), ("1.5", "whole")]);
    all_refused("api", "api.headers", &[("{ a = 1 }", "a table of texts")]);
    all_refused("source", "source.abandoned_statuses", &[("\"gone\"", "a list of texts"), ("[1]", "a list")]);
    all_refused("database", "database.auto_migrate", &[("\"yes\"", "true or false")]);
    let sentence = only_problem(&format!("log = 5\n{REQUIRED}"), &[]);
    assert!(sentence.starts_with("log must be a section"), "{sentence}");
}

#[test]
fn an_address_that_is_not_safe_is_refused() {
    all_refused(
        "api",
        "api.base_url",
        &[
            ("\"http://geft.example.com\"", "http is for a loopback address alone"),
            ("\"http://127.0.0.1.example.com\"", "in the clear"),
            ("\"ftp://127.0.0.1\"", "must start with https://"),
            ("\"geft.example.com\"", "is no URL"),
            ("\"https://me:pass@geft.example.com\"", "must not hold a user"),
            ("\"https://geft.example.com/?key=1\"", "must end with the path"),
            ("\"https://geft.example.com/#top\"", "must end with the path"),
            ("\"\"", "is empty"),
        ],
    );
}

#[test]
fn a_safe_address_is_taken_and_its_slash_cut() {
    let address = |text: &str| accepted(&[("api", &format!("base_url = \"{text}\""))]).api.base_url;
    assert_eq!(address("https://geft.example.com/pay/").as_str(), "https://geft.example.com/pay");
    assert_eq!(address("https://geft.example.com/").as_str(), "https://geft.example.com/");
    for loopback in ["http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]:1", "http://LOCALHOST"] {
        address(loopback);
    }
}

#[test]
fn credentials_that_http_basic_cannot_carry_are_refused() {
    all_refused("api", "api.client_id", &[("\"a:b\"", "no colon"), ("\"a\\nb\"", "no line break"), ("\" \"", "empty")]);
    all_refused("api", "api.client_secret", &[("\"a\\nb\"", "control character"), ("\"\"", "holds nothing")]);
}

#[test]
fn headers_that_http_does_not_allow_or_that_are_ours_are_refused() {
    all_refused(
        "api",
        "api.headers",
        &[
            ("{ \"a b\" = \"x\" }", "does not allow as a name"),
            ("{ a = \"x\\ny\" }", "header a a value that HTTP does not allow"),
            ("{ a = \"x\", A = \"y\" }", "twice"),
            ("{ Authorization = \"x\" }", "sets itself"),
            ("{ content-type = \"x\" }", "sets itself"),
            ("{ Content-Length = \"1\" }", "sets itself"),
            ("{ host = \"x\" }", "sets itself"),
        ],
    );
    let headers = file("a = 5");
    refused(&[("api", &format!("headers_file = {:?}", headers.path()))], "api.headers_file", "not text in quotes");
    let headers = file("a = x");
    refused(&[("api", &format!("headers_file = {:?}", headers.path()))], "api.headers_file", "line 1, column 5");
}

#[test]
fn numbers_and_durations_that_make_no_sense_are_refused() {
    all_refused("database", "database.max_connections", &[("1", "from 2 to"), ("-1", "from 2"), ("10001", "10000")]);
    all_refused("database", "database.statement_timeout", &[("\"0s\"", "too short"), ("\"25days\"", "24days")]);
    all_refused("api", "api.max_in_flight", &[("0", "from 1 to 10000"), ("10001", "from 1 to 10000")]);
    all_refused(
        "api",
        "api.max_requests_per_second",
        &[
            ("0", "more than 0"),
            ("-1.5", "more than 0"),
            ("nan", "more than 0"),
            ("inf", "at most 1000000"),
            ("1000001", "at most"),
        ],
    );
    all_refused("api", "api.timeout", &[("\"soon\"", "is no duration"), ("\"10\"", "is no duration")]);
    all_refused("api", "api.max_retry_after", &[("\"0s\"", "too short"), ("\"11years\"", "too long")]);
    all_refused("api", "api.connect_timeout", &[("\"11s\"", "longer than api.timeout")]);
    all_refused("source", "source.lookback", &[("\"0s\"", "too short"), ("\"11years\"", "too long")]);
    all_refused("retry", "retry.multiplier", &[("0.5", "from 1"), ("nan", "from 1"), ("inf", "from 1")]);
    all_refused("retry", "retry.randomization_factor", &[("-0.1", "from 0"), ("1.1", "to 1"), ("nan", "from 0")]);
    all_refused("retry", "retry.initial_interval", &[("\"0s\"", "too short"), ("\"31m\"", "retry.max_interval")]);
    all_refused("brakes", "brakes.max_discovered", &[("0", "from 1")]);
    all_refused("brakes", "brakes.unknown_api", &[("\"ask\"", "one of \"refuse\", \"accept\"")]);
    all_refused("brakes", "brakes.clock_tolerance", &[("\"1s\"", "at least \"5s\"")]);
    all_refused("source", "source.in_progress", &[("\"leave\"", "one of \"cancel\", \"wait\"")]);
    all_refused("retry", "retry.max_attempts", &[("0", "from 1"), ("2147483648", "to 2147483647")]);
    all_refused("retry", "retry.lease", &[("\"44s\"", "at least 3 × api.timeout + 15s, which is \"45s\"")]);
    accepted(&[("retry", "lease = \"45s\""), ("api", "max_requests_per_second = 0.5")]);
}

#[test]
fn words_outside_their_list_are_refused() {
    all_refused("api", "api.token_use", &[("\"both\"", "one of \"auto\", \"shared\", \"single\"")]);
    all_refused("log", "log.format", &[("\"text\"", "one of \"auto\", \"json\", \"pretty\"")]);
    all_refused(
        "log",
        "log.level",
        &[("\"inof\"", "a filter such as"), ("\"info,sqlx\"", "filter"), ("\"a=b=c\"", "filter")],
    );
    all_refused("server", "server.listen", &[("\"localhost:9464\"", "IP address"), ("\"9464\"", "or \"off\"")]);
    for level in ["warn", "INFO", "off", "info,sqlx=warn", "geft_sweeper=debug"] {
        accepted(&[("log", &format!("level = \"{level}\""))]);
    }
    // As a regular expression, this value would take for ever to read.
    accepted(&[("log", &format!("level = \"[a{{b=(a|b)*a{}}}]=info\"", "(a|b)".repeat(30)))]);
    assert_eq!(accepted(&[("server", "listen = \"off\"")]).server.listen, None);
}

#[test]
fn settings_of_the_source_that_contradict_each_other_are_refused() {
    refused(&[("source", "query = \"SELECT 1\"")], "source.query", "together with source.table");
    refused(&[("source", "max_age = \"30m\"")], "source.max_age", "needs source.open_statuses");
    refused(&[("source", "max_age = \"7d\"\nopen_statuses = [\"new\"]")], "source.max_age", "source.lookback");
    refused(&[("source", "open_statuses = [\"ABANDONED\"]")], "source.open_statuses", "holds \"ABANDONED\"");
    refused(&[("source", "abandoned_statuses = []")], "source.abandoned_statuses", "nothing could ever be canceled");
    refused(&[("source", "abandoned_statuses = [\"\"]")], "source.abandoned_statuses", "an empty text");
    refused(&[("source", "open_statuses = [\" \"]")], "source.open_statuses", "an empty text");
    refused(&[("source", "columns = { status = \"\" }")], "source.columns.status", "is empty");
    refused(&[("source", "time_zone = \"\"")], "source.time_zone", "is empty");
    refused(&[("source", "table = \"\"")], "source.table", "is empty");
    accepted(&[("source", "open_statuses = [\"new\"]")]);
    accepted(&[("source", "abandoned_statuses = []\nopen_statuses = [\"new\"]\nmax_age = \"1h\"")]);
}

#[test]
fn a_query_admits_no_setting_that_it_would_ignore() {
    let query = with(&[]).replace("table = \"public.payment_sessions\"", "query = \"SELECT 1\"");
    complete(&query, &[]);
    for (variable, value, setting) in [
        ("GEFT_SWEEPER__SOURCE__MAX_AGE", "1h", "source.max_age "),
        ("GEFT_SWEEPER__SOURCE__TIME_ZONE", "UTC", "source.time_zone "),
        ("GEFT_SWEEPER__SOURCE__OPEN_STATUSES", "[\"a\"]", "source.open_statuses "),
        ("GEFT_SWEEPER__SOURCE__ABANDONED_STATUSES", "[\"a\"]", "source.abandoned_statuses "),
        ("GEFT_SWEEPER__SOURCE__COLUMNS", "{ status = \"a\" }", "source.columns "),
        ("GEFT_SWEEPER__SOURCE__COLUMNS__STATUS", "a", "source.columns.status "),
    ] {
        let sentence = only_problem(&query, &[(variable, value)]);
        assert!(sentence.starts_with(setting) && sentence.contains("has no effect"), "{sentence}");
    }
}

#[test]
fn a_cron_pattern_is_taken_with_or_without_seconds() {
    let pattern = |text: &str| accepted(&[("schedule", &format!("sweep = \"{text}\""))]).schedule.sweep;
    assert_eq!(pattern("*/5 * * * *"), "0 */5 * * * *");
    assert_eq!(pattern(" 30  0 3 ? * MON-FRI "), "30 0 3 ? * MON-FRI");
    assert_eq!(pattern("0 0 29 2 *"), "0 0 0 29 2 *");
}

#[test]
fn what_is_accepted_as_a_schedule_the_scheduler_accepts() {
    for text in ["* * * * *", "0 0 L * *", "0 0 ? * 5#2", "*/10 * * * * *", "0 0 1W * *", "0 12 * JAN-MAR SUN"] {
        let sweep = accepted(&[("schedule", &format!("sweep = \"{text}\""))]).schedule.sweep;
        assert!(tokio_cron_scheduler::Job::new(sweep.as_str(), |_, _| {}).is_ok(), "{text}");
    }
}

#[test]
fn a_cron_pattern_that_does_not_mean_what_it_seems_to_is_refused() {
    all_refused(
        "schedule",
        "schedule.sweep",
        &[
            ("\"0 0 1 * 1\"", "restricts both"),
            ("\"0 0 0 1-7 * MON\"", "restricts both"),
            ("\"0 0 30 2 *\"", "never comes"),
            ("\"0 0 31 4,6 *\"", "never comes"),
            ("\"* * * *\"", "has 4 fields"),
            ("\"0 0 0 * * * 2030\"", "has 7 fields"),
            ("\"@hourly\"", "has 1 fields"),
            ("\"61 * * * *\"", "is no cron pattern"),
            ("\"every five minutes or so\"", "is no cron pattern"),
            ("\"\\u001b[31m * * * *\"", "illegal character '\\u{1b}'"),
        ],
    );
}

#[test]
fn a_database_url_that_is_not_safe_is_refused() {
    all_refused(
        "database",
        "database.url",
        &[
            ("\"postgres://u:p@db/shop\"", "must say how the connection is protected"),
            ("\"postgres://u:p@10.0.0.1/shop\"", "must say how"),
            ("\"postgres:///shop?host=db.example.com\"", "must say how"),
            ("\"postgres:///shop?hostaddr=10.0.0.1\"", "must say how"),
            ("\"postgres://u:p@db/shop?sslmod=require\"", "the nearest known one is `sslmode`"),
            ("\"postgres://u:p@db/shop?sslmode=yes\"", "has an sslmode that is none of"),
            ("\"postgres://u:p@localhost/shop?port=x\"", "an impossible value"),
            ("\"mysql://u:p@db/shop?sslmode=require\"", "must start with postgres://"),
            ("\"host=db user=u\"", "is no URL"),
            ("\"\"", "holds nothing"),
        ],
    );
}

#[test]
fn a_database_url_that_is_local_or_says_its_sslmode_is_taken() {
    for url in [
        "postgresql://u:p@db/shop?ssl-mode=disable",
        "postgres://u:p@localhost/shop",
        "postgres://u:p@127.0.0.2:5433/shop?application_name=sweeper",
        "postgres://u:p@[::1]/shop",
        "postgres:///shop?host=/var/run/postgresql&user=u&options[lock_timeout]=1s",
        "postgres://u@%2Fvar%2Frun%2Fpostgresql/shop",
        "postgres:///shop",
    ] {
        let config = accepted(&[("database", &format!("url = \"{url}\""))]);
        assert_eq!(config.database.url.expose_secret(), url);
    }
}

#[test]
fn an_authority_that_is_no_certificate_is_refused() {
    let refused_file = |text: &str, says: &str| {
        let file = file(text);
        refused(&[("api", &format!("ca_file = {:?}", file.path()))], "api.ca_file", says);
    };
    refused_file("", "holds no certificate");
    refused_file("-----BEGIN CERTIFICATE-----\n", "not readable as PEM");
    refused_file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be used (number 1)");
    refused(&[("api", "ca_file = \"no/such/file\"")], "api.ca_file", "names \"no/such/file\", which cannot be read");

    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let good = file(&key.cert.pem());
    let config = accepted(&[("api", &format!("ca_file = {:?}", good.path()))]);
    assert_eq!(config.api.ca_file.as_deref(), Some(good.path()));
}
