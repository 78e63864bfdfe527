//! A relay between the program and its database that counts round trips: how often the program waited for the server.
//!
//! It changes nothing, but it takes time: a sweep through it is counted and not timed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// A relay that runs until it is dropped.
pub(crate) struct Relay {
    round_trips: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Listens on a socket and passes everything on to another.
    pub(crate) fn start(socket: &Path, server: PathBuf) -> Result<Self> {
        let (listener, round_trips) = (UnixListener::bind(socket)?, Arc::<AtomicU64>::default());
        let counted = Arc::clone(&round_trips);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server.clone(), Arc::clone(&counted)));
            }
        });
        Ok(Self { round_trips, accepting })
    }

    /// How often somebody waited for the server so far.
    pub(crate) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Both directions until either side closes.
async fn pass_on(client: UnixStream, server: PathBuf, round_trips: Arc<AtomicU64>) {
    let Ok(server) = UnixStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = AtomicBool::new(false);
    tokio::select! {
        () = copy(from_client, to_server, || asked.store(true, Ordering::Relaxed)) => {}
        // The first answer after something was asked.
        () = copy(from_server, to_client, || {
            round_trips.fetch_add(u64::from(asked.swap(false, Ordering::Relaxed)), Ordering::Relaxed);
        }) => {}
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, seen: impl Fn()) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        seen();
        if to.write_all(&chunk[..length]).await.is_err() {
            return;
        }
    }
}
