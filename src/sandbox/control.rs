//! The controls of the sandbox over HTTP: JSON, without authentication, on a loopback address alone.
//!
//! | request | does |
//! |---|---|
//! | `POST /sandbox/sessions` | puts in a list of sessions ([`NewSession`]); answers the list of their ids |
//! | `GET /sandbox/sessions/{id}` | a session as it is |
//! | `POST /sandbox/sessions/{id}` | changes what is given: `{"status": "Completed", "statusDetails": "EFT0302"}` |
//! | `GET`, `PUT /sandbox/faults` | the whole fault setting ([`Faults`]); PUT replaces it |
//! | `GET /sandbox/counts` | requests by endpoint and answer ([`super::Counts`]) |
//! | `GET /sandbox/requests?after=N&limit=M` | the log ([`super::Request`]), at most 10,000 at once |
//! | `DELETE /sandbox/requests` | empties the log and sets the counts to nought |
//! | `POST /sandbox/tokens/revoke` | every token issued so far is refused |
//! | `PUT /sandbox/client-secret` | `{"client_secret": "…"}`: the only one accepted from now on |
//! | `PUT /sandbox/hold` | `{"endpoint": "cancel", "moment": "before_effect"}`: requests wait there |
//! | `DELETE /sandbox/hold` | releases all that wait by such a hold |
//!
//! These requests are neither counted nor logged, and meet no fault.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use secrecy::SecretString;
use serde::Deserialize;
use uuid::Uuid;

use super::exchange::Api;
use super::faults::{Faults, InvalidFaults};
use super::gate::Moment;
use super::log::{Counts, Endpoint, Page};
use super::state::{NewSession, Session};

/// Room for a million sessions in one call.
const LARGEST_BODY: usize = 512 * 1024 * 1024;
const LARGEST_PAGE: usize = 10_000;

type Refused = (StatusCode, String);

/// The controls.
pub(super) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/sandbox/sessions", post(seed))
        .route("/sandbox/sessions/{id}", get(session).post(change))
        .route("/sandbox/faults", get(faults).put(set_faults))
        .route("/sandbox/counts", get(counts))
        .route("/sandbox/requests", get(requests).delete(forget))
        .route("/sandbox/tokens/revoke", post(revoke))
        .route("/sandbox/client-secret", put(set_client_secret))
        .route("/sandbox/hold", put(hold).delete(release))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
fn refused(error: InvalidFaults) -> Refused {
    (StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
}

fn unknown() -> Refused {
    (StatusCode::NOT_FOUND, "there is no session with this id".to_owned())
}

impl Api {
    pub(super) fn replace_faults(&self, faults: Faults) -> Result<(), InvalidFaults> {
        faults.check()?;
        *self.set_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        *self.faults.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(faults);
        Ok(())
    }

    /// Puts in all or none.
    pub(super) fn seed_sessions(&self, sessions: Vec<NewSession>) -> Result<Vec<Uuid>, InvalidFaults> {
        sessions.iter().filter_map(|new| new.faults.as_ref()).try_for_each(super::faults::SessionFaults::check)?;
        Ok(sessions.into_iter().map(|new| self.sessions.insert(new, self.expire_after).session_id).collect())
    }

    pub(super) fn all_counts(&self) -> Counts {
        let mut counts = self.log.counts();
        for (endpoint, waiting) in self.gates.waiting() {
            *counts.held.entry(endpoint).or_default() += waiting;
        }
        counts
    }

    pub(super) fn replace_client_secret(&self, secret: SecretString) {
        *self.client_secret.lock().unwrap_or_else(PoisonError::into_inner) = secret;
    }
}

async fn seed(State(api): State<Arc<Api>>, Json(sessions): Json<Vec<NewSession>>) -> Result<Json<Vec<Uuid>>, Refused> {
    api.seed_sessions(sessions).map(Json).map_err(refused)
}

async fn session(State(api): State<Arc<Api>>, Path(id): Path<Uuid>) -> Result<Json<Session>, Refused> {
    api.sessions.get(id).map(Json).ok_or_else(unknown)
}

async fn change(
    State(api): State<Arc<Api>>,
    Path(id): Path<Uuid>,
    Json(new): Json<NewSession>,
) -> Result<Json<Session>, Refused> {
    new.faults.iter().try_for_each(super::faults::SessionFaults::check).map_err(refused)?;
    api.sessions.update(id, new).map(Json).ok_or_else(unknown)
}

async fn faults(State(api): State<Arc<Api>>) -> Json<Faults> {
    Json(Faults::clone(&api.faults()))
}

async fn set_faults(State(api): State<Arc<Api>>, Json(faults): Json<Faults>) -> Result<StatusCode, Refused> {
    api.replace_faults(faults).map(|()| StatusCode::NO_CONTENT).map_err(refused)
}

async fn counts(State(api): State<Arc<Api>>) -> Json<Counts> {
    Json(api.all_counts())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn requests(State(api): State<Arc<Api>>, Query(paging): Query<Paging>) -> Json<Page> {
    Json(api.log.page(paging.after, paging.limit.unwrap_or(LARGEST_PAGE).min(LARGEST_PAGE)))
}

async fn forget(State(api): State<Arc<Api>>) -> StatusCode {
    api.log.reset();
    StatusCode::NO_CONTENT
}

async fn revoke(State(api): State<Arc<Api>>) -> StatusCode {
    api.tokens.revoke_all();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientSecret {
    client_secret: String,
}

async fn set_client_secret(State(api): State<Arc<Api>>, Json(new): Json<ClientSecret>) -> StatusCode {
    api.replace_client_secret(new.client_secret.into());
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedHold {
    endpoint: Endpoint,
    #[serde(default)]
    moment: Moment,
}

async fn hold(State(api): State<Arc<Api>>, Json(wanted): Json<WantedHold>) -> StatusCode {
    let hold = api.gates.hold(wanted.endpoint, wanted.moment);
    api.holds.lock().unwrap_or_else(PoisonError::into_inner).push(hold);
    StatusCode::NO_CONTENT
}

async fn release(State(api): State<Arc<Api>>) -> StatusCode {
    api.holds.lock().unwrap_or_else(PoisonError::into_inner).clear();
    StatusCode::NO_CONTENT
}
