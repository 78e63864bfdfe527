//! A local GEFT API for tests, benchmarks and the demo: stateful, with faults that can be set.
//!
//! It keeps everything in memory and listens on a loopback address alone. It is the only fake API of the program: whatever a
//! test needs from a provider is a fault or a control here. The controls over HTTP are listed in `sandbox/control.rs`.

mod answers;
mod connection;
mod control;
mod delivery;
mod draw;
mod exchange;
mod fault;
mod faults;
mod gate;
mod log;
mod routes;
mod state;
#[cfg(test)]
mod tests;
mod tokens;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use fault::{Fault, Kind, OddBody, UnknownFault};
pub use faults::{
    EndpointFaults, ExpiresIn, Faults, InvalidFaults, RetryAfter, RetryAfterForm, SessionFaults, Spelling,
    TerminalBody, TokenUse,
};
pub use gate::{Hold, Moment};
pub use log::{Answered, Counts, Effect, Endpoint, Page, Request};
pub use state::{Becomes, NewSession, Session};

use connection::{Connections, Grip};
use exchange::Api;

/// How long `stop` lets answers finish before it resets the connections.
const GRACE: Duration = Duration::from_millis(250);

/// How a sandbox is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The client id that authorize accepts.
    pub client_id: String,
    /// The client secret that authorize accepts.
    pub client_secret: SecretString,
    /// What all draws hang on: the same seed and the same session ids meet the same faults.
    pub seed: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Sessions expire by themselves after this, unless they say otherwise.
    pub expire_after: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            client_id: "demo".to_owned(),
            client_secret: "demo-secret".into(),
            seed: 0,
            faults: Faults::default(),
            expire_after: None,
        }
    }
}

/// Why the sandbox could not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It takes anybody's word, so nobody but this machine may reach it.
    #[error(
        "the sandbox cannot listen on {0}: it has no protection, so give it a loopback address such as 127.0.0.1:8099"
    )]
    NotLoopback(SocketAddr),
    /// The address is not to be had.
    #[error("the sandbox could not listen on {address}")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The faults contradict themselves.
    #[error("the faults of the sandbox cannot be set")]
    Faults(#[from] InvalidFaults),
}

/// A sandbox that runs until it is stopped or dropped.
pub struct Sandbox {
    api: Arc<Api>,
    address: SocketAddr,
    stop: CancellationToken,
    connections: CancellationToken,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Sandbox {
    /// Starts one.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let listen = options.listen;
        if !listen.ip().is_loopback() {
            return Err(Error::NotLoopback(listen));
        }
        options.faults.check()?;
        let failed = |source| Error::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let api = Arc::new(api(options));
        let (stop, connections) = (CancellationToken::new(), CancellationToken::new());
        let router = routes::router().merge(control::router()).with_state(Arc::clone(&api));
        let listener = Connections { listener, all: connections.clone() };
        let server = axum::serve(listener, router.into_make_service_with_connect_info::<Grip>())
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let server = Some(tokio::spawn(server.into_future()));
        Ok(Self { api, address, stop, connections, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `[api] base_url` has to be; without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the whole fault setting; requests under way keep theirs.
    pub fn set_faults(&self, faults: Faults) -> Result<(), Error> {
        Ok(self.api.replace_faults(faults)?)
    }

    /// Puts sessions in, all or none; gives their ids in the same order.
    pub fn seed(&self, sessions: Vec<NewSession>) -> Result<Vec<Uuid>, Error> {
        Ok(self.api.seed_sessions(sessions)?)
    }

    /// A session as it is now.
    #[must_use]
    pub fn session(&self, id: Uuid) -> Option<Session> {
        self.api.sessions.get(id)
    }

    /// Gives a session a status, word for word, with these details or the usual ones; none where there is no such session.
    pub fn set_status(&self, id: Uuid, status: &str, details: Option<&str>) -> Option<Session> {
        let (status, status_details) = (Some(status.to_owned()), details.map(str::to_owned));
        self.api.sessions.update(id, NewSession { status, status_details, ..NewSession::default() })
    }

    /// Changes what is given of a session; none where there is no such session.
    pub fn update(&self, id: Uuid, new: NewSession) -> Result<Option<Session>, Error> {
        new.faults.iter().try_for_each(SessionFaults::check)?;
        Ok(self.api.sessions.update(id, new))
    }

    /// The requests that are over: the last million, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.api.log.page(0, usize::MAX).requests
    }

    /// How many requests there were.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.api.all_counts()
    }

    /// Cancel requests that arrived for a session, whatever became of them.
    #[must_use]
    pub fn cancels(&self, id: Uuid) -> u64 {
        self.api.sessions.cancels(id)
    }

    /// Makes every token issued so far refused.
    pub fn revoke_tokens(&self) {
        self.api.tokens.revoke_all();
    }

    /// The only client secret accepted from now on; tokens already issued stay good.
    pub fn set_client_secret(&self, secret: SecretString) {
        self.api.replace_client_secret(secret);
    }

    /// Waits until the counts are as wanted.
    pub async fn wait_for_requests(&self, wanted: impl Fn(&Counts) -> bool) {
        loop {
            let changed = self.api.changed.notified();
            tokio::pin!(changed);
            // In line before looking: a change between the look and the wait is not missed.
            changed.as_mut().enable();
            if wanted(&self.counts()) {
                return;
            }
            changed.await;
        }
    }

    /// Makes requests wait at an endpoint until the hold is released or dropped.
    pub fn hold(&self, endpoint: Endpoint, moment: Moment) -> Hold {
        self.api.gates.hold(endpoint, moment)
    }

    /// Stops: no new connection, a moment for answers under way, then every connection is reset.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(mut server) = self.server.take()
            && tokio::time::timeout(GRACE, &mut server).await.is_err()
        {
            self.connections.cancel();
            // It ends without a result to look at: every connection is gone.
            let _ = server.await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
        self.connections.cancel();
    }
}

fn api(options: Options) -> Api {
    Api {
        client_id: options.client_id,
        client_secret: options.client_secret.into(),
        seed: options.seed,
        expire_after: options.expire_after,
        faults: Arc::new(options.faults).into(),
        set_at: Instant::now().into(),
        sessions: state::Sessions::default(),
        tokens: tokens::Tokens::default(),
        log: log::Log::default(),
        gates: gate::Gates::default(),
        changed: tokio::sync::Notify::new(),
        started: Instant::now(),
        sessionless: 0.into(),
        authorizations: 0.into(),
        holds: Vec::new().into(),
    }
}
