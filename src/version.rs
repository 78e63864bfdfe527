//! Which program this is: its version, and the commit that it was built of. `build.rs` finds the commit out.

/// The version, as in `Cargo.toml`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first twelve characters of the commit's name; `unknown` where the program was built of sources without a repository.
pub const COMMIT: &str = env!("GEFT_SWEEPER_BUILT_OF");

/// Both, as `--version` shows them.
pub const VERSION_AND_COMMIT: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("GEFT_SWEEPER_BUILT_OF"), ")");
