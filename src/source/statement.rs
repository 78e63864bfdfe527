//! The statements on the merchant's table, as text: which rows are to be canceled, and why.
//!
//! Pure text: nothing here is sent. Plain SELECTs of named columns, never a lock.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::identifier::{literal, literals};
use super::key::Key;
use super::moment::{Moment, ago, before};
use crate::session::Reason;

/// How long a text of the merchant's may be, in characters; the rest is cut.
const LONGEST_TEXT: usize = 1_000;

/// What stands for the id as a uuid in a condition from outside.
const SESSION_ID: &str = "{session_id}";

/// The merchant's table with what its columns are; every name in it is quoted, with the alias `merchant`.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) relation: String,
    pub(super) is_partitioned: bool,
    pub(super) can_have_index: bool,
    pub(super) key: Key,
    pub(super) reference_id: String,
    pub(super) status: String,
    pub(super) spellings: Spellings,
    pub(super) created_at: Moment,
    pub(super) updated_at: Option<Moment>,
    pub(super) abandoned: Vec<String>,
    pub(super) open: Vec<String>,
    pub(super) max_age: Option<Duration>,
    pub(super) lookback: Duration,
}

/// How the statuses in question are spelled in the column.
#[derive(Clone, Debug)]
pub(super) enum Spellings {
    /// An enum: these labels, and no others can be.
    Labels(Found),
    /// An index begins with the status: it is asked at each sweep.
    AskIndex,
    /// Compared in lower case, row by row or by an index on `lower(status)`.
    Unknown,
}

/// The spellings that there are of the statuses in question.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) abandoned: Vec<String>,
    pub(super) open: Vec<String>,
}

/// A query that gives `session_id`, `reference_id` and `reason`, instead of a table.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) text: String,
    pub(super) key: Key,
}

impl Table {
    /// The candidates, as `session_id, reference_id, status, created_at, reason`.
    pub(super) fn discovery(
        &self,
        found: Option<&Found>,
        not_known: Option<&str>,
        since: Option<DateTime<Utc>>,
    ) -> String {
        let recent = self.created_at.at_least(&ago(self.lookback));
        let abandoned = format!("{} AND {recent}", self.is_abandoned(found));
        let aged = self.is_aged(found).map(|aged| format!("{aged} AND {recent}"));
        let (Some(updated_at), Some(since)) = (&self.updated_at, since) else {
            let all = [Some((Reason::ABANDONED, abandoned)), aged.map(|aged| (Reason::AGED, aged))];
            return self.branches(all.into_iter().flatten(), not_known);
        };
        let since = format!("timestamptz {}", literal(&since.to_rfc3339_opts(SecondsFormat::Micros, true)));
        let changed = updated_at.at_least(&since);
        let mut branches = vec![(Reason::ABANDONED, format!("{abandoned} AND {changed}"))];
        if let (Some(aged), Some(max_age)) = (aged, self.max_age) {
            // A row becomes old without being changed: those that became so since are a range of their own.
            let became_old = self.created_at.at_least(&before(&since, max_age));
            branches.push((Reason::AGED, format!("{aged} AND {became_old}")));
            branches.push((Reason::AGED, format!("{aged} AND {changed}")));
        }
        self.branches(branches.into_iter(), not_known)
    }

    fn branches(&self, branches: impl Iterator<Item = (&'static str, String)>, not_known: Option<&str>) -> String {
        let branches = branches.map(|(reason, condition)| self.branch(reason, &condition, not_known));
        branches.collect::<Vec<_>>().join("\nUNION ALL\n")
    }

    fn branch(&self, reason: &str, condition: &str, not_known: Option<&str>) -> String {
        format!(
            "SELECT {}, left({}::text, {LONGEST_TEXT}), left({}::text, {LONGEST_TEXT}), {}, {}::text\n  \
             FROM {} AS merchant\n WHERE {condition}{}",
            self.key.text(),
            self.reference_id,
            self.status,
            self.created_at.presentable(),
            literal(reason),
            self.relation,
            and_not_known(not_known, &self.key),
        )
    }

    /// Those of the keys in the first parameter that are to be canceled by status and age.
    pub(super) fn still_named(&self) -> String {
        format!(
            "/* geft-sweeper source.still_named */\nSELECT {} FROM {} AS merchant\n WHERE {}\n   AND ({} OR {})",
            self.key.text(),
            self.relation,
            self.key.among_parameter(),
            self.is_abandoned(None),
            self.is_aged(None).unwrap_or_else(|| "false".to_owned()),
        )
    }

    /// The spellings of the statuses in question, by steps from one to the next greater one: an index is asked as
    /// often as there are different statuses, whatever the number of rows. At most `limit` steps; NULL is the end.
    pub(super) fn spellings(&self, limit: usize) -> String {
        let (status, relation) = (&self.status, &self.relation);
        format!(
            "/* geft-sweeper source.spellings */\nWITH RECURSIVE spelling (status) AS (\n  \
             (SELECT {status} FROM {relation} AS merchant WHERE {status} IS NOT NULL ORDER BY {status} LIMIT 1)\n  \
             UNION ALL\n  SELECT (SELECT {status} FROM {relation} AS merchant WHERE {status} > spelling.status\n           \
             ORDER BY {status} LIMIT 1)\n    FROM spelling WHERE spelling.status IS NOT NULL)\n\
             SELECT status::text, coalesce({}, false), coalesce({}, false) FROM spelling LIMIT {limit}",
            one_of("status", None, &self.abandoned),
            one_of("status", None, &self.open),
        )
    }

    pub(super) fn is_abandoned(&self, found: Option<&Found>) -> String {
        one_of(&self.status, self.known(found).map(|found| found.abandoned.as_slice()), &self.abandoned)
    }

    pub(super) fn is_open(&self, found: Option<&Found>) -> String {
        one_of(&self.status, self.known(found).map(|found| found.open.as_slice()), &self.open)
    }

    /// Open and older than `max_age`; none where nothing is canceled for its age.
    pub(super) fn is_aged(&self, found: Option<&Found>) -> Option<String> {
        let old = self.created_at.at_most(&ago(self.max_age?));
        Some(format!("({} AND {old})", self.is_open(found)))
    }

    fn known<'a>(&'a self, found: Option<&'a Found>) -> Option<&'a Found> {
        match &self.spellings {
            Spellings::Labels(labels) => Some(labels),
            Spellings::AskIndex | Spellings::Unknown => found,
        }
    }
}

impl Query {
    /// The rows of the query, as `session_id, reference_id, status, created_at, reason`.
    pub(super) fn discovery(&self, not_known: Option<&str>) -> String {
        format!(
            "SELECT {}, left(merchant.reference_id::text, {LONGEST_TEXT}), NULL::text, NULL::timestamptz, \
             left(merchant.reason::text, {LONGEST_TEXT})\n  FROM {}\n WHERE true{}",
            self.key.text(),
            self.relation(),
            and_not_known(not_known, &self.key),
        )
    }

    /// Those of the keys in the first parameter that the query gives.
    pub(super) fn still_named(&self) -> String {
        format!(
            "/* geft-sweeper source.still_named */\nSELECT {} FROM {}\n WHERE {}",
            self.key.text(),
            self.relation(),
            self.key.among_parameter(),
        )
    }

    pub(super) fn relation(&self) -> String {
        subselect(&self.text)
    }
}

/// A query as a table: the line break ends a comment at its end.
pub(super) fn subselect(query: &str) -> String {
    format!("(\n{}\n) AS merchant", query.trim_end_matches(|c: char| c == ';' || c.is_whitespace()))
}

/// `status` is one of the configured ones, letter case aside. Literals, not parameters: partial indexes can then serve.
fn one_of(status: &str, found: Option<&[String]>, configured: &[String]) -> String {
    match found {
        Some([]) => "false".to_owned(),
        Some(spellings) => format!("{status} IN ({})", literals(spellings, "")),
        None if configured.is_empty() => "false".to_owned(),
        None => format!("lower({status}::text) IN ({})", literals(configured, "lower")),
    }
}

fn and_not_known(not_known: Option<&str>, key: &Key) -> String {
    match not_known {
        Some(condition) => format!("\n   AND ({})", condition.replace(SESSION_ID, &format!("({})", key.uuid()))),
        None => String::new(),
    }
}
