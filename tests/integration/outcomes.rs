//! Every outcome of an attempt, provoked at the sandbox and read from the rows that the real program left.

mod answers;
mod budget;
mod endings;
mod interruption;
mod no_answer;
mod rate_limits;

use geft_sweeper::sandbox::{EndpointFaults, Fault, SessionFaults};

/// A fault by its name.
fn fault(name: &str) -> Fault {
    name.parse().unwrap()
}

/// Cancel always meets this.
fn cancel(name: &str) -> SessionFaults {
    SessionFaults { cancel: Some(EndpointFaults::always(fault(name))), status: None }
}

/// The first cancels meet these, and later ones nothing.
fn cancel_first<const N: usize>(names: [&str; N]) -> SessionFaults {
    SessionFaults { cancel: Some(EndpointFaults::first(names.map(fault))), status: None }
}

/// Cancel always meets the one, and status the other.
fn cancel_and_status(cancel: &str, status: &str) -> SessionFaults {
    SessionFaults {
        cancel: Some(EndpointFaults::always(fault(cancel))),
        status: Some(EndpointFaults::always(fault(status))),
    }
}
