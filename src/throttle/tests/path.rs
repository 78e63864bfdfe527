//! One process whose own way to the API is broken, among healthy ones.

use super::circuit::open;
use super::*;

fn failed() -> Attempt {
    attempt(Outcome::ServerError, 500, false)
}

fn api_down() -> Known {
    Known { why: Why::ApiDown, left: Duration::from_secs(2), times_found: 1, ours: false }
}

/// Has opened the circuit for all, and another process has closed it.
fn doubtful() -> Gate {
    let gate = Gate::new(16, EXPECTED);
    open(&gate);
    gate.changes();
    assert_eq!(gate.learn(&[]).opened, Some(Why::ApiDown), "others are served, so it is shown closed");
    gate
}

/// One attempt that finds out, as soon as it may be made.
fn find_out(gate: &Gate, attempt: &Attempt) -> Verdict {
    gate.end_hold_for_test();
    let probe = pass(gate).unwrap();
    assert!(probe.probe, "it does not count against its session");
    assert!(pass(gate).is_none(), "one attempt only");
    gate.observe(&probe, session(), attempt)
}

fn seconds_left(gate: &Gate) -> u128 {
    ((gate.held_back().unwrap().until - Instant::now()).as_millis() + 500) / 1_000
}

#[test]
fn a_process_that_fails_where_others_get_through_holds_itself_alone() {
    let gate = doubtful();
    assert_eq!(gate.worth_claiming(AHEAD, Duration::from_hours(1), f64::INFINITY), 1);
    let pauses: Vec<u128> = (0..8)
        .map(|round| {
            let verdict = find_out(&gate, &failed());
            assert_eq!(verdict.closed, (round == 0).then_some(Why::OwnPath), "said once");
            assert!(!gate.has_changed(), "nobody else is told");
            assert_eq!(gate.learn(&[]), Verdict::default());
            seconds_left(&gate)
        })
        .collect();
    assert_eq!((pauses, gate.circuit()), (vec![1, 2, 4, 8, 16, 32, 60, 60], Circuit::Open));
    assert_eq!(find_out(&gate, &canceled()), Verdict { closed: None, opened: Some(Why::OwnPath) });
    assert!(!gate.has_changed());
    assert!(!pass(&gate).unwrap().probe, "it has joined the others");
}

#[test]
fn a_process_that_gets_through_as_well_goes_on_gently() {
    let gate = doubtful();
    assert_eq!(find_out(&gate, &canceled()), Verdict::default());
    let passes: Vec<_> = std::iter::from_fn(|| pass(&gate)).collect();
    assert_eq!(passes.len(), 2);
    assert!(!passes[0].probe);
    for pass in &passes {
        gate.observe(pass, session(), &failed());
    }
    assert_eq!(gate.circuit(), Circuit::Closed, "a failure is one session's own matter again");
}

#[test]
fn without_a_token_where_others_have_one_it_holds_itself_alone_too() {
    let gate = Gate::new(16, EXPECTED);
    gate.hold(Why::NoToken, None);
    gate.changes();
    assert_eq!(gate.learn(&[]).opened, Some(Why::NoToken));
    for pause in [1, 2, 4] {
        gate.end_hold_for_test();
        let probe = pass(&gate).unwrap();
        gate.hold(Why::NoToken, None);
        drop(probe);
        assert_eq!((gate.held_back().unwrap().why, seconds_left(&gate)), (Why::OwnPath, pause));
        assert!(!gate.has_changed());
    }
    assert_eq!(find_out(&gate, &canceled()).opened, Some(Why::OwnPath));
}

#[test]
fn what_was_under_way_when_another_ended_the_outage_opens_it_for_nobody_else() {
    let gate = Gate::new(32, EXPECTED);
    let stragglers: Vec<_> = (0..10).map(|_| pass(&gate).unwrap()).collect();
    open(&gate);
    gate.changes();
    gate.learn(&[]);
    assert!(pass(&gate).is_none(), "it waits for them");
    for straggler in &stragglers {
        gate.observe(straggler, session(), &failed());
    }
    assert_eq!(gate.held_back().map(|held| held.why), Some(Why::OwnPath));
    assert!(!gate.has_changed());
}

#[test]
fn when_the_others_fail_too_it_goes_by_what_all_find_and_doubts_itself_again_after_it() {
    for before in [true, false] {
        let gate = doubtful();
        if before {
            find_out(&gate, &failed());
        }
        gate.learn(&[api_down()]);
        assert_eq!(gate.held_back().map(|held| held.why), Some(Why::ApiDown));
        assert!(!gate.has_changed(), "it has nothing to tell");
        find_out(&gate, &failed());
        assert_eq!(gate.changes().first().map(|change| change.why), Some(Why::ApiDown), "one at a time, for all");
        assert_eq!(gate.learn(&[]).opened, Some(Why::ApiDown));
        assert_eq!(find_out(&gate, &failed()).closed, Some(Why::OwnPath));
    }
}

#[test]
fn an_answered_question_clears_it_only_where_no_cancel_request_had_failed() {
    for by_cancels in [true, false] {
        let gate = Gate::new(16, EXPECTED);
        if by_cancels {
            open(&gate);
        } else {
            let first = pass(&gate).unwrap();
            for _ in 0..10 {
                gate.observe_status(&first, session(), None);
            }
        }
        gate.changes();
        gate.learn(&[]);
        let question = pass(&gate).unwrap();
        gate.observe_status(&question, session(), Some(true));
        drop(question);
        assert_eq!(pass(&gate).unwrap().probe, by_cancels);
    }
}

#[test]
fn a_question_without_an_answer_holds_it_alone() {
    let gate = doubtful();
    let question = pass(&gate).unwrap();
    assert_eq!(gate.observe_status(&question, session(), None).closed, Some(Why::OwnPath));
    assert!(!gate.has_changed());
}

#[test]
fn with_nothing_to_send_it_is_not_shown_cut_off_for_ever_and_finds_out_with_what_comes() {
    let gate = doubtful();
    find_out(&gate, &failed());
    let later = |minutes| Instant::now() + Duration::from_mins(minutes);
    assert_eq!(gate.change(|state| state.learn(&[], later(4))), Verdict::default());
    assert_eq!(gate.change(|state| state.learn(&[], later(6))).opened, Some(Why::OwnPath));
    assert_eq!(find_out(&gate, &failed()).closed, Some(Why::OwnPath));
    assert!(!gate.has_changed());
}

#[test]
fn an_outage_that_ran_out_because_nothing_was_to_be_sent_says_nothing_against_the_path() {
    let gate = Gate::new(16, EXPECTED);
    open(&gate);
    gate.changes();
    let later = Instant::now() + Duration::from_mins(5);
    assert_eq!(gate.change(|state| state.learn(&[], later)).opened, Some(Why::ApiDown));
    let ordinary = pass(&gate).unwrap();
    assert!(!ordinary.probe);
    for _ in 0..10 {
        gate.observe(&ordinary, session(), &failed());
    }
    assert_eq!(gate.held_back().map(|held| held.why), Some(Why::ApiDown));
    assert!(gate.has_changed(), "the others are told as ever");
}

#[test]
fn whoever_meets_an_outage_lets_the_others_find_out_first() {
    let gate = Gate::new(16, EXPECTED);
    open(&gate);
    let told = gate.changes()[0].hold.unwrap().0;
    let left = gate.held_back().unwrap().until.saturating_duration_since(Instant::now());
    assert!(told < left.saturating_sub(Duration::from_millis(300)), "{told:?} of {left:?}");
}
