//! What a process tells the others of what holds sending back, and what it makes of what they tell.

use super::circuit::open;
use super::*;

/// What all know when another process has told this.
fn told(changes: &[Change]) -> Vec<Known> {
    let known = |change: &Change| {
        let (left, times_found) = change.hold?;
        Some(Known { why: change.why, left, times_found, ours: false })
    };
    changes.iter().filter_map(known).collect()
}

fn known(why: Why, seconds: u64) -> Known {
    Known { why, left: Duration::from_secs(seconds), times_found: 3, ours: false }
}

fn left(gate: &Gate) -> Duration {
    gate.held_back().unwrap().until.saturating_duration_since(Instant::now())
}

#[test]
fn an_outage_reaches_the_others_and_so_does_its_end() {
    let (one, other) = (Gate::new(16, EXPECTED), Gate::new(16, EXPECTED));
    open(&one);
    assert!(one.has_changed());
    assert_eq!(other.learn(&told(&one.changes())).closed, Some(Why::ApiDown));
    assert!(!one.has_changed() && !other.has_changed(), "what was learned is not told again");
    assert!(pass(&other).is_none());

    one.end_hold_for_test();
    let probe = pass(&one).unwrap();
    one.observe(&probe, session(), &canceled());
    let changes = one.changes();
    assert_eq!(changes, [Change { why: Why::ApiDown, hold: None }]);
    assert_eq!(other.learn(&told(&changes)).opened, Some(Why::ApiDown));
    let passes: Vec<_> = std::iter::from_fn(|| pass(&other)).collect();
    assert_eq!(passes.len(), 1, "gently");
    assert!(!passes[0].probe);
}

#[test]
fn while_another_process_finds_out_this_one_waits_and_goes_by_what_it_found() {
    let gate = Gate::new(16, EXPECTED);
    gate.learn(&[known(Why::ApiDown, 60)]);
    assert!(left(&gate) > Duration::from_secs(59));
    gate.learn(&[known(Why::ApiDown, 8)]);
    assert!(left(&gate) <= Duration::from_secs(8), "it is over sooner than its turn would have been");
    gate.end_hold_for_test();
    let probe = pass(&gate).unwrap();
    gate.observe(&probe, session(), &attempt(Outcome::ServerError, 500, false));
    drop(probe);
    assert!(left(&gate) > Duration::from_secs(7), "pauses grow over all processes: {:?}", left(&gate));
}

#[test]
fn a_wish_that_is_over_holds_nobody_back_again_however_often_it_is_told() {
    for why in [Why::RetryAfter, Why::ApiDown] {
        let gate = Gate::new(16, EXPECTED);
        gate.learn(&[known(why, 60)]);
        gate.end_hold_for_test();
        let passed = pass(&gate).unwrap();
        gate.change(|state| state.learn(&[known(Why::RetryAfter, 0)], Instant::now() + Duration::from_secs(9)));
        assert!(passed.is_good(), "{why:?}");
    }
}

#[test]
fn what_could_not_be_told_holds_all_the_same_and_is_told_later() {
    let gate = Gate::new(16, EXPECTED);
    open(&gate);
    for change in gate.changes() {
        gate.share_again(change.why);
    }
    assert_eq!(gate.learn(&[]), Verdict::default(), "nobody knows of it yet");
    assert!(gate.has_changed() && pass(&gate).is_none());
    gate.changes();
    assert_eq!(gate.learn(&[]).opened, Some(Why::ApiDown), "once they know, its absence is its end");
}

#[test]
fn what_is_this_process_own_word_does_not_come_back_to_it() {
    let gate = Gate::new(16, EXPECTED);
    let own = |why| Known { ours: true, ..known(why, 600) };
    gate.learn(&[own(Why::ApiDown), own(Why::RetryAfter)]);
    assert_eq!(gate.held_back(), None);
}

#[test]
fn a_retry_after_reaches_the_others_and_one_that_is_over_does_not() {
    let gate = Gate::new(16, EXPECTED);
    assert_eq!(gate.learn(&[known(Why::RetryAfter, 0)]), Verdict::default());
    let before = pass(&gate).unwrap();
    assert_eq!(gate.learn(&[known(Why::RetryAfter, 30)]).closed, Some(Why::RetryAfter));
    assert!(!before.is_good(), "who waits for a turn goes back");
    drop(before);
    gate.learn(&[known(Why::RetryAfter, 10)]);
    assert!(left(&gate) > Duration::from_secs(29), "the longer one counts");
}

#[test]
fn the_providers_wish_is_told_whatever_else_is_the_matter() {
    for trouble in [Why::CredentialsRefused, Why::NoToken] {
        let gate = Gate::new(16, EXPECTED);
        gate.hold(trouble, None);
        gate.hold(Why::RetryAfter, Some(Duration::from_mins(10)));
        let changes = gate.changes();
        let wish = changes.iter().find(|change| change.why == Why::RetryAfter).unwrap();
        assert!(wish.hold.unwrap().0 > Duration::from_secs(590), "{changes:?}");
        assert!(!changes.iter().any(|change| change.why == Why::CredentialsRefused), "its own matter");
    }
}

#[test]
fn a_shorter_wish_does_not_shorten_the_one_that_is_told() {
    let gate = Gate::new(16, EXPECTED);
    gate.hold(Why::RetryAfter, Some(Duration::from_mins(10)));
    gate.changes();
    gate.hold(Why::RetryAfter, Some(Duration::from_secs(5)));
    let changes = gate.changes();
    assert!(changes[0].hold.unwrap().0 > Duration::from_secs(590), "{changes:?}");
}

#[test]
fn no_token_elsewhere_holds_back_only_who_was_not_served_before() {
    let fresh = Gate::new(16, EXPECTED);
    assert_eq!(fresh.learn(&[known(Why::NoToken, 30)]).closed, Some(Why::NoToken));
    let served = Gate::new(16, EXPECTED);
    let pass = pass(&served).unwrap();
    served.observe(&pass, session(), &canceled());
    assert_eq!(served.learn(&[known(Why::NoToken, 30)]), Verdict::default());
}

#[test]
fn an_attempt_to_find_out_that_was_not_made_leaves_it_to_the_others() {
    let gate = Gate::new(16, EXPECTED);
    gate.learn(&[known(Why::ApiDown, 0)]);
    let probe = pass(&gate).unwrap();
    assert!(probe.begin());
    drop(probe);
    let changes = gate.changes();
    assert!(matches!(changes[..], [Change { why: Why::ApiDown, hold: Some((Duration::ZERO, _)) }]), "{changes:?}");
    assert_eq!(gate.circuit(), Circuit::Open);
}
