//! `geft-sweeper` cancels abandoned Flinks Pay GEFT sessions and keeps an audit trail of every attempt.
//!
//! The rooms stand in the order in which data walks through them:
//!
//! ```text
//! source → ledger (discover, claim) → geft → outcome → ledger (record) → report
//! ```
//!
//! Stages do not know each other; [`sweep`] alone carries values from one to the next.

pub mod config;

pub mod session;

pub mod database;

pub mod source;

pub mod ledger;

pub mod geft;

pub mod outcome;

pub mod backoff;

pub mod pace;

pub mod throttle;

pub mod sweep;

pub mod schedule;

pub mod lifecycle;

pub mod daemon;

pub mod health;

pub mod server;

pub mod telemetry;

pub mod postgres;

pub mod sandbox;

pub mod demo;
