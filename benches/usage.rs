//! What processes have used of processor and memory, as the system accounts for it.
//!
//! It reads and starts nothing. Times below a clock tick are told wherever the system knows them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Usage, UsageWho, getrusage};

/// The processor time of this process.
pub(crate) fn own() -> Result<Duration> {
    Ok(total(&getrusage(UsageWho::RUSAGE_SELF)?))
}

/// The processor time of the children that were waited for, and of theirs.
pub(crate) fn ended_children() -> Result<Duration> {
    Ok(total(&getrusage(UsageWho::RUSAGE_CHILDREN)?))
}

/// The processor time of a running process, all its threads together.
pub(crate) fn running(pid: u32) -> Result<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("looking at process {pid}"))?;
    let spent = threads.map(|thread| on_processor(&thread?.path().join("schedstat").to_string_lossy()));
    spent.sum()
}

/// The processor time of a server: its first process, the children that it has, and those that ended.
pub(crate) fn server(first: u32) -> Result<Duration> {
    let mut spent = ended_children_of(first)?;
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if pid == first || field(pid, PARENT).is_ok_and(|parent| parent == u64::from(first)) {
            // One that ends meanwhile is counted with those that ended, at the next look.
            spent += on_processor(&format!("/proc/{pid}/schedstat")).unwrap_or_default();
        }
    }
    Ok(spent)
}

/// A line of `/proc/PID/status` in KiB, such as `VmHWM` or `VmRSS`; none where the process is gone.
pub(crate) fn memory_kib(pid: u32, line: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let value = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

fn total(usage: &Usage) -> Duration {
    let time = |value: nix::sys::time::TimeVal| {
        let micros = value.tv_sec() * 1_000_000 + value.tv_usec();
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    };
    time(usage.user_time()) + time(usage.system_time())
}

/// The first number of a `schedstat`: nanoseconds on the processor.
fn on_processor(file: &str) -> Result<Duration> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
    let first = text.split_whitespace().next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(first.parse()?))
}

// Fields of /proc/PID/stat, counted from the one behind the name.
const PARENT: usize = 1;
const ENDED_IN_USER: usize = 13;
const ENDED_IN_SYSTEM: usize = 14;
/// Linux tells times there in hundredths of a second, whatever its own clock.
const TICK_MS: u64 = 10;

fn ended_children_of(pid: u32) -> Result<Duration> {
    let ticks = field(pid, ENDED_IN_USER)? + field(pid, ENDED_IN_SYSTEM)?;
    Ok(Duration::from_millis(ticks * TICK_MS))
}

fn field(pid: u32, position: usize) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold blanks and brackets of its own.
    let (_, rest) = stat.rsplit_once(')').context("a stat without a name")?;
    Ok(rest.split_whitespace().nth(position).context("a short stat")?.parse()?)
}
