//! One request from arrival to the end of its answer: wait, gate, fault, effect, gate, answer, log.
//!
//! It does not know what an endpoint does: that comes in as a function.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::response::Response;
use secrecy::SecretString;
use tokio::sync::Notify;
use uuid::Uuid;

use super::answers::Answer;
use super::connection::Grip;
use super::delivery;
use super::draw::{Asked, Draw, draw};
use super::fault::Kind;
use super::faults::Faults;
use super::gate::{Gates, Hold, Moment};
use super::log::{Answered, Effect, Endpoint, Log, Request};
use super::state::{Met, Sessions};
use super::tokens::{self, Tokens};

/// All that the sandbox holds.
pub(super) struct Api {
    pub(super) client_id: String,
    pub(super) client_secret: Mutex<SecretString>,
    pub(super) seed: u64,
    pub(super) expire_after: Option<Duration>,
    pub(super) faults: RwLock<Arc<Faults>>,
    /// When the faults were last set.
    pub(super) set_at: Mutex<Instant>,
    pub(super) sessions: Sessions,
    pub(super) tokens: Tokens,
    pub(super) log: Log,
    pub(super) gates: Gates,
    /// Told whenever a count changes.
    pub(super) changed: Notify,
    pub(super) started: Instant,
    /// Requests so far at the endpoints that know no session.
    pub(super) sessionless: AtomicU64,
    pub(super) authorizations: AtomicU64,
    /// Holds that were asked for over HTTP.
    pub(super) holds: Mutex<Vec<Hold>>,
}

impl Api {
    pub(super) fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long ago the faults were last set.
    pub(super) fn set_ago(&self) -> Duration {
        self.set_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request under way. It is written to the log when it is dropped, whoever drops it: by then all has been said.
pub(super) struct Exchange {
    pub(super) api: Arc<Api>,
    pub(super) faults: Arc<Faults>,
    /// The Authorization header as it came.
    pub(super) authorization: Option<String>,
    draw: Draw,
    request: Request,
}

impl Exchange {
    /// A request has arrived.
    pub(super) fn begin(api: &Arc<Api>, endpoint: Endpoint, session_id: Option<Uuid>, headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let authorization = text("authorization");
        let counter = if endpoint == Endpoint::Authorize { &api.authorizations } else { &api.sessionless };
        let met = match session_id {
            Some(id) => api.sessions.arrive(id, endpoint),
            None => Met { before: counter.fetch_add(1, Ordering::Relaxed), ..Met::default() },
        };
        let faults = api.faults();
        let draw = draw(api.seed, Asked { endpoint, session_id, before: met.before }, &faults, met.faults.as_deref());
        let request = Request {
            sequence: 0,
            arrived_ms: api.elapsed_ms(),
            finished_ms: 0,
            endpoint,
            session_id,
            // Until something is answered: whoever drops it before is a client that gave up.
            answered: Answered::Timeout,
            effect: Effect::None,
            traceparent: text("traceparent"),
            token_number: authorization.as_deref().and_then(bearer).and_then(tokens::number),
            in_flight: api.log.arrive(endpoint, met.in_flight > 1),
            same_session_in_flight: met.in_flight,
        };
        api.changed.notify_waiters();
        Self { api: Arc::clone(api), faults, authorization, draw, request }
    }

    /// The token sent with the request.
    pub(super) fn token(&self) -> Option<&str> {
        self.authorization.as_deref().and_then(bearer)
    }

    /// Notes what the request has changed.
    pub(super) fn note(&mut self, effect: Effect) {
        self.request.effect = effect;
    }

    /// Notes the token that was issued.
    pub(super) fn note_token(&mut self, number: u64) {
        self.request.token_number = Some(number);
    }

    /// Sees the request through. `effect` does the work; `idle` is the answer that looks like it without the work.
    pub(super) async fn serve(
        mut self,
        grip: Grip,
        idle: impl FnOnce(&Self) -> Answer,
        effect: impl FnOnce(&mut Self) -> Answer,
    ) -> Response {
        let Draw { latency, fault } = self.draw;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.pass(Moment::BeforeEffect).await;
        let answer = if fault.after_effect {
            let answer = effect(&mut self);
            self.pass(Moment::AfterEffect).await;
            answer
        } else {
            idle(&self)
        };
        match fault.kind {
            // The handler is dropped with the connection when the client goes away.
            Kind::Timeout => std::future::pending().await,
            Kind::Reset => {
                self.request.answered = Answered::Reset;
                grip.reset();
                delivery::nothing()
            }
            kind => {
                let answer = self.echo(delivery::disturb(kind, answer, &self.faults, self.request.session_id));
                self.request.answered = Answered::Code(answer.code.as_u16());
                delivery::send(kind, answer, self)
            }
        }
    }

    async fn pass(&self, moment: Moment) {
        self.api.gates.pass(self.request.endpoint, moment, &self.api.changed).await;
    }

    /// Repeats the Authorization header in refusals where the setting says so.
    fn echo(&self, answer: Answer) -> Answer {
        match &self.authorization {
            Some(received) if self.faults.echo_token && answer.code.as_u16() >= 400 => {
                answer.with("detail", format!("refused: {received}"))
            }
            _ => answer,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let request = Request { finished_ms: self.api.elapsed_ms(), ..self.request.clone() };
        if let Some(id) = request.session_id {
            self.api.sessions.leave(id, request.endpoint);
        }
        tracing::debug!(
            event = "sandbox.request",
            request.endpoint = request.endpoint.as_str(),
            session.id = request.session_id.map(tracing::field::display),
            request.code = %request.answered,
            request.effect = ?request.effect,
            request.duration_ms = request.finished_ms.saturating_sub(request.arrived_ms),
            "a request is over"
        );
        self.api.log.finish(request);
        self.api.changed.notify_waiters();
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    authorization.strip_prefix("Bearer ")
}
