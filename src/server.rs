//! Health and metrics over HTTP: `/healthz`, `/readyz`, `/metrics`.
//!
//! It shows no payment data and changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::health::{Health, Part};
use crate::sweep::Sweeper;

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
#[error("server.listen \"{address}\" cannot be listened on: {source}; give a free address, or \"off\"")]
pub struct Error {
    address: SocketAddr,
    source: std::io::Error,
}

/// What the endpoints tell from.
pub struct Shown {
    /// The daemon's health.
    pub health: Arc<Health>,
    /// What sending is held back by, and when something last moved.
    pub sweeper: Sweeper,
    /// The metrics.
    pub metrics: PrometheusHandle,
    /// How long the loop may stand still before it counts as wedged.
    pub patience: Duration,
}

/// Serves until `stop`. Returns the address, which tells the port where none was chosen.
pub async fn start(address: SocketAddr, shown: Shown, stop: CancellationToken) -> Result<SocketAddr, Error> {
    let failed = |source| Error { address, source };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(shown));
    tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(event = "server.failed", error.message = %error, "health and metrics are served no more");
        }
    });
    Ok(bound)
}

/// Fails only for a wedged loop: a restart mends that, and nothing else.
async fn healthz(State(shown): State<Arc<Shown>>) -> Response {
    let still = shown.sweeper.progress().still_for().unwrap_or_default();
    let wedged = shown.sweeper.progress().is_wedged(shown.patience);
    let status = if wedged { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(json!({ "healthy": !wedged, "still_for_s": still.as_secs() }))).into_response()
}

/// Fails without configuration, database or schema. What else holds sending back is told and changes nothing.
async fn readyz(State(shown): State<Arc<Shown>>) -> Response {
    let trouble = |part| shown.health.shown_trouble(part);
    let (database, schema, source) = (trouble(Part::Database), trouble(Part::Schema), trouble(Part::Source));
    let ready = database.is_none() && schema.is_none();
    let mut held_back_by = Vec::new();
    if let Some(held) = shown.sweeper.held_back() {
        let left = held.until.saturating_duration_since(Instant::now());
        held_back_by
            .push(json!({ "reason": held.why.as_str(), "means": held.why.sentence(), "for_s": left.as_secs() }));
    }
    if let Some(trouble) = source {
        held_back_by.push(json!({ "reason": "source", "means": trouble, "for_s": null }));
    }
    let brakes = shown.sweeper.brakes().into_iter().map(|(name, means)| json!({ "name": name, "means": means }));
    let brakes: Vec<_> = brakes.collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": ready,
        // A process whose configuration is wrong does not get as far as answering.
        "configuration": "ok",
        "database": database.unwrap_or_else(|| "ok".to_owned()),
        "schema": schema.unwrap_or_else(|| "ok".to_owned()),
        "held_back_by": held_back_by,
        "circuit": shown.sweeper.circuit().as_str(),
        "brakes": brakes,
    });
    (status, Json(body)).into_response()
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.render()).into_response()
}
