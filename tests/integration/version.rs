//! Which program this is, as the binary says it.

use std::env;
use std::path::Path;
use std::process::Command;

use geft_sweeper::{COMMIT, VERSION};

#[test]
fn the_program_says_its_version_and_its_commit() {
    let answer = Command::new(env!("CARGO_BIN_EXE_geft-sweeper")).arg("--version").output().unwrap();
    assert!(answer.status.success());
    assert_eq!(String::from_utf8(answer.stdout).unwrap(), format!("geft-sweeper {VERSION} (commit {COMMIT})\n"));
}

#[test]
fn the_commit_is_the_one_that_is_checked_out() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Sources without a repository have none, and whoever builds may say another.
    if !repository.join(".git").exists() || env::var_os("GEFT_SWEEPER_COMMIT").is_some() {
        return;
    }
    let git = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(repository).output().unwrap();
    assert!(git.status.success(), "{git:?}");
    assert_eq!(Some(COMMIT), String::from_utf8(git.stdout).unwrap().get(..12));
}
