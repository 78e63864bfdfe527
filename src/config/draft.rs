//! The settings of all places, one over the other, and what was found wrong with them so far.
//!
//! The sections read their values from here. A reader that finds a fault notes it and gives nothing, so that the others go on and
//! every problem is told in one run.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::{Config, File, FileFormat};
use serde::Deserialize;

use super::keys;
use super::layer::Layer;
use super::problem::{Problem, quoted};

/// The commented sample: the source of every default.
pub(super) const SAMPLE: &str = include_str!("../../config/geft-sweeper.toml");

/// Longer than any time that makes sense here; also keeps sums of durations far from overflow.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// Shorter ones become nothing where milliseconds are counted, and nothing often means "no limit".
const SHORTEST: Duration = Duration::from_millis(1);

/// Secrets: each can be given as it is, or as the path of a file.
const SECRETS: [(&str, &str); 3] = [
    ("database.url", "database.url_file"),
    ("api.client_secret", "api.client_secret_file"),
    ("api.headers", "api.headers_file"),
];

/// The merged settings and the problems found in them.
pub(super) struct Draft {
    merged: Config,
    file: Layer,
    environment: Layer,
    problems: Vec<Problem>,
}

impl Draft {
    /// Puts the environment over the file, and both over the defaults.
    pub(super) fn merge(mut file: Layer, environment: Layer, mut problems: Vec<Problem>) -> Self {
        for (direct, from_file) in SECRETS {
            for layer in [&file, &environment] {
                if layer.gives(direct) && layer.gives(from_file) {
                    let sentence = format!("is given together with {from_file}: leave one of them out");
                    problems.push(Problem::new(direct, layer.variable(direct), sentence));
                }
            }
            if environment.gives(direct) || environment.gives(from_file) {
                file.forget(direct);
                file.forget(from_file);
            }
        }
        let merged = Config::builder()
            .add_source(File::from_str(SAMPLE, FileFormat::Toml))
            .add_source(file.clone())
            .add_source(environment.clone())
            .build()
            .unwrap_or_else(|error| {
                problems.push(Problem::new("the configuration", None, format!("cannot be put together: {error}")));
                Config::default()
            });
        Self { merged, file, environment, problems }
    }

    /// Notes that a setting is wrong.
    pub(super) fn refuse(&mut self, path: &str, sentence: impl Into<String>) {
        let variable = self.environment.variable(path);
        self.problems.push(Problem::new(path, variable, sentence));
    }

    /// Notes that a setting has to be given: `example` is a line of the file.
    pub(super) fn refuse_missing(&mut self, path: &str, example: &str) {
        let (section, variable) =
            (path.split('.').next().unwrap_or_default(), keys::find(path).map(keys::Key::variable).unwrap_or_default());
        self.refuse(path, format!("is missing: write `{example}` under [{section}], or set {variable}"));
    }

    /// Whether the file or the environment gives the setting, usable or not.
    pub(super) fn gives(&self, path: &str) -> bool {
        self.file.gives(path) || self.environment.gives(path)
    }

    /// Whether something was found wrong with this very setting.
    pub(super) fn is_refused(&self, path: &str) -> bool {
        self.problems.iter().any(|problem| problem.setting == path)
    }

    /// The finished section, where nothing is wrong with any of its settings.
    pub(super) fn section<T>(&self, name: &str, section: Option<T>) -> Option<T> {
        section.filter(|_| !self.problems.iter().any(|problem| problem.section() == name))
    }

    /// Every problem, in the order of the sample file.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by(|left, right| left.place().cmp(&right.place()));
        self.problems
    }

    /// A value as it stands; none where it is not given, has no default, or was refused.
    pub(super) fn value<'de, T: Deserialize<'de>>(&self, path: &str) -> Option<T> {
        if self.is_refused(path) { None } else { self.merged.get(path).ok() }
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        let text: String = self.value(path)?;
        if text.trim().is_empty() {
            self.refuse(path, "is empty: give it a value");
            return None;
        }
        Some(text)
    }

    /// A text that has to be given.
    pub(super) fn required_text(&mut self, path: &str, example: &str) -> Option<String> {
        if self.value::<String>(path).is_none() && !self.is_refused(path) {
            self.refuse_missing(path, example);
        }
        self.text(path)
    }

    /// A list of texts, none of them empty.
    pub(super) fn texts(&mut self, path: &str) -> Option<Vec<String>> {
        let texts: Vec<String> = self.value(path)?;
        if texts.iter().any(|text| text.trim().is_empty()) {
            self.refuse(path, "holds an empty text: take it out");
            return None;
        }
        Some(texts)
    }

    /// A span of time.
    pub(super) fn duration(&mut self, path: &str) -> Option<Duration> {
        let text: String = self.value(path)?;
        let complaint = match humantime::parse_duration(&text) {
            Ok(duration) if duration < SHORTEST => "is too short: write at least \"1ms\"",
            Ok(duration) if duration > LONGEST => "is too long: write at most \"3650days\"",
            Ok(duration) => return Some(duration),
            Err(_) => "is no duration: write one such as \"30s\" or \"1h 30m\"",
        };
        self.refuse(path, format!("is {}, which {complaint}", quoted(&text)));
        None
    }

    /// A whole number within bounds.
    pub(super) fn integer<T: TryFrom<i64>>(&mut self, path: &str, allowed: &RangeInclusive<i64>) -> Option<T> {
        let number: i64 = self.value(path)?;
        self.bounded(path, number, allowed).and_then(|number| T::try_from(number).ok())
    }

    /// A number within bounds. What is no number at all is never within them.
    pub(super) fn number(&mut self, path: &str, allowed: &RangeInclusive<f64>) -> Option<f64> {
        let number: f64 = self.value(path)?;
        self.bounded(path, number, allowed)
    }

    fn bounded<T: PartialOrd + Display>(&mut self, path: &str, number: T, allowed: &RangeInclusive<T>) -> Option<T> {
        if allowed.contains(&number) {
            return Some(number);
        }
        self.refuse(path, format!("is {number}, but must be from {} to {}", allowed.start(), allowed.end()));
        None
    }

    /// One of the words given.
    pub(super) fn choice<T: Copy>(&mut self, path: &str, words: &[(&str, T)]) -> Option<T> {
        let text: String = self.value(path)?;
        if let Some((_, choice)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        let known: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
        self.refuse(path, format!("is {}, but must be one of {}", quoted(&text), known.join(", ")));
        None
    }
}
