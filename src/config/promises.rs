//! What holds whatever stands in a file or a variable: asserted here, and held by the tests and the fuzz targets
//! against settings made up at random.
//!
//! Compiled for those two alone.

use std::io::Write as _;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::{Config, KEYS, Key, Kind, Problem, Sections, read};

/// What must not be shown.
const SECRET: &str = "hunter2-xyzzy";

/// The least that has to be given.
pub(super) const REQUIRED: &str = r#"
[database]
url = "postgres://sweeper:pass@db/shop?sslmode=verify-full"
[source]
table = "public.payment_sessions"
[api]
base_url = "https://geft.example.com"
client_id = "id"
client_secret = "s3cr3t"
"#;

/// Longer sentences are no help.
const LONGEST_SENTENCE: usize = 4_000;

/// Any file at all.
pub(crate) fn file(text: &[u8]) {
    held(sections(text, &[]));
}

/// The required settings with [`SECRET`] for every secret, less up to seven characters, and with up to four in their
/// place: fewer than it takes to put a secret where something else belongs.
pub(crate) fn damaged_file(cut: usize, less: usize, more: &str) {
    let url = format!("postgres://u:{SECRET}@db/shop?sslmode=require");
    let text = REQUIRED.replace("postgres://sweeper:pass@db/shop?sslmode=verify-full", &url).replace("s3cr3t", SECRET);
    let start = cut % text.len();
    let rest = text.get(start + less % 8..).unwrap_or_default();
    let more: String = more.chars().take(4).collect();
    held_secret(sections(format!("{}{more}{rest}", &text[..start]).as_bytes(), &[]));
}

/// Any value of any variable over the required settings; of a secret setting's, [`SECRET`] is a part.
pub(crate) fn variable(name: &str, value: &str) {
    let key = KEYS.iter().find(|key| key.variable() == name);
    let value = key.and_then(|key| holding_secret(key, value)).unwrap_or_else(|| value.to_owned());
    let sections = sections(REQUIRED.as_bytes(), &[(name, &value)]);
    let is_ours = name.starts_with(super::PREFIX);
    assert!(!is_ours || key.is_some() || !sections.problems.is_empty(), "{name} is passed over");
    for problem in sections.problems.iter().filter(|_| is_ours) {
        // Or another setting, which does not go together with this one.
        let is_known = KEYS.iter().any(|key| key.path == problem.setting);
        assert!(is_known || problem.variable.as_deref() == Some(name), "{problem}");
    }
    held_secret(sections);
}

/// Any file of extra headers.
pub(crate) fn headers_file(text: &[u8]) {
    let headers = written(text);
    let path = headers.path().display();
    held(sections(format!("{REQUIRED}headers_file = '{path}'").as_bytes(), &[]));
}

/// A value of a secret setting; none where the text would close the quotes around it.
fn holding_secret(key: &Key, text: &str) -> Option<String> {
    let ends_quotes = |character: char| matches!(character, '"' | '\\') || character.is_control();
    match key.kind {
        _ if !key.secret => None,
        Kind::Table if text.contains(ends_quotes) => Some(format!("{{ a = [\"{SECRET}\"] }}")),
        Kind::Table => Some(format!("{{ a = \"{text}{SECRET}{text}\" }}")),
        _ => Some(format!("{text}{SECRET}{text}")),
    }
}

/// Every problem is one sentence on a setting, and where there is none the settings can be used.
fn held(sections: Sections) {
    let problems = sections.problems.clone();
    for problem in &problems {
        let shown = problem.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?}");
        assert!(shown.chars().count() <= LONGEST_SENTENCE, "{shown:?}");
        assert!(!problem.setting.trim().is_empty() || shown.starts_with('"'), "{shown:?} names no setting");
    }
    match sections.complete() {
        Ok(config) => usable(&config),
        Err(told) => assert_eq!(told, problems, "a section that is missing says why"),
    }
}

/// The same, and [`SECRET`] is shown nowhere.
pub(super) fn held_secret(sections: Sections) {
    let shown = sections.problems.iter().map(Problem::to_string).chain([format!("{sections:?}")]);
    shown.for_each(|shown| assert!(!shown.contains(SECRET), "{shown}"));
    held(sections);
}

/// What the rest of the program takes for granted.
fn usable(config: &Config) {
    let (api, retry) = (&config.api, &config.retry);
    let durations = [
        config.database.statement_timeout,
        config.source.lookback,
        api.timeout,
        api.connect_timeout,
        api.max_retry_after,
        retry.initial_interval,
        retry.max_interval,
        retry.lease,
        config.brakes.clock_tolerance,
    ];
    let sensible = Duration::from_millis(1)..=Duration::from_hours(10 * 365 * 24);
    assert!(durations.iter().all(|duration| sensible.contains(duration)), "{durations:?}");
    assert!(retry.lease >= api.timeout * 3 + Duration::from_secs(15) && api.connect_timeout <= api.timeout);
    assert!(retry.multiplier >= 1.0 && (0.0..=1.0).contains(&retry.randomization_factor) && retry.max_attempts > 0);
    assert!(api.max_in_flight > 0 && api.max_requests_per_second.is_none_or(|limit| limit > 0.0 && limit.is_finite()));
    let host = api.base_url.host_str().unwrap_or_default();
    let is_local = ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local));
    assert!(api.base_url.scheme() == "https" || is_local, "{host}");
    assert!(api.base_url.username().is_empty() && api.base_url.password().is_none() && api.base_url.query().is_none());
    assert!(!api.client_id.contains(':') && config.database.max_connections >= 2);
    assert_eq!(config.schedule.sweep.split(' ').count(), 6);
}

/// What a file of this text and these variables come to.
pub(super) fn sections(text: &[u8], variables: &[(&str, &str)]) -> Sections {
    read(Some(written(text).path()), variables.iter().copied())
}

/// A file that is gone when the value is.
pub(super) fn written(text: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    file
}
