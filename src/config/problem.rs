//! What is wrong with the configuration, as one sentence for the person who wrote it.
//!
//! Never holds the value of a secret: who makes a problem of one names the setting alone.

use std::fmt;

use super::keys::KEYS;

/// The longest part of an outside text that is shown.
const SHOWN_CHARACTERS: usize = 120;

/// One thing that is wrong. Its `Display` is one sentence that names the setting, the value and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting as `section.key`, or the path of a file that could not be read as a whole.
    pub setting: String,
    /// The environment variable that the value came from, where it came from one.
    pub variable: Option<String>,
    /// The rest of the sentence; it follows the setting's name.
    pub sentence: String,
}

impl Problem {
    pub(super) fn new(setting: impl Into<String>, variable: Option<String>, sentence: impl Into<String>) -> Self {
        Self { setting: setting.into(), variable, sentence: sentence.into() }
    }

    /// The section that cannot be used because of it.
    pub(super) fn section(&self) -> &str {
        self.setting.split('.').next().unwrap_or_default()
    }

    /// Where the setting stands in the sample file, so that problems are told in an order that can be followed there.
    pub(super) fn place(&self) -> (usize, &str) {
        (KEYS.iter().position(|key| key.path == self.setting).unwrap_or(KEYS.len()), &self.setting)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_seen = !self.setting.trim().is_empty();
        let setting = if is_seen { escaped(&self.setting) } else { quoted(&self.setting) };
        formatter.write_str(&setting)?;
        if let Some(variable) = &self.variable {
            write!(formatter, " (environment variable {})", escaped(variable))?;
        }
        write!(formatter, " {}", self.sentence)
    }
}

impl std::error::Error for Problem {}

/// A value as it is shown in a sentence: in quotes, on one line, and not longer than it is of use.
pub(super) fn quoted(value: &str) -> String {
    format!("\"{}\"", escaped(value))
}

/// A name as it is shown in a sentence: on one line, bounded, without quotes.
pub(super) fn escaped(name: &str) -> String {
    let mut shown = String::new();
    for character in name.chars().take(SHOWN_CHARACTERS) {
        match character {
            '\'' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    if name.chars().nth(SHOWN_CHARACTERS).is_some() {
        shown.push('…');
    }
    shown
}
