//! Spans for a collector of traces: what was done, from when to when, and within what. Behind the feature `otlp`.
//!
//! Nothing waits for the collector and nothing fails because of it: what it does not take is dropped. Without the feature
//! a [`Span`] has no values, so that whatever is done with one is compiled away.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod otlp;

use std::time::SystemTime;

#[cfg(not(feature = "otlp"))]
use off::Exporter;
#[cfg(not(feature = "otlp"))]
pub use off::{Error, Span};
#[cfg(feature = "otlp")]
use otlp::Exporter;
#[cfg(feature = "otlp")]
pub use otlp::{Error, Span};

use crate::config;
use crate::session::TraceContext;

/// Where spans are opened. Without a collector none is.
pub struct Traces(Option<Exporter>);

impl Traces {
    /// Sends spans to the collector of the settings, where there is one, from now on. Needs a runtime.
    pub fn start(settings: &config::Telemetry, instance: &str) -> Result<Self, Error> {
        let endpoint = settings.otlp_endpoint.as_ref();
        Ok(Self(endpoint.map(|endpoint| Exporter::start(endpoint, instance)).transpose()?))
    }

    /// The time of this machine, for a span that is opened later; none where none will be.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a span is shown, and decides nothing")]
    pub fn now(&self) -> Option<SystemTime> {
        self.0.as_ref().map(|_| SystemTime::now())
    }

    /// Opens a span within another, or one that begins a trace. It ends when it is dropped.
    #[must_use]
    pub fn open(&self, name: &'static str, within: Option<TraceContext>, since: Option<SystemTime>) -> Option<Span> {
        self.0.as_ref().map(|exporter| exporter.open(name, within, since))
    }

    /// Sends what waits to be sent, within a few seconds. Nothing is sent after it.
    pub async fn finish(&self) {
        if let Some(exporter) = &self.0 {
            exporter.finish().await;
        }
    }
}
