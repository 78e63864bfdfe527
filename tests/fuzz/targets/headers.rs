//! Heads of answers: how long to wait, and whether the body says that it is JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| geft_sweeper::fuzzing::headers(input));
