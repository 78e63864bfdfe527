//! Names, statuses and rows of the source: quoted so that they can be nothing else.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| geft_sweeper::fuzzing::identifiers(input));
