//! What stands in for traces in a build without them: types without values, and nothing to run.

use std::time::SystemTime;

use url::Url;

use crate::session::TraceContext;

/// A collector is set, and this build sends no traces. Reading the configuration refuses that.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint is set, but this build sends no traces: build with the feature otlp, or leave it out")]
pub struct Error;

/// There is none.
pub(super) enum Exporter {}

/// There is none.
pub enum Span {}

impl Exporter {
    pub(super) fn start(_: &Url, _: &str) -> Result<Self, Error> {
        Err(Error)
    }

    pub(super) fn open(&self, _: &'static str, _: Option<TraceContext>, _: Option<SystemTime>) -> Span {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the other one waits")]
    pub(super) async fn finish(&self) {
        match *self {}
    }
}

impl Span {
    /// Where it stands.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        match *self {}
    }

    /// Notes a word about it.
    pub fn set_text(&mut self, _: &'static str, _: String) {
        match *self {}
    }

    /// Notes a number about it.
    pub fn set_number(&mut self, _: &'static str, _: i64) {
        match *self {}
    }

    /// Notes that it came to nothing.
    pub fn set_failed(&mut self) {
        match *self {}
    }
}
