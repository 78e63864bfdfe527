//! Every setting that there is, with the kind of value it takes.
//!
//! The one list that files and environment variables are held against. It says nothing of defaults: those are the sample file's.

use config::{Value, ValueKind};

/// What all our environment variables start with.
pub const PREFIX: &str = "GEFT_SWEEPER__";

/// Comparing names takes time with the length of each.
const LONGEST_SLIP: usize = 100;

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Section and name, with a dot between.
    pub path: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Whether its value must never be shown.
    pub secret: bool,
}

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Text that reads as a span of time.
    Duration,
    /// A whole number.
    Integer,
    /// A number, whole or not.
    Number,
    /// True or false.
    Boolean,
    /// A list of texts.
    List,
    /// Names with texts.
    Table,
}

/// Every setting, in the order of the sample file.
pub const KEYS: &[Key] = &[
    secret("database.url", Kind::Text),
    open("database.url_file", Kind::Text),
    open("database.max_connections", Kind::Integer),
    open("database.auto_migrate", Kind::Boolean),
    open("database.statement_timeout", Kind::Duration),
    open("source.table", Kind::Text),
    open("source.columns", Kind::Table),
    open("source.columns.session_id", Kind::Text),
    open("source.columns.reference_id", Kind::Text),
    open("source.columns.status", Kind::Text),
    open("source.columns.created_at", Kind::Text),
    open("source.columns.updated_at", Kind::Text),
    open("source.time_zone", Kind::Text),
    open("source.abandoned_statuses", Kind::List),
    open("source.open_statuses", Kind::List),
    open("source.max_age", Kind::Duration),
    open("source.lookback", Kind::Duration),
    open("source.query", Kind::Text),
    open("source.in_progress", Kind::Text),
    open("source.in_progress_grace", Kind::Duration),
    open("api.base_url", Kind::Text),
    open("api.client_id", Kind::Text),
    secret("api.client_secret", Kind::Text),
    open("api.client_secret_file", Kind::Text),
    open("api.ca_file", Kind::Text),
    open("api.timeout", Kind::Duration),
    open("api.connect_timeout", Kind::Duration),
    open("api.max_in_flight", Kind::Integer),
    open("api.max_requests_per_second", Kind::Number),
    open("api.max_retry_after", Kind::Duration),
    open("api.token_use", Kind::Text),
    secret("api.headers", Kind::Table),
    open("api.headers_file", Kind::Text),
    open("schedule.sweep", Kind::Text),
    open("retry.initial_interval", Kind::Duration),
    open("retry.multiplier", Kind::Number),
    open("retry.randomization_factor", Kind::Number),
    open("retry.max_interval", Kind::Duration),
    open("retry.max_attempts", Kind::Integer),
    open("retry.lease", Kind::Duration),
    open("brakes.max_discovered", Kind::Integer),
    open("brakes.unknown_api", Kind::Text),
    open("brakes.clock_tolerance", Kind::Duration),
    open("log.level", Kind::Text),
    open("log.format", Kind::Text),
    open("server.listen", Kind::Text),
    open("telemetry.otlp_endpoint", Kind::Text),
];

const fn open(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, secret: false }
}

const fn secret(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, secret: true }
}

impl Key {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.replace('.', "__").to_uppercase())
    }

    /// Whether it is a table of settings that are known one by one.
    pub(super) fn is_group(&self) -> bool {
        is_section(self.path)
    }
}

impl Kind {
    /// Whether a value of a file is of this kind; the texts of durations are read later.
    pub(super) fn admits(self, value: &Value) -> bool {
        let is_text = |value: &Value| matches!(value.kind, ValueKind::String(_));
        match (self, &value.kind) {
            (Self::Text | Self::Duration, ValueKind::String(_))
            | (Self::Integer, ValueKind::I64(_))
            | (Self::Number, ValueKind::I64(_) | ValueKind::Float(_))
            | (Self::Boolean, ValueKind::Boolean(_)) => true,
            (Self::List, ValueKind::Array(items)) => items.iter().all(is_text),
            (Self::Table, ValueKind::Table(entries)) => entries.values().all(is_text),
            _ => false,
        }
    }

    /// What to write.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Text => "text in quotes",
            Self::Duration => r#"a duration in quotes, such as "30s" or "1h 30m""#,
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::List => r#"a list of texts, such as ["one", "two"]"#,
            Self::Table => r#"a table of texts, such as { name = "text" }"#,
        }
    }
}

/// The setting of that name.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether settings stand under that name.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The known setting whose name is most like this one.
pub(super) fn nearest(path: &str) -> &'static Key {
    closest(path, KEYS.iter(), |key| key.path).unwrap_or(&KEYS[0])
}

/// The section whose name is most like this one.
pub(super) fn nearest_section(name: &str) -> &'static str {
    let sections = KEYS.iter().filter_map(|key| key.path.split_once('.')).map(|(section, _)| section);
    closest(name, sections, |section| section).unwrap_or_default()
}

/// The candidate most like a name, of which no more is looked at than a slip can have made of one that is known.
pub(super) fn closest<T>(name: &str, among: impl Iterator<Item = T>, name_of: impl Fn(&T) -> &str) -> Option<T> {
    let name: String = name.chars().take(LONGEST_SLIP).collect();
    among.min_by_key(|candidate| strsim::damerau_levenshtein(&name, name_of(candidate)))
}
