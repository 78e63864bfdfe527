//! Connections that can be reset: the accept loop's side of it.
//!
//! It knows nothing of HTTP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Accepts connections; when `all` is canceled, every one of them is reset.
pub(super) struct Connections {
    pub(super) listener: TcpListener,
    pub(super) all: CancellationToken,
}

impl Listener for Connections {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Without it a small answer can wait for 40 ms; a connection that is gone already shows itself on reading.
        let _ = stream.set_nodelay(true);
        let reset = self.all.child_token();
        (Stream { tcp: stream, canceled: Box::pin(reset.clone().cancelled_owned()), reset }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A handler's grip on the connection that its request came by.
#[derive(Clone)]
pub(super) struct Grip(CancellationToken);

impl Grip {
    /// Resets the connection: the client sees RST, and no answer.
    pub(super) fn reset(&self) {
        self.0.cancel();
    }
}

impl Connected<IncomingStream<'_, Connections>> for Grip {
    fn connect_info(incoming: IncomingStream<'_, Connections>) -> Self {
        Self(incoming.io().reset.clone())
    }
}

/// A connection that fails as soon as it is to be reset.
pub(super) struct Stream {
    tcp: TcpStream,
    reset: CancellationToken,
    canceled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stream {
    /// Fails once the reset is asked for. With zero linger, closing sends RST instead of FIN.
    fn check(&self) -> io::Result<()> {
        if !self.reset.is_cancelled() {
            return Ok(());
        }
        self.tcp.set_zero_linger()?;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Polled, not just looked at: the reset has to wake a connection that waits for its client.
        if self.canceled.as_mut().poll(context).is_ready() {
            self.check()?;
        }
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.tcp).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
