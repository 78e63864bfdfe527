//! Configuration: defaults, then a TOML file, then the environment; validated as a whole before anything starts.
//!
//! Never prints a secret, and never goes on with a setting that contradicts another.

mod settings;

pub use settings::*;
