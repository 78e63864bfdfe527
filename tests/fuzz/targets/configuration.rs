//! Files and variables: read or refused, with no secret in any sentence.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| geft_sweeper::fuzzing::configuration(input));
