//! The circuit: what opens it, how it is found out that the API is back, and how gently sending starts again.

use super::*;

fn failed() -> Attempt {
    attempt(Outcome::ServerError, 500, false)
}

/// Ten sessions fail under passes that were given before.
pub(super) fn open(gate: &Gate) -> Verdict {
    let passes: Vec<_> = (0..10).map(|_| pass(gate).unwrap()).collect();
    let verdicts = passes.iter().map(|pass| gate.observe(pass, session(), &failed()));
    verdicts.last().unwrap()
}

/// One attempt that finds out.
fn probe(gate: &Gate, attempt: &Attempt) -> Verdict {
    gate.end_hold_for_test();
    let probe = pass(gate).unwrap();
    assert!(probe.probe);
    gate.observe(&probe, session(), attempt)
}

fn seconds_left(gate: &Gate) -> u128 {
    ((gate.held_back().unwrap().until - Instant::now()).as_millis() + 500) / 1_000
}

#[test]
fn it_opens_for_many_sessions_and_one_attempt_at_a_time_finds_out() {
    let gate = Gate::new(16, EXPECTED);
    assert_eq!(gate.circuit(), Circuit::Closed);
    assert_eq!(open(&gate).closed, Some(Why::ApiDown));
    assert_eq!((gate.circuit(), seconds_left(&gate)), (Circuit::Open, 1));
    assert!(pass(&gate).is_none());

    gate.end_hold_for_test();
    assert_eq!(gate.worth_claiming(AHEAD, Duration::from_hours(1), f64::INFINITY), 1);
    let first = pass(&gate).unwrap();
    assert!(first.probe && first.begin(), "said once");
    assert_eq!(gate.circuit(), Circuit::HalfOpen);
    assert!(pass(&gate).is_none(), "one attempt only");
    assert_eq!(gate.observe(&first, session(), &failed()), Verdict::default());
    drop(first);
    assert_eq!((gate.circuit(), seconds_left(&gate)), (Circuit::Open, 2));

    gate.end_hold_for_test();
    let second = pass(&gate).unwrap();
    assert!(!second.begin(), "and not again");
    assert_eq!(gate.observe(&second, session(), &canceled()).opened, Some(Why::ApiDown));
    drop(second);
    assert_eq!(gate.circuit(), Circuit::Closed);
    for window in [1_usize, 2, 4, 8, 16, 16] {
        let passes: Vec<_> = std::iter::from_fn(|| pass(&gate)).collect();
        assert_eq!(passes.len(), window);
        assert!(!passes[0].probe);
        gate.observe(&passes[0], session(), &canceled());
    }
}

#[test]
fn one_poisoned_session_never_opens_it_alone_or_among_good_ones() {
    let gate = Gate::new(8, EXPECTED);
    let poisoned = session();
    for round in 0..500 {
        let pass = pass(&gate).unwrap();
        gate.observe(&pass, poisoned, &failed());
        gate.observe_status(&pass, poisoned, None);
        if round % 50 == 0 {
            gate.observe(&pass, session(), &canceled());
        }
        assert_eq!(gate.circuit(), Circuit::Closed);
    }
}

#[test]
fn the_pause_doubles_to_a_minute_while_the_api_stays_away() {
    let gate = Gate::new(16, EXPECTED);
    open(&gate);
    let pauses: Vec<u128> = (0..8)
        .map(|_| {
            probe(&gate, &failed());
            seconds_left(&gate)
        })
        .collect();
    assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn a_maintenance_page_opens_it_and_does_not_close_it() {
    let page = Attempt { status_unanswered: true, ..attempt(Outcome::InvalidResponse, 200, false) };
    let gate = Gate::new(16, EXPECTED);
    let passes: Vec<_> = (0..10).map(|_| pass(&gate).unwrap()).collect();
    for pass in &passes {
        gate.observe(pass, session(), &page);
    }
    drop(passes);
    assert_eq!(gate.circuit(), Circuit::Open);
    probe(&gate, &page);
    assert_eq!(gate.circuit(), Circuit::Open);
}

#[test]
fn status_questions_without_an_answer_open_it_and_one_with_an_answer_closes_it() {
    let gate = Gate::new(16, EXPECTED);
    let first = pass(&gate).unwrap();
    let verdicts: Vec<_> = (0..10).map(|_| gate.observe_status(&first, session(), None).closed).collect();
    assert_eq!(verdicts.last(), Some(&Some(Why::ApiDown)));
    drop(first);
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    gate.observe_status(&probe, session(), None);
    drop(probe);
    assert_eq!((gate.circuit(), seconds_left(&gate)), (Circuit::Open, 2));
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    assert_eq!(gate.observe_status(&probe, session(), Some(true)).opened, Some(Why::ApiDown));
}

#[test]
fn an_answered_question_neither_hides_nor_ends_an_outage_of_cancels() {
    let gate = Gate::new(16, EXPECTED);
    let first = pass(&gate).unwrap();
    let verdicts: Vec<_> = (0..10)
        .map(|_| {
            gate.observe_status(&first, session(), Some(true));
            gate.observe(&first, session(), &failed()).closed
        })
        .collect();
    assert_eq!(verdicts.last(), Some(&Some(Why::ApiDown)));
    drop(first);
    for pause in [2, 4] {
        gate.end_hold_for_test();
        let question = pass(&gate).unwrap();
        assert_eq!(gate.observe_status(&question, session(), Some(true)), Verdict::default());
        drop(question);
        // The cancel request of the session that was asked for is next.
        let cancel = pass(&gate).unwrap();
        assert!(cancel.probe);
        gate.observe(&cancel, session(), &failed());
        drop(cancel);
        assert_eq!((gate.circuit(), seconds_left(&gate)), (Circuit::Open, pause));
    }
    assert_eq!(probe(&gate, &canceled()).opened, Some(Why::ApiDown));
}

#[test]
fn a_success_that_was_under_way_makes_the_next_try_come_soon() {
    let gate = Gate::new(16, EXPECTED);
    let late = pass(&gate).unwrap();
    open(&gate);
    gate.observe(&late, session(), &canceled());
    drop(late);
    assert_eq!(gate.circuit(), Circuit::Open, "it says nothing of now");
    probe(&gate, &failed());
    assert_eq!(seconds_left(&gate), 1);
}

#[test]
fn every_other_attempt_to_find_out_is_made_with_a_session_that_failed_before() {
    let gate = Gate::new(16, EXPECTED);
    let preferred: Vec<bool> = (0..4)
        .map(|round| {
            if round == 0 {
                open(&gate);
            } else {
                probe(&gate, &failed());
            }
            !gate.preferred().is_empty()
        })
        .collect();
    assert_eq!(preferred, [true, false, true, false]);
}

#[test]
fn without_a_token_it_is_open_and_a_token_closes_it_whatever_it_leads_to() {
    let gate = Gate::new(16, EXPECTED);
    assert_eq!(gate.hold(Why::NoToken, None).closed, Some(Why::NoToken));
    assert_eq!(gate.circuit(), Circuit::Open);
    assert_eq!(probe(&gate, &failed()), Verdict { closed: None, opened: Some(Why::NoToken) });
    assert_eq!(gate.circuit(), Circuit::Closed, "one session that fails is its own matter");
}

#[test]
fn an_attempt_to_find_out_that_gets_no_token_found_it_down() {
    let gate = Gate::new(16, EXPECTED);
    open(&gate);
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    assert_eq!(gate.hold(Why::NoToken, None), Verdict::default(), "one outage, said once");
    drop(probe);
    let held = gate.held_back().unwrap();
    assert_eq!((held.why, seconds_left(&gate)), (Why::ApiDown, 2));
}

#[test]
fn a_retry_after_lengthens_an_outage_and_refused_credentials_end_it() {
    let gate = Gate::new(16, EXPECTED);
    open(&gate);
    probe(&gate, &rate_limited(600));
    assert_eq!((gate.circuit(), seconds_left(&gate)), (Circuit::Open, 600));
    gate.end_hold_for_test();
    let verdict = gate.hold(Why::CredentialsRefused, None);
    assert_eq!(verdict, Verdict { closed: Some(Why::CredentialsRefused), opened: Some(Why::ApiDown) });
    assert_eq!(gate.circuit(), Circuit::Closed);
}
