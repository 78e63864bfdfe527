//! A collector of traces: takes OTLP over HTTP, and answers as it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as Sent;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use prost::Message as _;
use tokio::net::TcpListener;

/// An answer that never comes.
pub(super) const NEVER: u16 = 0;

/// A collector on an address of its own, until the test ends.
pub(super) struct Collector {
    address: String,
    state: Arc<Shared>,
}

struct Shared {
    answer: AtomicU16,
    received: Mutex<Vec<Received>>,
}

/// One request.
#[derive(Clone)]
struct Received {
    headers: HeaderMap,
    body: Bytes,
}

/// A span as it came.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty where it begins a trace.
    pub(super) within: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) failed: bool,
    pub(super) from_to: (u64, u64),
}

impl Collector {
    /// Takes spans, and answers with this code.
    pub(super) async fn start(code: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Shared { answer: AtomicU16::new(code), received: Mutex::default() });
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, state }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Answers with this code from now on.
    pub(super) fn answer(&self, code: u16) {
        self.state.answer.store(code, Ordering::SeqCst);
    }

    pub(super) fn requests(&self) -> usize {
        self.state.received.lock().unwrap().len()
    }

    /// Everything that came, as text: names and values stand in it as they are.
    pub(super) fn text(&self) -> String {
        let received = self.state.received.lock().unwrap();
        received.iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect()
    }

    /// A header of the first request.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let received = self.state.received.lock().unwrap();
        received.first()?.headers.get(name)?.to_str().ok().map(str::to_owned)
    }

    /// Every span so far.
    pub(super) fn spans(&self) -> Vec<Span> {
        let requests = self.state.received.lock().unwrap().clone();
        let requests = requests.into_iter().map(|one| ExportTraceServiceRequest::decode(one.body).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(Span::from).collect()
    }

    /// The spans of this name.
    pub(super) fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name == name).collect()
    }
}

async fn take(State(state): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    state.received.lock().unwrap().push(Received { headers, body });
    match state.answer.load(Ordering::SeqCst) {
        NEVER => std::future::pending().await,
        code => StatusCode::from_u16(code).unwrap(),
    }
}

impl Span {
    /// What the header `traceparent` of a request within it says.
    pub(super) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }

    /// An attribute, which must be there.
    #[track_caller]
    pub(super) fn says(&self, name: &str) -> &str {
        self.attributes.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

impl From<Sent> for Span {
    fn from(sent: Sent) -> Self {
        Self {
            name: sent.name,
            trace: hexadecimal(&sent.trace_id),
            id: hexadecimal(&sent.span_id),
            within: hexadecimal(&sent.parent_span_id),
            attributes: sent.attributes.into_iter().map(|KeyValue { key, value, .. }| (key, text(value))).collect(),
            failed: sent.status.is_some_and(|status| status.code == SpanStatus::Error as i32),
            from_to: (sent.start_time_unix_nano, sent.end_time_unix_nano),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?} is neither a word nor a number"),
    }
}
