//! Who waits at the gate: where there is room, nobody sleeps.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use proptest::prelude::*;

use super::*;

type Waiting<'gate> = Pin<Box<dyn Future<Output = Entry<'gate>> + 'gate>>;

/// What can happen at a gate.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// One more comes.
    Come,
    /// This one of those that wait goes away again.
    GoAway(usize),
    /// This one of those under way succeeds.
    Succeed(usize),
    /// This one of those under way ends without a word.
    End(usize),
    /// This one of those under way is asked to wait.
    BeAskedToWait(usize),
    /// The hold is over.
    HoldEnds,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Come),
        1 => any::<usize>().prop_map(Step::GoAway),
        3 => any::<usize>().prop_map(Step::Succeed),
        2 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::BeAskedToWait),
        2 => Just(Step::HoldEnds),
    ]
}

struct Scene<'gate> {
    gate: &'gate Gate,
    /// With whether it was woken, as a runtime would know.
    waiting: Vec<(Waiting<'gate>, std::sync::Arc<Woken>)>,
    under_way: Vec<Pass<'gate>>,
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Scene<'_> {
    fn take(&mut self, step: Step) {
        let pick = |number: usize, of: usize| (of > 0).then(|| number % of);
        match step {
            Step::Come => {
                let woken = std::sync::Arc::new(Woken(true.into()));
                self.waiting.push((Box::pin(self.gate.enter()), woken));
            }
            Step::GoAway(which) => {
                if let Some(which) = pick(which, self.waiting.len()) {
                    drop(self.waiting.remove(which));
                }
            }
            Step::Succeed(which) => self.end(pick(which, self.under_way.len()), Some(canceled())),
            Step::End(which) => self.end(pick(which, self.under_way.len()), None),
            Step::BeAskedToWait(which) => self.end(pick(which, self.under_way.len()), Some(rate_limited(3_600))),
            Step::HoldEnds => self.gate.end_hold_for_test(),
        }
        self.run();
    }

    fn end(&mut self, which: Option<usize>, attempt: Option<Attempt>) {
        let Some(which) = which else { return };
        let pass = self.under_way.remove(which);
        if let Some(attempt) = attempt {
            self.gate.observe(&pass, session(), &attempt);
        }
    }

    /// Runs whoever was woken, and nobody else, until none is.
    fn run(&mut self) {
        let is_woken = |woken: &Woken| woken.0.swap(false, std::sync::atomic::Ordering::SeqCst);
        while let Some(next) = self.waiting.iter().position(|(_, woken)| is_woken(woken)) {
            let (waiting, woken) = &mut self.waiting[next];
            let waker = Waker::from(std::sync::Arc::clone(woken));
            let std::task::Poll::Ready(entry) = waiting.as_mut().poll(&mut Context::from_waker(&waker)) else {
                continue;
            };
            drop(self.waiting.remove(next));
            if let Entry::Passed(pass) = entry {
                self.under_way.push(pass);
            }
        }
    }
}

proptest! {
    #[test]
    fn nobody_sleeps_where_there_is_room(most in 1_usize..5, steps in proptest::collection::vec(step(), 1..80)) {
        let gate = Gate::new(most, EXPECTED);
        let mut scene = Scene { gate: &gate, waiting: Vec::new(), under_way: Vec::new() };
        for step in steps {
            scene.take(step);
            prop_assert!(scene.under_way.len() <= most);
            let has_room = pass(&gate).is_some();
            // The look has taken a place and given it back.
            scene.run();
            prop_assert!(!has_room || scene.waiting.is_empty(), "{} sleep", scene.waiting.len());
        }
    }
}
