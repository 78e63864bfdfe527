//! The promises of the gate, without a network.

mod circuit;
mod path;
mod sharing;
mod waiting;

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::*;
use crate::outcome::{Attempt, Outcome, Said};
use crate::session::SessionId;

const EXPECTED: Duration = Duration::from_secs(1);
const AHEAD: Duration = Duration::from_millis(250);

pub(super) fn attempt(outcome: Outcome, code: u16, fresh_token: bool) -> Attempt {
    let now = Instant::now();
    Attempt {
        outcome,
        http_status: Some(code),
        said: Said::default(),
        error: None,
        retry_after: None,
        status_unanswered: false,
        fresh_token,
        request_id: Uuid::new_v4(),
        started: now,
        finished: now,
    }
}

fn session() -> SessionId {
    Uuid::new_v4().into()
}

fn pass(gate: &Gate) -> Option<Pass<'_>> {
    match gate.enter().now_or_never() {
        Some(Entry::Passed(pass)) => Some(pass),
        _ => None,
    }
}

fn canceled() -> Attempt {
    attempt(Outcome::Canceled, 200, false)
}

fn rate_limited(seconds: u64) -> Attempt {
    Attempt { retry_after: Some(Duration::from_secs(seconds)), ..attempt(Outcome::RateLimited, 429, false) }
}

#[test]
fn no_more_pass_than_may_be_under_way() {
    let gate = Gate::new(2, EXPECTED);
    let first = pass(&gate);
    let second = pass(&gate);
    assert!(first.is_some() && second.is_some());
    assert!(pass(&gate).is_none());
    drop(first);
    assert!(pass(&gate).is_some());
}

#[test]
fn who_passed_before_a_hold_does_not_send_after_it() {
    let gate = Gate::new(3, EXPECTED);
    let (first, second) = (pass(&gate).unwrap(), pass(&gate).unwrap());
    assert!(second.is_good());
    gate.observe(&first, session(), &rate_limited(60));
    assert!(!second.is_good());
    gate.end_hold_for_test();
    assert!(!second.is_good(), "not even when it is over: sending starts with one request");
    drop((first, second));
    assert!(pass(&gate).unwrap().is_good());
}

#[test]
fn a_retry_after_holds_everything_back_and_is_told_once() {
    let gate = Gate::new(8, EXPECTED);
    let (one, two) = (pass(&gate).unwrap(), pass(&gate).unwrap());
    assert_eq!(gate.observe(&one, session(), &rate_limited(30)).closed, Some(Why::RetryAfter));
    assert_eq!(gate.observe(&two, session(), &rate_limited(60)).closed, None);
    drop((one, two));
    assert!(matches!(gate.enter().now_or_never(), Some(Entry::Held(held)) if held.why == Why::RetryAfter));
    let left = gate.held_back().unwrap().until - Instant::now();
    assert!(left > Duration::from_secs(55), "the longer one counts: {left:?}");
}

#[test]
fn after_a_hold_sending_starts_with_one_and_doubles_with_each_success() {
    let gate = Gate::new(8, EXPECTED);
    let first = pass(&gate).unwrap();
    gate.observe(&first, session(), &rate_limited(0));
    drop(first);
    gate.end_hold_for_test();
    for window in [1_usize, 2, 4, 8, 8] {
        let mut passes = Vec::new();
        while let Some(pass) = pass(&gate) {
            passes.push(pass);
        }
        assert_eq!(passes.len(), window);
        gate.observe(&passes[0], session(), &canceled());
    }
}

#[test]
fn in_trouble_one_attempt_per_cool_down_finds_out() {
    let gate = Gate::new(8, EXPECTED);
    let refused = attempt(Outcome::Unauthorized, 401, true);
    let passes: Vec<_> = (0..3).map(|_| pass(&gate).unwrap()).collect();
    let verdicts: Vec<_> = passes.iter().map(|pass| gate.observe(pass, session(), &refused).closed).collect();
    assert_eq!(verdicts, [None, None, Some(Why::CredentialsRefused)]);
    drop(passes);
    assert!(pass(&gate).is_none());
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    assert!(probe.probe);
    assert!(pass(&gate).is_none(), "one attempt only");
    gate.observe(&probe, session(), &refused);
    drop(probe);
    assert!(pass(&gate).is_none(), "another cool-down");
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    assert_eq!(gate.observe(&probe, session(), &canceled()).opened, Some(Why::CredentialsRefused));
    drop(probe);
    assert!(!pass(&gate).unwrap().probe);
}

#[test]
fn a_wrong_address_fails_no_more_sessions_than_the_verdict_needs() {
    let gate = Gate::new(64, EXPECTED);
    let missing = attempt(Outcome::NotFound, 404, false);
    let mut asked = 0;
    loop {
        let passes: Vec<_> = std::iter::from_fn(|| pass(&gate)).collect();
        if passes.is_empty() {
            break;
        }
        asked += passes.len();
        for pass in &passes {
            gate.observe(pass, session(), &missing);
        }
    }
    assert_eq!(asked, 20);
    assert_eq!(gate.held_back().map(|held| held.why), Some(Why::WrongAddress));
}

#[test]
fn a_probe_that_gets_no_token_waits_for_another_cool_down() {
    let gate = Gate::new(8, EXPECTED);
    gate.hold(Why::CredentialsRefused, None);
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    gate.hold(Why::NoToken, None);
    drop(probe);
    let held = gate.held_back().unwrap();
    assert_eq!(held.why, Why::CredentialsRefused);
    assert!(held.until > Instant::now() + Duration::from_secs(15), "the second cool-down");
    assert!(pass(&gate).is_none());
}

#[test]
fn a_retry_after_counts_in_trouble_too() {
    let gate = Gate::new(8, EXPECTED);
    gate.hold(Why::WrongAddress, None);
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    gate.observe(&probe, session(), &rate_limited(900));
    assert!(gate.held_back().unwrap().until > Instant::now() + Duration::from_secs(800));
}

#[test]
fn another_reason_never_shortens_a_hold_that_runs() {
    let gate = Gate::new(8, EXPECTED);
    gate.hold(Why::NoToken, Some(Duration::from_mins(10)));
    gate.hold(Why::RetryAfter, Some(Duration::from_secs(1)));
    assert!(gate.held_back().unwrap().until > Instant::now() + Duration::from_mins(9));
    gate.hold(Why::CredentialsRefused, None);
    assert!(gate.held_back().unwrap().until > Instant::now() + Duration::from_mins(9));
}

#[test]
fn a_probe_that_is_accepted_clears_the_credentials() {
    let gate = Gate::new(64, EXPECTED);
    let refused = attempt(Outcome::Unauthorized, 401, true);
    let passes: Vec<_> = (0..3).map(|_| pass(&gate).unwrap()).collect();
    for pass in &passes {
        gate.observe(pass, session(), &refused);
    }
    drop(passes);
    assert!(gate.refused_from_the_start());
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    assert_eq!(gate.observe(&probe, session(), &canceled()).opened, Some(Why::CredentialsRefused));
    assert!(!gate.refused_from_the_start());
}

#[test]
fn a_probe_that_is_answered_404_does_not_prove_the_address() {
    let gate = Gate::new(64, EXPECTED);
    gate.hold(Why::CredentialsRefused, None);
    gate.end_hold_for_test();
    let missing = attempt(Outcome::NotFound, 404, false);
    let probe = pass(&gate).unwrap();
    assert_eq!(gate.observe(&probe, session(), &missing).opened, Some(Why::CredentialsRefused));
    drop(probe);
    for _ in 0..20 {
        let pass = pass(&gate).unwrap();
        gate.observe(&pass, session(), &missing);
    }
    assert_eq!(gate.held_back().map(|held| held.why), Some(Why::WrongAddress), "twenty are enough");
}

#[test]
fn an_ended_session_that_is_answered_404_says_nothing_against_the_address() {
    let gate = Gate::new(64, EXPECTED);
    for _ in 0..200 {
        let pass = pass(&gate).unwrap();
        gate.observe(&pass, session(), &attempt(Outcome::AlreadyTerminal, 404, false));
    }
    assert!(gate.held_back().is_none());
}

#[test]
fn stragglers_do_not_lengthen_the_cool_down() {
    let gate = Gate::new(8, EXPECTED);
    gate.hold(Why::CredentialsRefused, None);
    let first = gate.held_back().unwrap();
    for _ in 0..10 {
        gate.hold(Why::CredentialsRefused, None);
    }
    assert_eq!(gate.held_back().unwrap(), first);
}

#[test]
fn a_hold_without_a_stated_time_grows() {
    let gate = Gate::new(8, EXPECTED);
    let mut pauses = Vec::new();
    for _ in 0..8 {
        gate.hold(Why::NoToken, None);
        pauses.push((gate.held_back().unwrap().until - Instant::now()).as_secs_f64().round());
        gate.end_hold_for_test();
    }
    assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
}

#[test]
fn no_more_is_claimed_than_can_be_sent_in_time() {
    let gate = Gate::new(32, Duration::from_secs(10));
    assert_eq!(gate.worth_claiming(AHEAD, Duration::from_secs(15), f64::INFINITY), 48);
    assert_eq!(gate.worth_claiming(AHEAD, Duration::from_hours(1), f64::INFINITY), 64);
    assert_eq!(gate.worth_claiming(AHEAD, Duration::from_millis(1), f64::INFINITY), 1);
    let quick = Gate::new(32, Duration::from_millis(20));
    assert_eq!(quick.worth_claiming(AHEAD, Duration::from_hours(1), f64::INFINITY), 400);
    assert_eq!(quick.worth_claiming(Duration::ZERO, Duration::from_hours(1), f64::INFINITY), 64);
}

#[test]
fn credentials_that_may_be_right_by_now_are_tried_at_once_and_by_one_attempt() {
    let gate = Gate::new(4, EXPECTED);
    gate.hold(Why::CredentialsRefused, None);
    assert!(pass(&gate).is_none());
    gate.try_credentials_again();
    let first = pass(&gate).unwrap();
    assert!(first.probe && pass(&gate).is_none());
}

#[test]
fn new_credentials_shorten_no_other_hold() {
    for why in [Why::RetryAfter, Why::WrongAddress] {
        let gate = Gate::new(4, EXPECTED);
        gate.hold(why, Some(Duration::from_mins(1)));
        gate.try_credentials_again();
        assert!(pass(&gate).is_none(), "{why}");
        gate.hold(Why::CredentialsRefused, None);
        gate.try_credentials_again();
        assert!(pass(&gate).is_none(), "{why} beside refused credentials");
    }
}
