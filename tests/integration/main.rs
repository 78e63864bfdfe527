//! Every test that needs a database, the network or the real binary, in one program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic, in its helpers too"
)]

mod daemon;
mod ledger;
mod private_postgres;
mod processes;
mod rooms;
mod secrets;
mod source;
mod support;
