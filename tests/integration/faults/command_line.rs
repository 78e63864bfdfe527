//! The laboratory takes its own arguments and passes over those of the test harness.

use super::arguments::Arguments;

fn read(arguments: &str) -> Arguments {
    Arguments::read(arguments.split_whitespace().map(str::to_owned)).unwrap()
}

#[test]
fn what_the_harness_is_told_is_passed_over() {
    let read = read("--test-threads 2 --nocapture -q --color always --format=terse");
    assert_eq!(read, Arguments::default());
    assert!(read.names("anything"));
}

#[test]
fn scenarios_are_named_in_part_or_exactly_or_skipped() {
    assert!(read("killed api").names("api_slow"));
    assert!(!read("killed").names("api_slow"));
    assert!(!read("--exact api").names("api_slow"));
    assert!(read("--exact --only api_slow").names("api_slow"));
    assert!(!read("--ignored").names("api_slow"), "nothing is ignored");
    assert!(!read("--skip slow").names("api_slow"));
}

#[test]
fn a_seed_is_a_number() {
    let read = read("--full --seed 7");
    assert!(read.full && read.seed == Some(7), "{read:?}");
    for wrong in ["--seed", "--seed x"] {
        assert!(Arguments::read(wrong.split_whitespace().map(str::to_owned)).is_err(), "{wrong}");
    }
}
