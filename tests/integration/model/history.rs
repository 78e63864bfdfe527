//! What can happen, as the steps of a history made up at random.
//!
//! Numbers choose among what there is at that moment, and a step that finds nothing to do does nothing. So every history
//! makes sense, and one that fails stays a history when steps are taken out of it.

use geft_sweeper::outcome::Outcome;
use geft_sweeper::session::State;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Simulated processes.
pub(super) const PROCESSES: usize = 3;
/// Sessions: few, so that processes meet.
pub(super) const SESSIONS: usize = 6;
/// Steps of a history.
const STEPS: std::ops::RangeInclusive<usize> = 1..=200;

/// Whether the answer to a commit reaches the process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Comes,
    /// The commit was under way; `written` tells whether it took place.
    Lost {
        written: bool,
    },
}

/// Which of the claims that a process has in mind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    One(usize),
    All,
}

/// How long a session waits before it is due again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pause {
    None,
    Long,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// The source names these sessions.
    Discover {
        by: usize,
        named: [bool; SESSIONS],
        answer: Answer,
    },
    Claim {
        by: usize,
        limit: u32,
        answer: Answer,
    },
    /// A request leaves, be its lease over or not: the process may have been halted after its last look at it.
    Send {
        by: usize,
        which: Which,
    },
    /// The results of requests sent; a result whose answer was lost is written again.
    Record {
        by: usize,
        which: Which,
        outcome: Outcome,
        probe: bool,
        pause: Pause,
        answer: Answer,
    },
    Release {
        by: usize,
        which: Which,
        pause: Pause,
        answer: Answer,
    },
    Settle {
        by: usize,
        which: Which,
        state: State,
        answer: Answer,
    },
    /// The process dies, and a new one starts in its place.
    Crash {
        by: usize,
    },
    /// So much time passes that the leases of this process are over.
    EndLeases {
        of: usize,
    },
    /// A process is halted for so long that another one takes its sessions over and claims what is due.
    Overtake {
        of: usize,
        by: usize,
    },
    TakeOver {
        by: usize,
        pause: Pause,
        answer: Answer,
    },
    Requeue {
        by: usize,
        session: usize,
        answer: Answer,
    },
    /// So much time passes that every session that waits is due.
    BecomeDue,
}

pub(super) fn histories() -> impl Strategy<Value = Vec<Step>> {
    vec(step(), STEPS)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (by(), any::<[bool; SESSIONS]>(), answer())
            .prop_map(|(by, named, answer)| Step::Discover { by, named, answer }),
        12 => (by(), 1..=4_u32, answer()).prop_map(|(by, limit, answer)| Step::Claim { by, limit, answer }),
        5 => (by(), which()).prop_map(|(by, which)| Step::Send { by, which }),
        6 => (by(), which(), select(ANSWERED.to_vec()), prop::bool::weighted(0.2), pause(), answer()).prop_map(
            |(by, which, outcome, probe, pause, answer)| Step::Record { by, which, outcome, probe, pause, answer }
        ),
        4 => (by(), which(), pause(), answer())
            .prop_map(|(by, which, pause, answer)| Step::Release { by, which, pause, answer }),
        4 => (by(), which(), select(SETTLED.to_vec()), answer())
            .prop_map(|(by, which, state, answer)| Step::Settle { by, which, state, answer }),
        1 => by().prop_map(|by| Step::Crash { by }),
        3 => by().prop_map(|of| Step::EndLeases { of }),
        3 => (by(), by()).prop_map(|(of, by)| Step::Overtake { of, by }),
        4 => (by(), pause(), answer()).prop_map(|(by, pause, answer)| Step::TakeOver { by, pause, answer }),
        3 => (by(), 0..SESSIONS, answer()).prop_map(|(by, session, answer)| Step::Requeue { by, session, answer }),
        2 => Just(Step::BecomeDue),
    ]
}

/// The outcomes that a process can come to itself; those that keep a session in play come more often.
const ANSWERED: [Outcome; 14] = [
    Outcome::ServerError,
    Outcome::ServerError,
    Outcome::Timeout,
    Outcome::Timeout,
    Outcome::Rejected,
    Outcome::Rejected,
    Outcome::RateLimited,
    Outcome::Unauthorized,
    Outcome::Unauthorized,
    Outcome::NetworkError,
    Outcome::InvalidResponse,
    Outcome::NotFound,
    Outcome::Canceled,
    Outcome::AlreadyTerminal,
];

/// How a session can end without a request.
const SETTLED: [State; 5] = [State::Withdrawn, State::Withdrawn, State::Failed, State::Failed, State::AlreadyTerminal];

fn by() -> impl Strategy<Value = usize> {
    0..PROCESSES
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![(0..SESSIONS).prop_map(Which::One), Just(Which::All)]
}

fn pause() -> impl Strategy<Value = Pause> {
    prop_oneof![3 => Just(Pause::None), 1 => Just(Pause::Long)]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Comes),
        1 => Just(Answer::Lost { written: true }),
        1 => Just(Answer::Lost { written: false }),
    ]
}
