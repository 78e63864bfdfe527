//! `[api]`: the provider's address, our credentials, and how hard it may be asked.
//!
//! Sends nothing. An address that would carry the credentials in the clear over a network is refused.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::SecretString;
use url::{Host, Url};

use super::draft::Draft;
use super::problem::quoted;
use super::secrets;
use super::settings::{Api, TokenUse};

const TOKEN_USES: &[(&str, TokenUse)] =
    &[("auto", TokenUse::Auto), ("shared", TokenUse::Shared), ("single", TokenUse::Single)];

/// Beyond this a limit is none.
const MOST_REQUESTS_PER_SECOND: f64 = 1e6;

pub(super) fn read(draft: &mut Draft) -> Option<Api> {
    let base_url = base_url(draft);
    let client_id = client_id(draft);
    let client_secret = client_secret(draft);
    let ca_file = ca_file(draft);
    let timeout = draft.duration("api.timeout");
    let connect_timeout = draft.duration("api.connect_timeout");
    check_timeouts(draft, timeout, connect_timeout);
    let max_in_flight = draft.integer("api.max_in_flight", &(1..=10_000));
    let max_requests_per_second = max_requests_per_second(draft);
    let max_retry_after = draft.duration("api.max_retry_after");
    let token_use = draft.choice("api.token_use", TOKEN_USES);
    let headers = secrets::headers(draft);
    Some(Api {
        base_url: base_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        ca_file,
        timeout: timeout?,
        connect_timeout: connect_timeout?,
        max_in_flight: max_in_flight?,
        max_requests_per_second,
        max_retry_after: max_retry_after?,
        token_use: token_use?,
        headers: headers?,
    })
}

fn base_url(draft: &mut Draft) -> Option<Url> {
    let text = draft.required_text("api.base_url", r#"base_url = "https://…""#)?;
    match parse_base_url(&text) {
        Ok(url) => Some(url),
        Err(complaint) => {
            // What stands before an @ or behind a ? may be a secret that was put in the wrong place.
            let shown =
                if text.contains(['@', '?', '#']) { String::new() } else { format!("is {}, which ", quoted(&text)) };
            draft.refuse("api.base_url", format!("{shown}{complaint}"));
            None
        }
    }
}

fn parse_base_url(text: &str) -> Result<Url, &'static str> {
    let mut url = Url::parse(text.trim()).map_err(|_| "is no URL: write the whole address, such as \"https://…\"")?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => {}
        "http" if is_loopback => {}
        "http" => {
            return Err("would send the credentials in the clear: write https (http is for a loopback address alone)");
        }
        _ => return Err("must start with https:// (or with http:// on a loopback address)"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password: they belong in api.client_id and api.client_secret");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with the path: take out what follows the ? or #");
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// HTTP Basic ends the id at its first colon.
fn client_id(draft: &mut Draft) -> Option<String> {
    let id = draft.required_text("api.client_id", r#"client_id = "…""#)?;
    if id.contains(|character: char| character == ':' || character.is_control()) {
        // Not shown: what stands behind a colon may be the secret.
        draft.refuse("api.client_id", "must hold no colon and no line break: write the id alone, without the secret");
        return None;
    }
    Some(id)
}

pub(super) fn client_secret(draft: &mut Draft) -> Option<SecretString> {
    let given = secrets::required(draft, "api.client_secret", r#"client_secret = "…""#)?;
    if given.text.contains(char::is_control) {
        draft.refuse(&given.setting, "holds a line break or another control character: give the secret alone");
        return None;
    }
    Some(SecretString::from(given.text))
}

fn ca_file(draft: &mut Draft) -> Option<PathBuf> {
    let path = draft.text("api.ca_file")?;
    if let Err(complaint) = check_certificates(&path) {
        draft.refuse("api.ca_file", format!("names {}, which {complaint}", quoted(&path)));
        return None;
    }
    Some(PathBuf::from(path))
}

fn check_certificates(path: &str) -> Result<(), String> {
    let pem = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| "is not readable as PEM: it must hold certificates as text, BEGIN CERTIFICATE and so on")?;
    if certificates.is_empty() {
        return Err("holds no certificate: it must hold at least one in PEM, BEGIN CERTIFICATE and so on".to_owned());
    }
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates.into_iter().enumerate() {
        store
            .add(certificate)
            .map_err(|error| format!("holds a certificate that cannot be used (number {}): {error}", index + 1))?;
    }
    Ok(())
}

fn check_timeouts(draft: &mut Draft, timeout: Option<Duration>, connect_timeout: Option<Duration>) {
    if let (Some(timeout), Some(connect_timeout)) = (timeout, connect_timeout)
        && connect_timeout > timeout
    {
        let sentence = format!(
            "is {}, which is longer than api.timeout, which it is a part of: write at most \"{}\"",
            humantime::format_duration(connect_timeout),
            humantime::format_duration(timeout)
        );
        draft.refuse("api.connect_timeout", sentence);
    }
}

fn max_requests_per_second(draft: &mut Draft) -> Option<f64> {
    let limit: f64 = draft.value("api.max_requests_per_second")?;
    if limit > 0.0 && limit <= MOST_REQUESTS_PER_SECOND {
        return Some(limit);
    }
    let sentence = format!(
        "is {limit}, but must be more than 0 and at most {MOST_REQUESTS_PER_SECOND}; leave it out for no limit"
    );
    draft.refuse("api.max_requests_per_second", sentence);
    None
}
