//! Several processes on a paused clock, with slow answers and halts made up at random.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep, sleep_until};

use super::*;

/// What the shared clock shows at the start.
const SHOWN: Duration = Duration::from_hours(500_000);

/// Whoever keeps the shared moments, as the ledger does it.
struct Keeper {
    start: Instant,
    /// What its clock is ahead of where it would be, had nobody set it.
    set_by: Duration,
    next: Duration,
    /// How often it was asked, and how often it gave something.
    asked: (u32, u32),
}

impl Keeper {
    fn new() -> RefCell<Self> {
        RefCell::new(Self { start: Instant::now(), set_by: Duration::ZERO, next: Duration::ZERO, asked: (0, 0) })
    }

    fn reserve(&mut self, wanted: Wanted) -> Told {
        let clock = SHOWN + self.start.elapsed() + self.set_by;
        let first = self.next.max(clock);
        let given = self.next <= clock + wanted.ahead;
        self.asked.0 += 1;
        if given {
            self.asked.1 += 1;
            self.next = first + wanted.span;
            let moments = wanted.span.saturating_sub(wanted.spare);
            let last = first + moments.mul_f64(1.0 - 1.0 / f64::from(wanted.number));
            assert!(last <= clock + LEASE, "a moment is held for {:?}", last.abs_diff(clock));
        }
        Told { clock, first, given }
    }
}

/// One process: so many that ask for turn after turn until the end, and answers that are on their way for so long.
async fn process(keeper: &RefCell<Keeper>, sent: &RefCell<Vec<Instant>>, load: &Load, per_second: f64) {
    let (pace, turns) = Pace::limited(per_second);
    let serving = turns.serve(async |wanted| {
        sleep(load.latency.mul_f64(fastrand::f64())).await;
        let told = keeper.borrow_mut().reserve(wanted);
        sleep(load.latency.mul_f64(fastrand::f64())).await;
        Some(told)
    });
    let sending = join_all((0..load.at_once).map(async |_| {
        while Instant::now() < load.end {
            // Some give up, as attempts do whose lease ends.
            let patience = if fastrand::u8(..) == 0 { Duration::from_millis(30) } else { Duration::from_hours(1) };
            if tokio::time::timeout(patience, pace.permit()).await.is_ok() {
                sent.borrow_mut().push(Instant::now());
                sleep(load.answered_after.mul_f64(fastrand::f64())).await;
            }
        }
    }));
    tokio::select! {
        () = serving => {}
        _ = sending => {}
        () = sleep_until(load.end) => {}
    }
}

struct Load {
    latency: Duration,
    at_once: usize,
    answered_after: Duration,
    end: Instant,
}

/// The most in any second, the moment of each being known.
fn most_in_a_second(sent: &[Instant]) -> usize {
    let first_after = |start: Instant| sent.partition_point(|at| *at < start + Duration::from_secs(1));
    sent.iter().enumerate().map(|(position, at)| first_after(*at) - position).max().unwrap_or_default()
}

#[track_caller]
fn assert_within(per_second: f64, sent: &[Instant]) {
    let most = most_in_a_second(sent);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let within = most as f64 <= per_second + 1.0;
    assert!(within, "{most} in a second at {per_second}");
}

/// Runs a test on a clock that stands while there is something to do.
fn on_paused_clock<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn busy_processes_have_the_whole_limit_and_never_more(
        per_second in prop_oneof![0.5..5.0, 5.0..100.0, 100.0..500.0_f64, (1..400_u32).prop_map(f64::from)],
        processes in 1..=6_usize,
        latency_ms in 0..=5_u64,
    ) {
        on_paused_clock(async {
            let (keeper, sent) = (Keeper::new(), RefCell::new(Vec::new()));
            let lasts = Duration::from_secs_f64(f64::max(10.0, 200.0 / per_second));
            let load = Load {
                latency: Duration::from_millis(latency_ms),
                at_once: 32,
                answered_after: Duration::from_millis(20),
                end: Instant::now() + lasts,
            };
            join_all((0..processes).map(|_| process(&keeper, &sent, &load, per_second))).await;
            let sent = sent.into_inner();
            assert_within(per_second, &sent);
            #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
            let share = sent.len() as f64 / (per_second * lasts.as_secs_f64());
            assert!(share >= 0.95, "{share} of the limit {per_second}");
        });
    }

    #[test]
    fn halts_and_slow_answers_never_lead_to_more_than_the_limit_and_one(
        per_second in prop_oneof![0.5..20.0, 20.0..300.0_f64, (1..300_u32).prop_map(f64::from)],
        processes in 1..=4_usize,
        latency_ms in prop_oneof![0..10_u64, 10..200_u64],
        halts in prop::collection::vec((0..400_u64, prop_oneof![1..40_u64, 40..2_000_u64]), 1..40),
    ) {
        on_paused_clock(async {
            let (keeper, sent) = (Keeper::new(), RefCell::new(Vec::new()));
            let load = Load {
                latency: Duration::from_millis(latency_ms),
                at_once: 24,
                answered_after: Duration::from_millis(20),
                end: Instant::now() + Duration::from_secs(8),
            };
            let halting = async {
                for (after, lasts) in halts {
                    sleep(Duration::from_millis(after)).await;
                    advance(Duration::from_millis(lasts)).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _ = join_all((0..processes).map(|_| process(&keeper, &sent, &load, per_second))) => {}
                () = halting => {}
            }
            assert_within(per_second, &sent.into_inner());
        });
    }
}

/// Lets processes run for two seconds each time, the clock being set in between.
#[tokio::test(start_paused = true)]
async fn a_shared_clock_that_is_set_stops_sending_for_a_moment_and_never_doubles_it() {
    let (keeper, sent) = (Keeper::new(), RefCell::new(Vec::new()));
    let start = Instant::now();
    let load = Load {
        latency: Duration::from_millis(4),
        at_once: 32,
        answered_after: Duration::from_millis(20),
        end: start + Duration::from_secs(10),
    };
    let setting = async {
        for ahead in [Duration::from_millis(300), Duration::from_hours(1), Duration::from_hours(2)] {
            sleep(Duration::from_secs(2)).await;
            keeper.borrow_mut().set_by = ahead;
        }
    };
    tokio::join!(setting, join_all((0..3).map(|_| process(&keeper, &sent, &load, 100.0))));
    let sent = sent.into_inner();
    assert_within(100.0, &sent);
    let pauses = sent.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.max().unwrap() < Duration::from_secs(1), "it goes on");
}

#[tokio::test(start_paused = true)]
async fn questions_do_not_grow_with_the_requests() {
    let (keeper, sent) = (Keeper::new(), RefCell::new(Vec::new()));
    let load = Load {
        latency: Duration::from_millis(4),
        at_once: 64,
        answered_after: Duration::from_millis(20),
        end: Instant::now() + Duration::from_secs(10),
    };
    join_all((0..4).map(|_| process(&keeper, &sent, &load, 400.0))).await;
    let (asked, gave) = keeper.borrow().asked;
    assert!(sent.borrow().len() > 3_800 && asked < 400, "{asked} questions, {gave} shares");
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_its_moment_to_the_next_in_line() {
    let (pace, turns) = Pace::limited(1.0);
    let keeper = Keeper::new();
    let serving = turns.serve(async |wanted| Some(keeper.borrow_mut().reserve(wanted)));
    let start = Instant::now();
    let asking = async {
        let gives_up = async {
            pace.permit().await;
            tokio::time::timeout(Duration::from_millis(900), pace.permit()).await.unwrap_err();
        };
        let next = async {
            sleep(Duration::from_millis(10)).await;
            pace.permit().await;
            start.elapsed()
        };
        tokio::join!(gives_up, next).1
    };
    tokio::select! {
        () = serving => panic!("it serves as long as somebody can ask"),
        after = asking => assert!(after < Duration::from_millis(1_100), "{after:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_halted_does_not_catch_up() {
    let (pace, turns) = Pace::limited(100.0);
    let mut asked: Vec<_> = (0..40).map(|_| Box::pin(pace.permit())).collect();
    for permit in &mut asked {
        assert!(futures_util::poll!(permit).is_pending());
    }
    let keeper = Keeper::new();
    let mut serving = Box::pin(turns.serve(async |wanted| Some(keeper.borrow_mut().reserve(wanted))));
    assert!(futures_util::poll!(&mut serving).is_pending());
    // The time of ten turns passes at once.
    advance(Duration::from_millis(100)).await;
    assert!(futures_util::poll!(&mut serving).is_pending());
    let mut left = 0;
    for permit in &mut asked {
        left += u32::from(futures_util::poll!(permit).is_ready());
    }
    // The first, told before the halt but not here in time, is not among them.
    assert!((1..=2).contains(&left), "{left} left within a moment");
}

#[tokio::test(start_paused = true)]
async fn nothing_leaves_while_no_share_can_be_reserved() {
    let (pace, turns) = Pace::limited(100.0);
    let serving = tokio::spawn(turns.serve(async |_| None));
    let permit = tokio::time::timeout(Duration::from_mins(1), pace.permit()).await;
    assert!(permit.is_err());
    serving.abort();
}
