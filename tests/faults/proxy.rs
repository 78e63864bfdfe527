//! A TCP proxy whose connections can be delayed, stalled, swallowed, half-closed and cut.
//!
//! Our own, for the crates that there are drive a server which would have to be installed first, and none half-closes.
//! It knows nothing of what it carries. Connections belong to a cohort, so that those of one moment can be treated
//! otherwise than those that are made later.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where connections are carried to.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// What becomes of bytes on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    /// They pass at once.
    #[default]
    Pass,
    /// Each piece passes after this time.
    Delay(Duration),
    /// They wait until the flow is another, and so does the end of the connection.
    Stall,
    /// They are swallowed.
    Swallow,
}

/// One of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// Connections that are treated alike. The control of a cohort outlives its connections.
#[derive(Debug, Default)]
pub(crate) struct Cohort {
    to_server: watch::Sender<Flow>,
    to_client: watch::Sender<Flow>,
    server_hears_end: CancellationToken,
    client_hears_end: CancellationToken,
    cut: CancellationToken,
}

impl Cohort {
    /// What becomes of the bytes of one direction from now on.
    pub(crate) fn set(&self, way: Way, flow: Flow) {
        self.flow(way).send_replace(flow);
    }

    /// Resets every connection: both sides see it break.
    pub(crate) fn cut(&self) {
        self.cut.cancel();
    }

    /// Half-closes every connection: nothing more comes this way, and the other way goes on.
    pub(crate) fn half_close(&self, way: Way) {
        self.end(way).cancel();
    }

    fn flow(&self, way: Way) -> &watch::Sender<Flow> {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }

    fn end(&self, way: Way) -> &CancellationToken {
        match way {
            Way::ToServer => &self.server_hears_end,
            Way::ToClient => &self.client_hears_end,
        }
    }
}

/// What the proxy does with new connections.
#[derive(Debug, Default)]
struct Door {
    cohort: Arc<Cohort>,
    refuses: bool,
}

/// A proxy on a port of 127.0.0.1; dropping it ends it and every connection.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    door: Arc<Mutex<Door>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens, and carries every connection to the target.
    pub(crate) async fn start(target: Target) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Arc::<Mutex<Door>>::default();
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&door)));
        Self { address, door, accepting }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The cohort of the connections that are made now.
    pub(crate) fn cohort(&self) -> Arc<Cohort> {
        Arc::clone(&self.door.lock().unwrap().cohort)
    }

    /// Begins a new cohort, with nothing wrong, and gives the one of the connections made so far.
    pub(crate) fn renew(&self) -> Arc<Cohort> {
        std::mem::take(&mut self.door.lock().unwrap().cohort)
    }

    /// New connections are reset from now on, and so are those that are there.
    pub(crate) fn refuse(&self) {
        self.door.lock().unwrap().refuses = true;
        self.renew().cut();
    }

    /// New connections are carried again.
    pub(crate) fn serve(&self) {
        self.door.lock().unwrap().refuses = false;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.renew().cut();
    }
}

async fn accept(listener: TcpListener, target: Target, door: Arc<Mutex<Door>>) {
    loop {
        // Out of file descriptors, for instance: the client sees its connection wait.
        let Ok((client, _)) = listener.accept().await else { continue };
        let cohort = {
            let door = door.lock().unwrap();
            (!door.refuses).then(|| Arc::clone(&door.cohort))
        };
        match cohort {
            Some(cohort) => drop(tokio::spawn(carry(client, target.clone(), cohort))),
            None => reset(&client),
        }
    }
}

/// Makes the close of a connection a reset for the other side, not an end.
fn reset(client: &TcpStream) {
    client.set_zero_linger().ok();
}

async fn carry(mut client: TcpStream, target: Target, cohort: Arc<Cohort>) {
    client.set_nodelay(true).ok();
    let carried = match target {
        Target::Tcp(address) => match TcpStream::connect(address).await {
            Ok(server) => {
                server.set_nodelay(true).ok();
                both_ways(&mut client, server, &cohort).await
            }
            Err(error) => Err(error),
        },
        Target::Unix(path) => match UnixStream::connect(path).await {
            Ok(server) => both_ways(&mut client, server, &cohort).await,
            Err(error) => Err(error),
        },
    };
    if carried.is_err() {
        reset(&client);
    }
}

/// Carries bytes both ways to the end of both; an error where the connection broke or was cut.
async fn both_ways(client: &mut TcpStream, server: impl AsyncRead + AsyncWrite, cohort: &Cohort) -> io::Result<()> {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = tokio::io::split(server);
    tokio::select! {
        () = cohort.cut.cancelled() => Err(io::ErrorKind::ConnectionReset.into()),
        done = async { tokio::try_join!(
            one_way(from_client, to_server, cohort, Way::ToServer),
            one_way(from_server, to_client, cohort, Way::ToClient),
        ) } => done.map(|_| ()),
    }
}

async fn one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    cohort: &Cohort,
    way: Way,
) -> io::Result<()> {
    let mut flow = cohort.flow(way).subscribe();
    let mut piece = vec![0; 16 * 1024];
    loop {
        let length = tokio::select! {
            biased;
            () = cohort.end(way).cancelled() => 0,
            length = from.read(&mut piece) => length?,
        };
        // The sender lives in the cohort, so the wait ends by another flow alone.
        let now = *flow.wait_for(|flow| *flow != Flow::Stall).await.map_err(io::Error::other)?;
        if let Flow::Delay(pause) = now {
            tokio::time::sleep(pause).await;
        }
        if length == 0 {
            return to.shutdown().await;
        }
        if now != Flow::Swallow {
            to.write_all(&piece[..length]).await?;
        }
    }
}
