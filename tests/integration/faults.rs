//! What the fault laboratory stands on, proved here because the laboratory itself has no test harness: its proxy, and
//! the reconciliation of its three records.

#![allow(dead_code, reason = "the laboratory uses more of them than their own tests do")]

#[path = "../faults/proxy.rs"]
mod proxy;
#[path = "../faults/reconcile.rs"]
mod reconcile;
