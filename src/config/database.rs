//! `[database]`: the merchant's Postgres, and whether the way to it is safe.
//!
//! Nothing connects here, and no part of the URL is shown: a slip in it can make a piece of the password look like anything else.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::draft::Draft;
use super::keys;
use super::secrets;
use super::settings::Database;

const EXAMPLE: &str = r#"url = "postgres://user:password@host/database?sslmode=verify-full""#;

/// `PostgreSQL` counts the limit in milliseconds that fit into 32 bits.
const LONGEST_STATEMENT: Duration = Duration::from_hours(24 * 24);

/// The parameters of a URL that the driver knows; it passes over all others, and a mistyped `sslmode` must not be passed over.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

pub(super) fn read(draft: &mut Draft) -> Option<Database> {
    let url = url(draft);
    let max_connections = draft.integer("database.max_connections", &(2..=10_000));
    let auto_migrate = draft.value("database.auto_migrate");
    let statement_timeout = draft.duration("database.statement_timeout");
    if statement_timeout.is_some_and(|limit| limit > LONGEST_STATEMENT) {
        draft.refuse("database.statement_timeout", "is longer than PostgreSQL can count: write at most \"24days\"");
    }
    Some(Database {
        url: url?,
        max_connections: max_connections?,
        auto_migrate: auto_migrate?,
        statement_timeout: statement_timeout?,
    })
}

pub(super) fn url(draft: &mut Draft) -> Option<SecretString> {
    let given = secrets::required(draft, "database.url", EXAMPLE)?;
    if let Err(complaint) = check(&given.text) {
        draft.refuse(&given.setting, complaint);
        return None;
    }
    Some(SecretString::from(given.text))
}

fn check(text: &str) -> Result<(), String> {
    let Ok(url) = Url::parse(text) else {
        return Err(format!("is no URL: write it as `{EXAMPLE}`, with special characters percent-encoded"));
    };
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err("must start with postgres:// or postgresql://".to_owned());
    }
    check_parameters(&url)?;
    // Its error is not told: it may show what stands in the URL.
    let Ok(options) = PgConnectOptions::from_str(text) else {
        return Err(
            "has a parameter with an impossible value (a port, an address, or bytes that are no UTF-8)".to_owned()
        );
    };
    // What the driver will use in the end: a URL without a host leaves the choice to PGHOST.
    let is_local = options.get_socket().is_some() || is_local(options.get_host());
    if !is_local && ssl_modes(&url).next().is_none() {
        return Err("names a host that is not local, so it must say how the connection is protected: \
                    add `?sslmode=verify-full`, or another sslmode"
            .to_owned());
    }
    Ok(())
}

fn check_parameters(url: &Url) -> Result<(), String> {
    for (name, _) in url.query_pairs() {
        let is_known = PARAMETERS.contains(&&*name) || (name.starts_with("options[") && name.ends_with(']'));
        if !is_known {
            let nearest = keys::closest(&name, PARAMETERS.iter().copied(), |known| known).unwrap_or_default();
            return Err(format!("has a parameter that is not known; the nearest known one is `{nearest}`"));
        }
    }
    if ssl_modes(url).any(|mode| PgSslMode::from_str(&mode).is_err()) {
        return Err("has an sslmode that is none of disable, allow, prefer, require, verify-ca, verify-full".to_owned());
    }
    Ok(())
}

fn ssl_modes(url: &Url) -> impl Iterator<Item = String> {
    url.query_pairs().filter(|(name, _)| matches!(&**name, "sslmode" | "ssl-mode")).map(|(_, value)| value.into_owned())
}

/// A path is the directory of a Unix socket.
fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.starts_with('/')
        || host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
