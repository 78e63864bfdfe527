//! The HTTP client that spans are sent with: ours, in the place of one that OpenTelemetry would bring along.
//!
//! It says once that the collector does not take spans, and once that it does again.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::{redirect, retry};
use tokio::runtime::Handle;
use url::Url;

/// The time limit of one request, body included, and of connecting alone.
const LIMITS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(2));
/// An answer is a few bytes; more than this is not read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The way to the collector.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    http: reqwest::Client,
    /// Spans are sent by a thread that is none of the runtime's, and the client needs one that is.
    runtime: Handle,
    failing: Arc<AtomicBool>,
}

impl Collector {
    pub(super) fn new(endpoint: &Url) -> Result<Self, reqwest::Error> {
        // Without one, building a client panics. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .timeout(LIMITS.0)
            .connect_timeout(LIMITS.1);
        // As to the provider: a proxy is for https alone, and http needs no authorities.
        let plain = endpoint.scheme() == "http";
        let builder = if plain { builder.no_proxy().tls_certs_only([]) } else { builder.https_only(true) };
        Ok(Self { http: builder.build()?, runtime: Handle::current(), failing: Arc::default() })
    }

    async fn send(self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = match exchange(&self.http, request).await {
            Ok(answer) if answer.status().is_success() => {
                self.note_taken();
                answer
            }
            Ok(answer) => {
                self.note_failing(&format!("it answered {}", answer.status().as_u16()));
                answer
            }
            Err(error) => {
                self.note_failing(&cause(&error));
                return Err(error.into());
            }
        };
        Ok(answer)
    }

    fn note_taken(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(event = "traces.sent_again", "the collector takes spans again");
        }
    }

    /// Said once, not at every try.
    fn note_failing(&self, error: &str) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                event = "traces.not_sent",
                error.message = error,
                "the collector of telemetry.otlp_endpoint does not take spans; until it does they are dropped"
            );
        }
    }
}

impl HttpClient for Collector {
    fn send_bytes<'client, 'sent>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'client: 'sent,
    {
        let sent = self.runtime.spawn(self.clone().send(request));
        // It breaks off with the runtime.
        Box::pin(async move { sent.await? })
    }
}

async fn exchange(http: &reqwest::Client, mut request: Request<Bytes>) -> Result<Response<Bytes>, reqwest::Error> {
    // One of them may be the key to the collector.
    request.headers_mut().values_mut().for_each(|value| value.set_sensitive(true));
    let mut answer = http.execute(request.try_into()?).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if bytes.len() + chunk.len() > LONGEST_ANSWER {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    let mut response = Response::new(bytes.into());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Ok(response)
}

/// What is behind an error, without the address: a proxy's may hold a password.
fn cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    cause.map_or_else(|| "the request failed".to_owned(), ToString::to_string)
}
