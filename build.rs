//! Tells the program which commit it is built of: `GEFT_SWEEPER_COMMIT`, or else what git says here.
//!
//! It never fails: sources without a commit, such as an unpacked archive, build as well. And it tells nothing of the machine or the
//! time, so that the same sources give the same bytes.

use std::path::Path;
use std::process::Command;

/// As much of a commit's name as people need.
const LENGTH: usize = 12;
const GIVEN: &str = "GEFT_SWEEPER_COMMIT";
/// Another name: cargo hands what stands here to tests as well, which would take it for given.
const TOLD: &str = "GEFT_SWEEPER_BUILT_OF";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={GIVEN}");
    let given = std::env::var_os(GIVEN).and_then(|commit| commit.into_string().ok());
    let commit = given.filter(|commit| !commit.is_empty()).or_else(checked_out);
    let commit: String = commit.as_deref().unwrap_or("unknown").chars().take(LENGTH).collect();
    println!("cargo::rustc-env={TOLD}={commit}");
}

/// The commit of this very folder, not of a repository that it may lie in; and when to look again.
fn checked_out() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    // Git writes a line there whenever another commit is checked out or made; `HEAD` itself stays the same on a branch.
    for name in ["logs/HEAD", "HEAD"] {
        if let Some(file) = git(&["rev-parse", "--git-path", name]).filter(|file| Path::new(file).exists()) {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok().filter(|answer| answer.status.success())?;
    String::from_utf8(answer.stdout).ok().map(|text| text.trim().to_owned())
}
