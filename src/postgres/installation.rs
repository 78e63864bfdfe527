//! Finds PostgreSQL's programs on this machine, and the user that may run them.
//!
//! It never installs anything.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// The oldest release that the ledger works with.
const OLDEST: u32 = 15;

/// Where Debian keeps each release, in a folder of its own.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A user and group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The folder with the programs of the newest PostgreSQL on this machine.
pub(super) fn programs() -> Result<PathBuf, Error> {
    let debian = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|release| release.path().join("bin"));
    // Not a setting: where programs lie is the system's matter.
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian
        .chain(std::env::split_paths(&path))
        .filter(|bin| ["initdb", "pg_ctl", "postgres"].iter().all(|program| bin.join(program).is_file()))
        .filter_map(|bin| Some((release(&bin)?, bin)))
        .filter(|(release, _)| *release >= OLDEST)
        .max_by_key(|(release, _)| *release)
        .map(|(_, bin)| bin)
        .ok_or(Error::NotInstalled)
}

/// The release whose programs lie in a folder.
fn release(bin: &Path) -> Option<u32> {
    let answer = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    release_in(&String::from_utf8_lossy(&answer.stdout))
}

/// Reads "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", or "… 18beta1".
fn release_in(version: &str) -> Option<u32> {
    let number = version.strip_prefix("postgres (PostgreSQL) ")?;
    number.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
}

/// The user to switch to: PostgreSQL refuses to run as root. None where we are somebody else already.
pub(super) fn account() -> Result<Option<Account>, Error> {
    // The owner of our own entry is the effective user; asking the system directly would take unsafe code.
    let us = fs::metadata("/proc/self").map_err(Error::Account)?.uid();
    if us != 0 {
        return Ok(None);
    }
    let accounts = fs::read_to_string("/etc/passwd").map_err(Error::Account)?;
    accounts.lines().find_map(postgres_account).map(Some).ok_or(Error::NoAccount)
}

/// Reads a line of `/etc/passwd`, if it is the one of the user `postgres`.
fn postgres_account(line: &str) -> Option<Account> {
    let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
    Some(Account { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_the_first_number_of_the_version() {
        assert_eq!(release_in("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(release_in("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(release_in("something else 16.1"), None);
    }

    #[test]
    fn only_the_line_of_the_user_postgres_is_taken() {
        let line = "postgres:x:105:112:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash";
        assert_eq!(postgres_account(line), Some(Account { uid: 105, gid: 112 }));
        assert_eq!(postgres_account("postgres2:x:1:2::/:/bin/sh"), None);
        assert_eq!(postgres_account("postgres:x"), None);
    }
}
