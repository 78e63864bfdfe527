//! Holds three records against each other: what the provider received, the audit table, and the state of each session.
//!
//! Pure: it reads nothing and knows no scenario. What may overlap is told to it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use uuid::Uuid;

/// Outcomes whose request need not have arrived, or may have arrived after its process gave it up.
const UNSURE: [&str; 3] = ["interrupted", "network_error", "timeout"];

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

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Uuid {
        Uuid::from_u128(1)
    }

    fn sent(code: Option<u16>, others_under_way: u32) -> Sent {
        Sent { session: id(), code, others_under_way }
    }

    fn row(attempt: i32, outcome: &str, http_status: Option<i32>) -> Row {
        Row { session: id(), attempt, outcome: outcome.to_owned(), http_status }
    }

    /// A session that was sent for twice: a time-out, then canceled.
    fn in_order() -> Records {
        Records {
            sent: vec![sent(None, 0), sent(Some(200), 0)],
            rows: vec![row(1, "timeout", None), row(2, "canceled", Some(200))],
            standings: vec![Standing { session: id(), state: "canceled".to_owned(), attempts: 2 }],
            backlog: vec![Expected { session: id(), states: &["canceled"], at_provider: "Canceled".to_owned() }],
            may_overlap: HashSet::new(),
        }
    }

    #[track_caller]
    fn finds(change: impl FnOnce(&mut Records), expected: &[Wrong]) {
        let mut records = in_order();
        change(&mut records);
        let found: Vec<Wrong> = reconcile(&records).iter().map(|finding| finding.wrong).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn records_in_order_have_no_finding() {
        finds(|_| {}, &[]);
    }

    #[test]
    fn the_request_of_an_attempt_that_was_given_up_need_not_have_arrived() {
        for outcome in UNSURE {
            let never_arrived = |records: &mut Records| {
                records.rows[0].outcome = outcome.to_owned();
                records.sent.remove(0);
            };
            finds(never_arrived, &[]);
        }
    }

    #[test]
    fn a_lost_row_is_found() {
        finds(|records| records.rows.truncate(1), &[Wrong::Gap, Wrong::Unrecorded]);
        finds(|records| records.rows.clear(), &[Wrong::Gap, Wrong::Unrecorded]);
    }

    #[test]
    fn a_request_without_a_row_is_found() {
        finds(|records| records.sent.push(sent(Some(400), 0)), &[Wrong::Unrecorded]);
    }

    #[test]
    fn a_lost_session_is_found() {
        let never_taken_on = |records: &mut Records| {
            records.standings.clear();
            records.sent.clear();
            records.rows.clear();
        };
        finds(never_taken_on, &[Wrong::NotTakenOn]);
        finds(|records| records.standings[0].state = "failed".to_owned(), &[Wrong::State]);
    }

    #[test]
    fn a_gap_is_found() {
        finds(|records| records.rows[1].attempt = 3, &[Wrong::Gap]);
        finds(|records| records.rows[0].attempt = 0, &[Wrong::Gap]);
    }

    #[test]
    fn a_double_is_found() {
        let twice = |records: &mut Records| {
            records.rows.push(row(2, "canceled", Some(200)));
            records.sent.push(sent(Some(200), 0));
        };
        finds(twice, &[Wrong::Double]);
    }

    #[test]
    fn an_overlap_is_found_unless_it_was_arranged_and_an_attempt_given_up_accounts_for_it() {
        finds(|records| records.sent[1].others_under_way = 1, &[Wrong::Overlap]);
        let arranged = |records: &mut Records| {
            records.sent[1].others_under_way = 1;
            records.may_overlap.insert(id());
        };
        finds(arranged, &[]);
        let unaccounted = |records: &mut Records| {
            arranged(records);
            records.rows[0] = row(1, "server_error", Some(500));
            records.sent[0].code = Some(500);
        };
        finds(unaccounted, &[Wrong::Overlap]);
    }

    #[test]
    fn an_answer_that_was_never_given_is_found() {
        finds(|records| records.sent[1].code = Some(400), &[Wrong::Unsent]);
        finds(|records| records.rows[0].outcome = "unauthorized".to_owned(), &[Wrong::Unsent]);
    }

    #[test]
    fn a_state_that_the_provider_does_not_confirm_is_found() {
        finds(|records| records.backlog[0].at_provider = "Completed".to_owned(), &[Wrong::Untrue]);
    }

    #[test]
    fn a_session_that_was_to_be_left_alone_is_found_when_it_was_not() {
        finds(|records| records.backlog[0].states = &[], &[Wrong::Touched]);
        finds(|records| records.backlog.clear(), &[Wrong::Untrue, Wrong::Touched]);
    }

    #[test]
    fn the_number_of_an_attempt_under_way_has_no_row_yet() {
        let under_way = |records: &mut Records| {
            records.standings[0] = Standing { session: id(), state: "in_flight".to_owned(), attempts: 3 };
            records.backlog[0].states = &["in_flight"];
        };
        finds(under_way, &[]);
    }

    #[test]
    fn losses_are_what_is_lost_and_nothing_else() {
        let mut records = in_order();
        records.rows.truncate(1);
        assert_eq!(lost(&reconcile(&records)), 2);
        records = in_order();
        records.sent[1].others_under_way = 1;
        assert_eq!(lost(&reconcile(&records)), 0);
    }
}
