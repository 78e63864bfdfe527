//! One attempt: a token, one cancel request, and status where the answer left a doubt.
//!
//! Never sends a second cancel request, and never calls canceled what the provider did not confirm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::classify::{self, Reading};
use super::connection::Error;
use super::credentials::Credentials;
use super::exchange::{Answer, Body, Endpoint, Exchange, Failure};
use super::redaction::Redaction;
use super::token::{Token, Tokens, Turn};
use super::wire::Grant;
use super::{NotBegun, StatusAnswer, measures};
use crate::clocks::Clocks;
use crate::config::{self, ApiSecrets};
use crate::outcome::{Attempt, Outcome, Said};
use crate::pace::Pace;
use crate::session::{Names, SessionId};

/// Kept free at the end of an attempt, beside the time limits of its requests.
const SPARE: Duration = Duration::from_secs(1);

/// The provider, as seen from here. Share it in an `Arc`: connections and tokens are common to all attempts.
pub struct Client {
    pub(super) exchange: Exchange,
    pub(super) tokens: Tokens,
    pub(super) redaction: Redaction,
    pub(super) credentials: Credentials,
    timeout: Duration,
    stop: CancellationToken,
}

impl Client {
    /// Sets up the HTTP client. Nothing is sent yet. After `stop` no cancel is begun any more.
    pub fn new(api: &config::Api, pace: Pace, clocks: Clocks, stop: CancellationToken) -> Result<Self, Error> {
        measures::register();
        Ok(Self {
            exchange: Exchange::new(api, pace, clocks)?,
            tokens: Tokens::new(api.token_use),
            redaction: Redaction::new(api),
            credentials: Credentials::new(api),
            timeout: api.timeout,
            stop,
        })
    }

    /// Makes one attempt, over before `deadline`.
    ///
    /// `ask_before_failing`: the session's budget ends with this attempt, so status is asked after every outcome that
    /// counts. `may_send` is asked after each wait: what was let through may have to stay
    /// here after all.
    pub async fn cancel(
        &self,
        names: Names,
        deadline: Instant,
        ask_before_failing: bool,
        may_send: impl Fn() -> bool,
    ) -> Result<Attempt, NotBegun> {
        let latest = self.latest_start(deadline).ok_or(NotBegun::TooLate)?;
        let turn = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(NotBegun::HeldBack),
            turn = self.ready(latest, &may_send) => turn?,
        };
        let endpoint = Endpoint::Cancel(names);
        // Hyper leaves the length of an empty body out; some servers refuse a POST without one.
        let request = self.exchange.post(endpoint).header(CONTENT_LENGTH, 0);
        let request = request.header(AUTHORIZATION, turn.token.authorization());
        let started = Instant::now();
        if started > latest {
            return Err(NotBegun::TooLate);
        }
        let request_id = request_id();
        let answer = self.exchange.send(request_id, endpoint, request, deadline).await;
        let reading = classify::cancel(names.session_id, answer);
        let fresh_token = self.tokens.answered(&turn.token, reading.code);
        drop(turn);
        let status = if reading.ask || (ask_before_failing && reading.outcome.counts()) {
            // What became of the request has to be asked, whatever has happened meanwhile.
            let status = self.status(names, deadline, || true).await;
            Some(status.unwrap_or_else(|why| self.no_token(&why)))
        } else {
            None
        };
        Ok(self.attempt(reading, status, fresh_token, request_id, started))
    }

    /// Waits for a token and for the moment to send a cancel with it.
    async fn ready(&self, latest: Instant, may_send: impl Fn() -> bool) -> Result<Turn, NotBegun> {
        let turn = self.tokens.for_cancel(latest, async || self.grant(latest, &may_send).await).await?;
        self.turn(latest, &may_send).await?;
        Ok(turn)
    }

    /// Whether cancels go out one after the other, because it is not known yet how tokens are used.
    #[must_use]
    pub fn sends_one_at_a_time(&self) -> bool {
        self.tokens.is_undecided()
    }

    /// Asks the status endpoint alone, done before `deadline`.
    ///
    /// `may_send` is asked after each wait. Fails only with `HeldBack`: then it was not asked to the end.
    pub async fn status(
        &self,
        names: Names,
        deadline: Instant,
        may_send: impl Fn() -> bool,
    ) -> Result<StatusAnswer, NotBegun> {
        let mut answer = self.ask_status(names, None, deadline, &may_send).await?;
        if matches!(&answer, Ok(answer) if answer.code == 401) {
            match self.tokens.for_status(deadline, async || self.grant(deadline, &may_send).await).await {
                Ok(token) => answer = self.ask_status(names, Some(&token), deadline, &may_send).await?,
                Err(NotBegun::HeldBack) => return Err(NotBegun::HeldBack),
                Err(why) => return Ok(self.no_token(&why)),
            }
        }
        Ok(self.told(names.session_id, answer))
    }

    /// What the answer to a status request says, fit to be stored and shown.
    pub(super) fn told(&self, session: SessionId, answer: Result<Answer, Failure>) -> StatusAnswer {
        match classify::status(session, answer) {
            StatusAnswer::Final(said) => StatusAnswer::Final(self.redaction.said(said)),
            StatusAnswer::Open(said) => StatusAnswer::Open(self.redaction.said(said)),
            StatusAnswer::NotFound => StatusAnswer::NotFound,
            StatusAnswer::NoAnswer { error, retry_after } => {
                StatusAnswer::NoAnswer { error: self.redaction.error(&error), retry_after }
            }
        }
    }

    /// Gets a token, to prove the credentials or to hear what time it is there.
    pub async fn authorize(&self) -> Result<(), NotBegun> {
        // Time for the request, and as much again for its turn.
        let until = Instant::now() + self.timeout * 2;
        self.grant(until, || true).await.map(|_| ()).map_err(|why| match why {
            NotBegun::TooLate => {
                let error = "authorize had no turn to send in time".to_owned();
                NotBegun::AuthorizeUnavailable { error, retry_after: None }
            }
            other => other,
        })
    }

    /// The last moment at which a cancel can be begun so that it and a status request end before the deadline.
    fn latest_start(&self, deadline: Instant) -> Option<Instant> {
        deadline.checked_sub(self.timeout.saturating_mul(2).saturating_add(SPARE))
    }

    /// Waits for a request's turn, then looks whether it may be sent at all by now.
    async fn turn(&self, until: Instant, may_send: impl Fn() -> bool) -> Result<(), NotBegun> {
        if !may_send() {
            return Err(NotBegun::HeldBack);
        }
        match self.exchange.turn(until).await {
            true if may_send() => Ok(()),
            true => Err(NotBegun::HeldBack),
            false => Err(NotBegun::TooLate),
        }
    }

    async fn ask_status(
        &self,
        names: Names,
        token: Option<&Arc<Token>>,
        deadline: Instant,
        may_send: impl Fn() -> bool,
    ) -> Result<Result<Answer, Failure>, NotBegun> {
        match self.turn(deadline, may_send).await {
            Err(NotBegun::TooLate) => return Ok(Err(Failure::NoTurn)),
            turn => turn?,
        }
        let endpoint = Endpoint::Status(names);
        let mut request = self.exchange.get(endpoint);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token.authorization());
        }
        let answer = self.exchange.send(request_id(), endpoint, request, deadline).await;
        if let (Some(token), Ok(Answer { code: 401, .. })) = (token, &answer) {
            self.tokens.discard(token);
        }
        Ok(answer)
    }

    fn no_token(&self, why: &NotBegun) -> StatusAnswer {
        let error = self.redaction.error(&format!("answered 401 and no token could be had: {why}"));
        let retry_after = match why {
            NotBegun::AuthorizeUnavailable { retry_after, .. } => *retry_after,
            NotBegun::TooLate | NotBegun::HeldBack | NotBegun::CredentialsRefused { .. } => None,
        };
        StatusAnswer::NoAnswer { error, retry_after }
    }

    /// Asks authorize for a token, done before `until`; once more where the secrets are others by then.
    async fn grant(&self, until: Instant, may_send: impl Fn() -> bool) -> Result<Arc<Token>, NotBegun> {
        loop {
            let secrets = self.credentials.secrets();
            let granted = self.ask_for_token(&secrets, until, &may_send).await;
            if matches!(granted, Err(NotBegun::CredentialsRefused { .. })) {
                self.read_secrets_again();
            }
            if self.credentials.is_current(&secrets) {
                return granted;
            }
        }
    }

    async fn ask_for_token(
        &self,
        secrets: &ApiSecrets,
        until: Instant,
        may_send: impl Fn() -> bool,
    ) -> Result<Arc<Token>, NotBegun> {
        self.turn(until, may_send).await?;
        let request = self
            .exchange
            .post(Endpoint::Authorize)
            .basic_auth(&self.credentials.client_id, Some(secrets.client_secret.expose_secret()))
            .form(&[("grant_type", "client_credentials")]);
        let asked = Instant::now();
        let answer = match self.exchange.send(request_id(), Endpoint::Authorize, request, until).await {
            Ok(answer) => answer,
            // Cut short by this caller's deadline: nothing is known of the provider.
            Err(Failure::Timeout(limit)) if limit < self.timeout => return Err(NotBegun::TooLate),
            Err(failure) => return Err(self.unavailable(&failure.to_string(), None)),
        };
        if matches!(answer.code, 400 | 401 | 403) {
            let error = self.redaction.error(&format!("authorize {}", answer.describe()));
            return Err(NotBegun::CredentialsRefused { error });
        }
        self.issue(&answer, asked).map_err(|text| self.unavailable(&text, answer.retry_after))
    }

    fn issue(&self, answer: &Answer, asked: Instant) -> Result<Arc<Token>, String> {
        let bytes = match &answer.body {
            Body::Broken(failure) if answer.code == 200 => return Err(failure.to_string()),
            _ if answer.code != 200 => return Err(answer.describe()),
            _ => answer.bytes().unwrap_or_default(),
        };
        let flawed = |flaw| format!("answered 200 {flaw}");
        let grant = Grant::read(bytes).map_err(flawed)?;
        self.redaction.remember(&grant.access_token);
        let token = self.tokens.issue(&grant, asked).map_err(flawed)?;
        measures::token_renewed();
        Ok(Arc::new(token))
    }

    fn unavailable(&self, text: &str, retry_after: Option<Duration>) -> NotBegun {
        NotBegun::AuthorizeUnavailable { error: self.redaction.error(&format!("authorize {text}")), retry_after }
    }

    pub(super) fn attempt(
        &self,
        reading: Reading,
        status: Option<StatusAnswer>,
        fresh_token: bool,
        request_id: Uuid,
        started: Instant,
    ) -> Attempt {
        let outcome = status.as_ref().map_or(reading.outcome, |status| classify::settle(&reading, status));
        let status_unanswered = matches!(status, Some(StatusAnswer::NoAnswer { .. }));
        let error = match outcome {
            Outcome::Canceled | Outcome::AlreadyTerminal => None,
            _ => Some(self.error(&reading.words, status.as_ref())),
        };
        let (said, asked_to_wait) = match status {
            Some(StatusAnswer::Final(said) | StatusAnswer::Open(said)) => (said, None),
            Some(StatusAnswer::NoAnswer { retry_after, .. }) => (self.redaction.said(reading.said), retry_after),
            Some(StatusAnswer::NotFound) | None => (self.redaction.said(reading.said), None),
        };
        Attempt {
            outcome,
            http_status: reading.code,
            said,
            error,
            retry_after: reading.retry_after.max(asked_to_wait),
            status_unanswered,
            fresh_token,
            request_id,
            started,
            finished: Instant::now(),
        }
    }

    /// One line that names both answers.
    fn error(&self, cancel: &str, status: Option<&StatusAnswer>) -> String {
        let cancel = self.redaction.part(cancel);
        let status = match status {
            None => return self.redaction.error(&format!("cancel {cancel}")),
            Some(StatusAnswer::Final(said) | StatusAnswer::Open(said)) => match said {
                Said { session_status: Some(status), .. } => format!("status is {status}"),
                Said { session_status: None, .. } => "status is not told".to_owned(),
            },
            Some(StatusAnswer::NotFound) => "status answered 404".to_owned(),
            Some(StatusAnswer::NoAnswer { error, .. }) => format!("status {error}"),
        };
        self.redaction.error(&format!("cancel {cancel}; {}", self.redaction.part(&status)))
    }
}

/// No secret, so it need not be drawn from the system with a call for each request.
fn request_id() -> Uuid {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid()
}

#[cfg(test)]
mod tests;
