//! The reconciliation finds what is lost, missing, twice, untrue or overlapping, and nothing in records in order.

use std::collections::HashSet;

use uuid::Uuid;

use super::reconcile::{Expected, Records, Row, Sent, Standing, UNSURE, Wrong, lost, reconcile};

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
