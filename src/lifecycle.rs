//! Signals: the first SIGTERM or SIGINT asks for an orderly end, the second ends at once.
//!
//! SIGHUP ends the process as ever, but for the command that listens to it too. Nothing else in the program listens to
//! signals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
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
                tracing::info!(event = "process.signal", process.signal = name, "asked to stop");
                asked.cancel();
            }
        });
        Ok(lifecycle)
    }
}

/// Each SIGHUP: the wish to have something read again.
pub struct Hangups(Signal);

impl Hangups {
    /// Starts to listen. From here on SIGHUP does not end the process.
    pub fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next; several that come at once are one.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // No more can come, which is not the same as one.
            std::future::pending::<()>().await;
        }
    }
}
