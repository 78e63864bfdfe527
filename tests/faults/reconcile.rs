//! Holds three records against each other: what the provider received, the audit table, and the state of each session.
//!
//! Pure: it reads nothing and knows no scenario. What may overlap is told to it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use uuid::Uuid;

/// Outcomes whose request need not have arrived, or may have arrived after its process gave it up.
pub(crate) const UNSURE: [&str; 3] = ["interrupted", "network_error", "timeout"];

/// A cancel request as the provider received it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) session: Uuid,
    /// The code of the answer; none where none was begun.
    pub(crate) code: Option<u16>,
    /// Cancel requests for the same session that were under way when it arrived.
    pub(crate) others_under_way: u32,
}

/// A row of `cancel_attempts`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Row {
    pub(crate) session: Uuid,
    pub(crate) attempt: i32,
    pub(crate) outcome: String,
    pub(crate) http_status: Option<i32>,
}

/// A row of `cancellations`.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Standing {
    pub(crate) session: Uuid,
    pub(crate) state: String,
    pub(crate) attempts: i32,
}

/// A session of the backlog and how it must end.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) session: Uuid,
    /// The states that are right; empty where the session must never be taken on.
    pub(crate) states: &'static [&'static str],
    /// Its status at the provider.
    pub(crate) at_provider: String,
}

/// The three records, and what is known of them before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    pub(crate) sent: Vec<Sent>,
    pub(crate) rows: Vec<Row>,
    pub(crate) standings: Vec<Standing>,
    pub(crate) backlog: Vec<Expected>,
    /// Sessions whose requests were made to overlap.
    pub(crate) may_overlap: HashSet<Uuid>,
}

/// What is wrong with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    /// It was never taken on.
    NotTakenOn,
    /// It did not end in a right state.
    State,
    /// A number of its attempts is missing.
    Gap,
    /// More requests arrived than there are rows.
    Unrecorded,
    /// An attempt number stands there twice.
    Double,
    /// Its state says what is not so at the provider.
    Untrue,
    /// A row tells of an answer that was never given.
    Unsent,
    /// Its requests overlapped, and nobody arranged it or no row accounts for it.
    Overlap,
    /// It was sent for although it never should have been.
    Touched,
}

impl Wrong {
    /// Whether something was lost by it: a session, a request or a row.
    fn is_loss(self) -> bool {
        matches!(self, Self::NotTakenOn | Self::State | Self::Gap | Self::Unrecorded)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) session: Uuid,
    pub(crate) wrong: Wrong,
    seen: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {:?}: {}", self.session, self.wrong, self.seen)
    }
}

/// How many of these findings are losses.
pub(crate) fn lost(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| finding.wrong.is_loss()).count()
}

/// Everything of one session.
#[derive(Debug, Default)]
struct Session<'a> {
    expected: Option<&'a Expected>,
    standing: Option<&'a Standing>,
    sent: Vec<&'a Sent>,
    rows: Vec<&'a Row>,
}

/// Everything that is wrong.
pub(crate) fn reconcile(records: &Records) -> Vec<Finding> {
    let mut sessions: BTreeMap<Uuid, Session<'_>> = BTreeMap::new();
    for expected in &records.backlog {
        sessions.entry(expected.session).or_default().expected = Some(expected);
    }
    for standing in &records.standings {
        sessions.entry(standing.session).or_default().standing = Some(standing);
    }
    for sent in &records.sent {
        sessions.entry(sent.session).or_default().sent.push(sent);
    }
    for row in &records.rows {
        sessions.entry(row.session).or_default().rows.push(row);
    }
    let wrong = sessions.iter().flat_map(|(id, session)| {
        let wrong = session.wrong(records.may_overlap.contains(id));
        wrong.into_iter().map(move |wrong| Finding { session: *id, wrong, seen: format!("{session:?}") })
    });
    wrong.collect()
}

impl Session<'_> {
    fn wrong(&self, may_overlap: bool) -> BTreeSet<Wrong> {
        let mut wrong = BTreeSet::new();
        let mut note = |is_wrong: bool, what| {
            if is_wrong {
                wrong.insert(what);
            }
        };
        let states = self.expected.map_or(&[][..], |expected| expected.states);
        note(!states.is_empty() && self.standing.is_none(), Wrong::NotTakenOn);
        note(states.is_empty() && (self.standing.is_some() || !self.sent.is_empty()), Wrong::Touched);
        note(
            !states.is_empty() && self.standing.is_some_and(|own| !states.contains(&own.state.as_str())),
            Wrong::State,
        );
        note(!self.is_true(), Wrong::Untrue);
        let numbers: BTreeSet<i32> = self.rows.iter().map(|row| row.attempt).collect();
        note(numbers.len() < self.rows.len(), Wrong::Double);
        note(!numbers.iter().copied().eq(1..=self.numbers_used()), Wrong::Gap);
        note(self.sent.len() > self.rows.len(), Wrong::Unrecorded);
        note(self.has_unsent(), Wrong::Unsent);
        note(!self.overlaps_are_accounted_for(may_overlap), Wrong::Overlap);
        wrong
    }

    /// How many numbers were given out; the one of an attempt under way has no row yet.
    fn numbers_used(&self) -> i32 {
        self.standing.map_or(0, |own| own.attempts - i32::from(own.state == "in_flight"))
    }

    fn is_true(&self) -> bool {
        let at_provider = self.expected.map_or("", |expected| expected.at_provider.as_str());
        let is = |statuses: &[&str]| statuses.iter().any(|status| status.eq_ignore_ascii_case(at_provider));
        match self.standing.map(|own| own.state.as_str()) {
            Some("canceled") => is(&["Canceled", "Cancelled"]),
            Some("already_terminal") => is(&["Canceled", "Cancelled", "Completed", "Failed", "Expired"]),
            _ => true,
        }
    }

    /// Whether a row tells of an answer that no request accounts for.
    fn has_unsent(&self) -> bool {
        let mut answers: Vec<i32> = self.sent.iter().filter_map(|sent| sent.code.map(i32::from)).collect();
        self.rows.iter().any(|row| match row.http_status {
            Some(code) => answers.iter().position(|answer| *answer == code).map(|at| answers.swap_remove(at)).is_none(),
            None => !UNSURE.contains(&row.outcome.as_str()),
        })
    }

    /// Each request that met another must belong to an attempt that was given up before.
    fn overlaps_are_accounted_for(&self, may_overlap: bool) -> bool {
        let overlaps = self.sent.iter().filter(|sent| sent.others_under_way > 0).count();
        let given_up = self.rows.iter().filter(|row| UNSURE.contains(&row.outcome.as_str())).count();
        overlaps == 0 || (may_overlap && overlaps <= given_up)
    }
}
