//! Spans by OpenTelemetry: opened here, gathered and sent by its own thread, over our HTTP client.
//!
//! The buffer is bounded: while the collector does not keep up, spans that do not fit are dropped. What the setting does
//! not say is taken from OpenTelemetry's usual variables (`OTEL_…`).

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, trace};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use url::Url;

use super::collector::Collector;
use crate::session::TraceContext;

const SERVICE: &str = "geft-sweeper";
/// How long sending the last spans may take.
const LAST_SPANS: Duration = Duration::from_secs(3);

/// Spans cannot be sent as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TLS library refused, such as for a machine without trusted authorities.
    #[error("the way to telemetry.otlp_endpoint could not be set up: install the system's CA certificates")]
    Client(#[source] reqwest::Error),
    /// One of OpenTelemetry's own variables.
    #[error("spans cannot be sent to telemetry.otlp_endpoint: {0}; correct or unset the variable OTEL_…")]
    Exporter(#[from] ExporterBuildError),
}

/// The way from spans to the collector.
pub(super) struct Exporter {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Exporter {
    pub(super) fn start(endpoint: &Url, instance: &str) -> Result<Self, Error> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(endpoint).map_err(Error::Client)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.as_str())
            .build()?;
        let resource = Resource::builder()
            .with_service_name(SERVICE)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        let tracer = provider.tracer(SERVICE);
        Ok(Self { provider, tracer })
    }

    pub(super) fn open(&self, name: &'static str, within: Option<TraceContext>, since: Option<SystemTime>) -> Span {
        let mut builder = self.tracer.span_builder(name);
        if let Some(since) = since {
            builder = builder.with_start_time(since);
        }
        let parent = within.map_or_else(Context::new, |within| Context::new().with_remote_span_context(place(within)));
        Span(Box::new(self.tracer.build_with_context(builder, &parent)))
    }

    /// Blocks a thread of its own: the runtime's are needed for sending.
    pub(super) async fn finish(&self) {
        let provider = self.provider.clone();
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_SPANS)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!(event = "traces.cut_off", "the last spans could not all be sent to the collector in time");
        }
    }
}

impl Drop for Exporter {
    /// Whoever ends without [`Exporter::finish`] is in a hurry: left to itself, the library would wait for the collector.
    fn drop(&mut self) {
        self.provider.shutdown_with_timeout(Duration::ZERO).ok();
    }
}

fn place(context: TraceContext) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(context.sampled);
    let (trace, span) = (TraceId::from(context.trace), SpanId::from(context.span));
    SpanContext::new(trace, span, flags, false, TraceState::NONE)
}

/// Something that is done. It ends when it is dropped. Boxed, for it is large and each attempt's task holds one.
pub struct Span(Box<opentelemetry_sdk::trace::Span>);

impl Span {
    /// Where it stands.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        let context = trace::Span::span_context(&*self.0);
        TraceContext {
            trace: u128::from_be_bytes(context.trace_id().to_bytes()),
            span: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
        }
    }

    /// Notes a word about it.
    pub fn set_text(&mut self, key: &'static str, value: String) {
        trace::Span::set_attribute(&mut *self.0, KeyValue::new(key, value));
    }

    /// Notes a number about it.
    pub fn set_number(&mut self, key: &'static str, value: i64) {
        trace::Span::set_attribute(&mut *self.0, KeyValue::new(key, value));
    }

    /// Notes that it came to nothing.
    pub fn set_failed(&mut self) {
        trace::Span::set_status(&mut *self.0, Status::error(""));
    }
}
