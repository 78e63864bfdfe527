//! Signals: the first SIGTERM or SIGINT asks for an orderly end, the second ends at once.
//!
//! Nothing else in the program listens to signals.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The process's wish to end.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Asked to stop: what is under way is finished, nothing new is begun.
    pub stop: CancellationToken,
    /// Asked a second time: the process ends at once.
    pub abort: CancellationToken,
}

impl Lifecycle {
    /// Starts to listen. From here on no signal of the two ends the process by itself.
    pub fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let lifecycle = Self::default();
        let (stop, abort) = (lifecycle.stop.clone(), lifecycle.abort.clone());
        tokio::spawn(async move {
            for asked in [stop, abort] {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(event = "process.signal", signal = name, "asked to stop");
                asked.cancel();
            }
        });
        Ok(lifecycle)
    }
}
