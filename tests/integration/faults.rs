//! What the fault laboratory stands on, proved here because the laboratory itself has no test harness: its proxy, the
//! reconciliation of its three records, and its command line.

#[path = "../faults/arguments.rs"]
mod arguments;
mod command_line;
mod connections;
#[allow(dead_code, reason = "the laboratory uses more of it than its tests do")]
#[path = "../faults/proxy.rs"]
pub(crate) mod proxy;
#[allow(dead_code, reason = "the laboratory prints findings, its tests compare them")]
#[path = "../faults/reconcile.rs"]
mod reconcile;
mod reconciliation;
