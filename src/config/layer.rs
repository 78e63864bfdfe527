//! What one place says: a file's settings, or the environment's, held against the list of known ones.
//!
//! It checks names and kinds; whether a value makes sense is the sections' business. Problems never show a secret.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use config::{ConfigError, FileFormat, Format, Map, Source, Value, ValueKind};

use super::keys::{self, KEYS, Key, Kind, PREFIX};
use super::problem::{Problem, quoted};

/// The settings of one place, by path, each of the right kind.
#[derive(Clone, Default)]
pub(super) struct Layer {
    values: BTreeMap<&'static str, Value>,
    /// The variables that settings came from, usable or not; empty for a file.
    variables: BTreeMap<&'static str, String>,
    /// The settings that are given here, usable or not.
    given: Vec<&'static str>,
}

impl fmt::Debug for Layer {
    /// Names alone: the values may be secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(&self.given).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect())
    }
}

impl Layer {
    /// The settings of a file's text; none where it is not TOML.
    pub(super) fn from_file(name: &str, text: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let mut layer = Self::default();
        match FileFormat::Toml.parse(None, text) {
            Ok(table) => layer.take_table("", table, None, problems),
            Err(error) => {
                problems.push(Problem::new(name, None, not_toml(text, error.as_ref())));
                return None;
            }
        }
        Some(layer)
    }

    /// The settings of the variables that are ours; all others are passed over.
    pub(super) fn from_environment(
        variables: impl Iterator<Item = (OsString, OsString)>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let ours = variables
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| is_ours(name))
            // Sorted, so that a whole table comes before one of its settings.
            .collect::<BTreeMap<_, _>>();
        let mut layer = Self::default();
        for (name, value) in ours {
            layer.take_variable(&name, value, problems);
        }
        layer
    }

    /// Whether the setting is given here, usable or not.
    pub(super) fn gives(&self, path: &str) -> bool {
        self.given.contains(&path)
    }

    /// Whether both places say the same of the setting.
    pub(super) fn agrees(&self, other: &Self, path: &str) -> bool {
        self.values.get(path) == other.values.get(path)
    }

    /// The variable that gave the setting.
    pub(super) fn variable(&self, path: &str) -> Option<String> {
        self.variables.get(path).cloned()
    }

    /// Forgets a setting, because another place replaces it.
    pub(super) fn forget(&mut self, path: &str) {
        self.values.remove(path);
        self.given.retain(|given| *given != path);
    }

    fn take_variable(&mut self, name: &str, value: OsString, problems: &mut Vec<Problem>) {
        let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
            let path = name.strip_prefix(PREFIX).unwrap_or(name).replace("__", ".").to_lowercase();
            let sentence = format!("is not a setting; the nearest is {}", keys::nearest(&path).variable());
            problems.push(Problem::new(path, Some(name.to_owned()), sentence));
            return;
        };
        let text = value.into_string().ok();
        if let Some(value) = text.clone().and_then(|text| read_variable(key.kind, text)) {
            return self.take(key.path, value, Some(name), problems);
        }
        self.note(key, Some(name));
        let wanted = match key.kind {
            Kind::Text | Kind::Duration => "text in UTF-8".to_owned(),
            Kind::List | Kind::Table => format!("{}, written as in TOML", key.kind.wanted()),
            other => other.wanted().to_owned(),
        };
        let sentence = match text.filter(|_| !key.secret) {
            Some(text) => format!("is {}, but must be {wanted}", quoted(&text)),
            None => format!("must be {wanted}"),
        };
        problems.push(Problem::new(key.path, Some(name.to_owned()), sentence));
    }

    fn take_table(
        &mut self,
        prefix: &str,
        table: Map<String, Value>,
        variable: Option<&str>,
        problems: &mut Vec<Problem>,
    ) {
        for (name, value) in table {
            // A quoted name with a dot in it is not the path that it looks like.
            let path = format!("{prefix}{}", name.replace('.', "\\."));
            self.take(&path, value, variable, problems);
        }
    }

    fn take(&mut self, path: &str, value: Value, variable: Option<&str>, problems: &mut Vec<Problem>) {
        let key = keys::find(path);
        if let Some(key) = key {
            self.note(key, variable);
        }
        let sentence = match (key, value.kind) {
            (Some(key), kind) if !key.is_group() => {
                let value = Value::new(None, kind);
                if key.kind.admits(&value) {
                    self.values.insert(key.path, value);
                    return;
                }
                wrong_kind(key, &value)
            }
            (_, ValueKind::Table(table)) if keys::is_section(path) => {
                return self.take_table(&format!("{path}."), table, variable, problems);
            }
            (Some(_), _) => format!("must be {}", Kind::Table.wanted()),
            (None, _) if keys::is_section(path) => format!("must be a section: write [{path}] on a line of its own"),
            (None, ValueKind::Table(_)) if !path.contains('.') => {
                format!("is not a section; the nearest is [{}]", keys::nearest_section(path))
            }
            (None, _) => format!("is not a setting; the nearest is {}", keys::nearest(path).path),
        };
        problems.push(Problem::new(path, variable.map(str::to_owned), sentence));
    }

    fn note(&mut self, key: &'static Key, variable: Option<&str>) {
        self.given.push(key.path);
        if let Some(variable) = variable {
            self.variables.insert(key.path, variable.to_owned());
        }
    }
}

/// Whether a variable is meant for us. One with single underscores that spells a setting is a slip, and must not be passed over;
/// others (Kubernetes makes `GEFT_SWEEPER_PORT` for a service of our name) are none of our business.
fn is_ours(name: &str) -> bool {
    let joined = |name: &str| name.replace("__", "_").to_uppercase();
    name.starts_with(PREFIX) || KEYS.iter().any(|key| joined(&key.variable()) == joined(name))
}

fn read_variable(kind: Kind, text: String) -> Option<Value> {
    let kind = match kind {
        Kind::Text | Kind::Duration => ValueKind::String(text),
        Kind::Integer => ValueKind::I64(text.trim().parse().ok()?),
        Kind::Number => ValueKind::Float(text.trim().parse().ok()?),
        Kind::Boolean => ValueKind::Boolean(text.trim().parse().ok()?),
        Kind::List | Kind::Table => {
            let mut table = FileFormat::Toml.parse(None, &format!("value = {text}")).ok()?;
            let value = table.remove("value")?;
            // More than one line of settings in one variable is not a value.
            let is_right =
                matches!((kind, &value.kind), (Kind::List, ValueKind::Array(_)) | (Kind::Table, ValueKind::Table(_)));
            return (is_right && table.is_empty()).then_some(value);
        }
    };
    Some(Value::new(None, kind))
}

fn wrong_kind(key: &Key, value: &Value) -> String {
    let shown = match &value.kind {
        _ if key.secret => None,
        ValueKind::Boolean(value) => Some(value.to_string()),
        ValueKind::I64(value) => Some(value.to_string()),
        ValueKind::Float(value) => Some(value.to_string()),
        ValueKind::String(value) => Some(quoted(value)),
        _ => None,
    };
    let wanted = key.kind.wanted();
    shown.map_or_else(|| format!("must be {wanted}"), |shown| format!("is {shown}, but must be {wanted}"))
}

/// Why a text is not TOML and where, without the text: the line may hold a secret.
pub(super) fn not_toml(text: &str, error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let Some(error) = error.downcast_ref::<toml::de::Error>() else {
        return "is not valid TOML: a number in it is too large".to_owned();
    };
    let reason = error.message();
    let before = error.span().and_then(|span| text.get(..span.start.min(text.len())));
    before.map_or_else(
        || format!("is not valid TOML: {reason}"),
        |before| {
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("is not valid TOML at line {line}, column {column}: {reason}")
        },
    )
}
