//! Builds the HTTP client: whom it trusts, which proxy it goes through, what goes with every request.
//!
//! It never repeats a request, never follows a redirect and never sends a plain request to another machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use reqwest::{Certificate, ClientBuilder, redirect, retry, tls};
use secrecy::{ExposeSecret, SecretString};

use crate::config;

const USER_AGENT: &str = concat!("geft-sweeper/", env!("CARGO_PKG_VERSION"));
const ACCEPTED: &str = "application/json, application/problem+json";
/// Shorter than the minute after which common load balancers close: who closes first does not lose a request.
const IDLE: Duration = Duration::from_secs(30);

/// Set for each request by what it carries: a fixed value would break requests, or send credentials where none belong.
const OURS: [HeaderName; 5] = [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING];

/// The settings of `[api]` do not make an HTTP client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error(
        "[api] ca_file {path} could not be read: give a readable PEM file with the private authority's certificate"
    )]
    ReadAuthority {
        /// As in the setting.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds no certificate.
    #[error("[api] ca_file {path} holds no usable certificate: it must be PEM, with at least one CERTIFICATE block")]
    ParseAuthority {
        /// As in the setting.
        path: PathBuf,
        /// Why, where there is a block that cannot be read.
        source: Option<reqwest::Error>,
    },
    /// A name or value that cannot be sent; the value is not shown.
    #[error("[api] headers: {name:?} cannot be sent: names are HTTP tokens, values visible characters on one line")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The program sets this header itself.
    #[error("[api] headers: {name:?} is set by the program itself: take it out")]
    Ours {
        /// The header's name.
        name: HeaderName,
    },
    /// The TLS library refused, such as for a machine without trusted authorities.
    #[error("the HTTP client could not be set up: install the system's CA certificates, and check [api] ca_file")]
    Build(#[source] reqwest::Error),
}

/// The client for everything that is sent to the provider, without anything of ours around it.
pub fn client(api: &config::Api) -> Result<reqwest::Client, Error> {
    // Without one, building a client panics. A second call changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .default_headers(HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]))
        .redirect(redirect::Policy::none())
        // One attempt is at most one cancel request: by default reqwest repeats what HTTP/2 servers refused.
        .retry(retry::never())
        .connect_timeout(api.connect_timeout)
        .tcp_nodelay(true)
        .pool_max_idle_per_host(api.max_in_flight)
        .pool_idle_timeout(IDLE)
        // A connection that died without a word is found by pings; else each request on it would time out.
        .http2_keep_alive_interval(api.timeout)
        .http2_keep_alive_timeout(api.connect_timeout);
    trust(builder, api)?.build().map_err(Error::Build)
}

/// Plain HTTP is for the same machine alone, so no proxy may carry it away, and it needs no authorities.
fn trust(builder: ClientBuilder, api: &config::Api) -> Result<ClientBuilder, Error> {
    if api.base_url.scheme() != "https" {
        return Ok(builder.no_proxy().tls_certs_only([]));
    }
    let builder = builder.https_only(true).tls_version_min(tls::Version::TLS_1_2);
    match &api.ca_file {
        None => Ok(builder),
        // Merged: the system's authorities stay trusted beside the private one.
        Some(path) => Ok(builder.tls_certs_merge(authorities(path)?)),
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Error> {
    let pem = std::fs::read(path).map_err(|source| Error::ReadAuthority { path: path.into(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(Error::ParseAuthority { path: path.into(), source: None }),
        Ok(found) => Ok(found),
        Err(source) => Err(Error::ParseAuthority { path: path.into(), source: Some(source) }),
    }
}

/// The headers of the settings, to be sent with every request.
pub(super) fn headers(given: &[(String, SecretString)]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let refused = || Error::Header { name: name.clone() };
        let mut secret = HeaderValue::from_str(value.expose_secret()).map_err(|_| refused())?;
        secret.set_sensitive(true);
        let name = HeaderName::try_from(name.as_str()).map_err(|_| refused())?;
        if OURS.contains(&name) {
            return Err(Error::Ours { name });
        }
        headers.insert(name, secret);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::promises::api;
    use super::*;

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
        for (name, value) in [("x key", "hidden-value"), ("x-key", "hidden\nvalue")] {
            let error = headers(&[(name.into(), value.into())]).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_header_of_the_program_cannot_be_replaced() {
        let given = [("Authorization".into(), "Bearer hidden".into())];
        assert!(matches!(headers(&given), Err(Error::Ours { name }) if name == AUTHORIZATION));
    }

    #[test]
    fn header_values_are_marked_as_secret() {
        let headers = headers(&[("x-api-key".into(), "hidden-value".into())]).unwrap();
        assert!(!format!("{headers:?}").contains("hidden"));
    }

    #[test]
    fn an_authority_file_without_a_certificate_is_refused() {
        let mut api = api();
        api.base_url = "https://api.example".parse().unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        api.ca_file = Some(file.path().into());
        assert!(matches!(client(&api), Err(Error::ParseAuthority { .. })));
        writeln!(file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----").unwrap();
        assert!(client(&api).is_err());
        api.ca_file = Some("/nowhere/ca.pem".into());
        assert!(matches!(client(&api), Err(Error::ReadAuthority { .. })));
    }

    #[test]
    fn a_private_authority_is_taken() {
        let mut api = api();
        api.base_url = "https://api.example".parse().unwrap();
        let authority = rcgen::generate_simple_self_signed(vec!["api.example".into()]).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(authority.cert.pem().as_bytes()).unwrap();
        api.ca_file = Some(file.path().into());
        assert!(client(&api).is_ok());
    }
}
