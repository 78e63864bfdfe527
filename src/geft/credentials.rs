//! The secrets that requests carry: read again where the provider refuses them, or when it is asked for.
//!
//! A token that was got with an old secret is not used again, and an old secret is known to the redaction as before.

use std::sync::{Arc, Mutex, PoisonError};

use super::client::Client;
use super::connection::{self, Error};
use crate::config::{self, ApiSecrets};

/// The client's id and secrets, and where the secrets are read again; nowhere in a process that was given none.
pub(super) struct Credentials {
    pub(super) client_id: String,
    secrets: Mutex<Arc<ApiSecrets>>,
    origin: Option<config::Origin>,
}

impl Credentials {
    /// Those of the start.
    pub(super) fn new(api: &config::Api) -> Self {
        Self { client_id: api.client_id.clone(), secrets: Mutex::new(Arc::new(ApiSecrets::of(api))), origin: None }
    }

    /// The secrets in use. Locks: the secrets.
    pub(super) fn secrets(&self) -> Arc<ApiSecrets> {
        Arc::clone(&self.secrets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether these are still in use.
    pub(super) fn is_current(&self, secrets: &Arc<ApiSecrets>) -> bool {
        Arc::ptr_eq(&self.secrets(), secrets)
    }
}

impl Client {
    /// Reads the secrets again from there where the provider refuses them.
    #[must_use]
    pub fn reading_again(mut self, origin: config::Origin) -> Self {
        self.credentials.origin = Some(origin);
        self
    }

    /// Sends these secrets from here on, and uses no token again that was got with others. False where nothing differs.
    /// Locks: the secrets.
    pub fn replace_secrets(&self, new: ApiSecrets) -> Result<bool, Error> {
        let mut current = self.credentials.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_same(&new) {
            return Ok(false);
        }
        let headers = connection::headers(&new.headers)?;
        // Known before they are sent for the first time.
        self.redaction.remember_secrets(&self.credentials.client_id, &new);
        self.exchange.replace_headers(headers);
        *current = Arc::new(new);
        drop(current);
        self.tokens.forget();
        Ok(true)
    }

    /// The provider refuses the secrets: the files may hold others by now, which are then in use. One look at the files
    /// for each refusal.
    pub fn read_secrets_again(&self) {
        let Some(new) = self.credentials.origin.as_ref().and_then(config::Origin::api_secrets) else { return };
        match self.replace_secrets(new) {
            Ok(true) => {
                tracing::info!(
                    event = "secret.replaced",
                    secret.section = "api",
                    "the provider refused it, and it was read again"
                );
            }
            Ok(false) => {}
            Err(error) => tracing::error!(event = "secret.unusable", secret.section = "api", "{error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio_util::sync::CancellationToken;

    use super::super::exchange::Endpoint;
    use super::super::promises::{api, clocks};
    use super::*;
    use crate::outcome::Said;
    use crate::pace::Pace;

    fn client() -> Client {
        Client::new(&api(), Pace::unlimited(), clocks(), CancellationToken::new()).unwrap()
    }

    fn secrets(client_secret: &str, header: &str) -> ApiSecrets {
        ApiSecrets { client_secret: client_secret.into(), headers: vec![("x-api-key".into(), header.into())] }
    }

    #[test]
    fn both_the_old_and_the_new_secrets_are_taken_out_of_what_comes_back() {
        let client = client();
        assert!(client.replace_secrets(secrets("second-secret", "second-key")).unwrap());
        assert!(client.replace_secrets(secrets("third-secret", "third-key")).unwrap());
        let echo = "client-secret second-secret third-secret second-key third-key".to_owned();
        let said = client.redaction.said(Said { session_status: Some(echo), ..Said::default() });
        assert_eq!(said.session_status.unwrap(), ["[redacted]"; 5].join(" "));
    }

    #[test]
    fn every_request_carries_the_new_headers() {
        let client = client();
        client.replace_secrets(secrets("second-secret", "second-key")).unwrap();
        for request in [client.exchange.get(Endpoint::Authorize), client.exchange.post(Endpoint::Authorize)] {
            assert_eq!(request.build().unwrap().headers()["x-api-key"], "second-key");
        }
    }

    #[test]
    fn headers_that_cannot_be_sent_change_nothing() {
        let client = client();
        let before = client.credentials.secrets();
        assert!(client.replace_secrets(secrets("second-secret", "two\nlines")).is_err());
        assert!(client.credentials.is_current(&before));
        assert!(!client.replace_secrets((*before).clone()).unwrap(), "nothing differs");
    }

    #[test]
    fn the_files_are_read_again_when_the_secrets_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("client-secret");
        fs::write(&secret, "client-secret\n").unwrap();
        let variables = [("GEFT_SWEEPER__API__CLIENT_SECRET_FILE", secret.to_str().unwrap())];
        let client = client().reading_again(config::read(None, variables).origin);
        let before = client.credentials.secrets();
        client.read_secrets_again();
        assert!(client.credentials.is_current(&before), "they hold the same");
        fs::write(&secret, "").unwrap();
        client.read_secrets_again();
        assert!(client.credentials.is_current(&before), "an empty file cannot be used");
        fs::write(&secret, "second-secret").unwrap();
        client.read_secrets_again();
        assert!(
            client
                .credentials
                .secrets()
                .is_same(&ApiSecrets { client_secret: "second-secret".into(), headers: vec![] })
        );
    }
}
