//! Every test that needs a database, the network or the real binary, in one program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic, in its helpers too"
)]

mod at_once;
mod backlog;
mod blast_radius;
mod bounds;
mod check;
mod circuit;
mod clocks;
mod commands;
mod daemon;
mod demo;
mod deploy;
mod environment;
mod faults;
mod holding;
mod in_progress;
mod ledger;
mod log;
mod migration;
mod model;
mod notify;
mod outcomes;
mod private_postgres;
mod processes;
mod rate;
mod reference;
mod reload;
mod roles;
mod rooms;
mod runbook;
mod secrets;
mod source;
mod support;
mod tls;
mod tokens;
mod traces;
mod version;
mod withdrawal;
