//! `geft-sweeper` cancels abandoned Flinks Pay GEFT sessions and keeps an audit trail of every attempt.
//!
//! The rooms stand in the order in which data walks through them:
//!
//! ```text
//! source → ledger (discover, claim) → geft → outcome → ledger (record) → report
//! ```
//!
//! Stages do not know each other; [`sweep`] alone carries values from one to the next.

// What everybody may know: the settings, the words of the domain, and which program this is.
pub mod config;
pub mod outcome;
pub mod session;
mod version;
pub use version::{COMMIT, VERSION, VERSION_AND_COMMIT};

// The stages, and what they stand on.
pub mod database;
pub mod geft;
pub mod ledger;
pub mod source;

// When to look, when to send, when to send again, and when not at all.
pub mod backoff;
pub mod clocks;
pub mod pace;
pub mod throttle;
pub mod wake;

// The conductor.
pub mod sweep;

// The process around it.
pub mod daemon;
pub mod figures;
pub mod health;
pub mod lifecycle;
pub mod reload;
pub mod schedule;
pub mod server;
pub mod systemd;
pub mod telemetry;
pub mod traces;

// For trying things out, and for the tests: a local API and a private database.
pub mod postgres;
pub mod sandbox;

// A door for the fuzz targets, in their build and in the tests' alone.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
