//! Answers of the provider to cancel, status and authorize: what an attempt comes to, and what is stored of it.

#![no_main]

use std::sync::LazyLock;

use geft_sweeper::fuzzing::Provider;

static PROVIDER: LazyLock<Provider> = LazyLock::new(Provider::default);

libfuzzer_sys::fuzz_target!(|input: &[u8]| PROVIDER.answers(input));
