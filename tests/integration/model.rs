//! The model: histories of claims, results, crashes, takeovers and lost answers in random order, by several processes
//! against the real ledger, with every promise checked after every step.
//!
//! `PROPTEST_CASES` makes more histories, `PROPTEST_RNG_SEED` the same ones again.

mod books;
mod expected;
mod gate;
mod history;
mod process;
mod steps;
mod world;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::support::TestDatabase;
use history::{Answer, SESSIONS, Step, histories};
use world::World;

/// Histories where the environment does not ask for more.
const CASES: u32 = 10;

#[test]
fn the_promises_hold_after_every_step_of_any_history() {
    let mut config = Config { cases: CASES, failure_persistence: None, max_shrink_time: 60_000, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config.cases = Config::default().cases;
    }
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => Uuid::new_v4().as_u64_pair().0,
    };
    config.rng_seed = RngSeed::Fixed(seed);
    let runtime = Runtime::new().unwrap();
    let result = TestRunner::new(config).run(&histories(), |history| runtime.block_on(run(&history)));
    if let Err(TestError::Fail(why, history)) = result {
        let steps: Vec<_> = history.iter().enumerate().map(|(at, step)| format!("{:>3} {step:?}", at + 1)).collect();
        panic!("{why}\n\nafter this history (again with PROPTEST_RNG_SEED={seed}):\n{}", steps.join("\n"));
    }
    result.unwrap();
}

/// Carries a history out, on a database of its own.
async fn run(history: &[Step]) -> Result<(), TestCaseError> {
    let database = TestDatabase::new().await;
    let mut world = World::new(database.url(), database.pool()).await;
    let mut done = world.go(&Step::Discover { by: 0, named: [true; SESSIONS], answer: Answer::Comes }).await;
    for step in history {
        if done.is_err() {
            break;
        }
        done = world.go(step).await;
    }
    world.end().await;
    database.close().await;
    done
}
