//! How the daemon is: what the loop knows of itself, for the health endpoints and for the log.
//!
//! It asks nobody; the loop tells it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is shown of a source that cannot be read.
const UNREADABLE: &str =
    "the source cannot be read: the log event `part.ill` and `geft-sweeper check` say why and what to do";

/// So many sentences are said of one illness at the most.
const SENTENCES: usize = 5;

/// What can be wrong. Each is said once when it begins and once when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The database does not answer.
    Database,
    /// The schema is missing or does not fit.
    Schema,
    /// The merchant's table does not fit the settings.
    Source,
}

impl Part {
    /// Every part, in the order in which they are needed.
    pub const ALL: [Self; 3] = [Self::Database, Self::Schema, Self::Source];

    /// The part's name in JSON and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Schema => "schema",
            Self::Source => "source",
        }
    }
}

/// What is known of a part.
#[derive(Clone, Debug, Default)]
enum Condition {
    #[default]
    Unknown,
    Well,
    /// With the sentences that said what is wrong, the present one last.
    Ill(Vec<String>),
}

impl Condition {
    /// Whether this is to be said. In one illness each sentence is news once, however often they take turns.
    fn is_news(&mut self, what: &str) -> bool {
        let mut said = if let Self::Ill(said) = self { std::mem::take(said) } else { Vec::new() };
        let known = said.iter().position(|before| before == what);
        if let Some(at) = known {
            said.remove(at);
        }
        let is_news = known.is_none() && said.len() < SENTENCES;
        said.truncate(SENTENCES - 1);
        said.push(what.to_owned());
        *self = Self::Ill(said);
        is_news
    }
}

/// The daemon's health. Nothing is known to be well before it was found so.
#[derive(Debug, Default)]
pub struct Health {
    parts: Mutex<[Condition; 3]>,
}

impl Health {
    /// Notes that a part is well, and says so where it was not.
    pub fn well(&self, part: Part) {
        let before = std::mem::replace(&mut self.parts_locked()[part as usize], Condition::Well);
        if !matches!(before, Condition::Well) {
            tracing::info!(event = "part.well", part.name = part.as_str(), "the {} is ready", part.as_str());
        }
    }

    /// Notes that a part which was not reached before gave no trouble; one that is ill stays so.
    pub fn reached(&self, part: Part) {
        let unknown = matches!(self.parts_locked()[part as usize], Condition::Unknown);
        if unknown {
            self.well(part);
        }
    }

    /// Notes what is wrong with a part, and says so where that was not said before.
    pub fn ill(&self, part: Part, what: &str) {
        let is_news = self.parts_locked()[part as usize].is_news(what);
        if is_news {
            tracing::error!(event = "part.ill", part.name = part.as_str(), "{what}; trying again until it works");
        }
    }

    /// What is wrong with a part, or that it was not reached yet; none where it is well.
    #[must_use]
    pub fn trouble(&self, part: Part) -> Option<String> {
        match &self.parts_locked()[part as usize] {
            Condition::Unknown => Some("not reached yet".to_owned()),
            Condition::Well => None,
            Condition::Ill(said) => said.last().cloned(),
        }
    }

    /// Whether something is wrong with a part; one that was not reached yet is not ill.
    #[must_use]
    pub fn is_ill(&self, part: Part) -> bool {
        matches!(self.parts_locked()[part as usize], Condition::Ill(_))
    }

    /// The same as [`trouble`](Self::trouble), for everybody who can reach the port. What the database has against the
    /// merchant's table or query may quote a row of it, so there the log alone has it in full.
    #[must_use]
    pub fn shown_trouble(&self, part: Part) -> Option<String> {
        if part == Part::Source && self.is_ill(part) { Some(UNREADABLE.to_owned()) } else { self.trouble(part) }
    }

    fn parts_locked(&self) -> MutexGuard<'_, [Condition; 3]> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_ready_before_it_was_found_so() {
        let health = Health::default();
        assert!(health.trouble(Part::Database).is_some());
        health.well(Part::Database);
        assert_eq!(health.trouble(Part::Database), None);
        health.ill(Part::Database, "gone");
        assert_eq!(health.trouble(Part::Database).as_deref(), Some("gone"));
    }

    #[test]
    fn what_is_wrong_is_said_once_however_many_notice_it_in_turn() {
        let mut condition = Condition::Well;
        let said = ["no answer", "refused", "no answer", "refused", "full"].map(|what| condition.is_news(what));
        assert_eq!(said, [true, true, false, false, true]);
        assert!(matches!(&condition, Condition::Ill(said) if said.last().unwrap() == "full"));
        let others = (0..100).filter(|number| condition.is_news(&number.to_string())).count();
        assert_eq!(others, SENTENCES - 3, "not without bound");
        condition = Condition::Well;
        assert!(condition.is_news("refused"), "another illness");
    }
}
