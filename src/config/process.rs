//! `[log]` and `[server]`: what the process shows of itself.
//!
//! Opens nothing: whether the address is free is found out when it is bound.

use std::net::SocketAddr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::draft::Draft;
use super::problem::quoted;
use super::settings::{Log, LogFormat, Server};

const FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("json", LogFormat::Json), ("pretty", LogFormat::Pretty)];

pub(super) fn log(draft: &mut Draft) -> Option<Log> {
    let level = draft.text("log.level");
    if let Some(level) = level.as_deref().filter(|level| !is_filter(level)) {
        let sentence = format!(
            "is {}, but must be error, warn, info, debug, trace or off, or a filter such as \"info,sqlx=warn\"",
            quoted(level)
        );
        draft.refuse("log.level", sentence);
    }
    let format = draft.choice("log.format", FORMATS);
    Some(Log { level: level?, format: format? })
}

/// A bare word that is no level would be taken for a module's name and silence all others, so it is refused.
fn is_filter(text: &str) -> bool {
    let is_directive = |part: &str| {
        part.contains(['=', '[']) || part.trim().parse::<LevelFilter>().is_ok_and(|_| !part.trim().is_empty())
    };
    // With values as regular expressions, a short one could take hours to read.
    text.split(',').all(is_directive) && EnvFilter::builder().with_regex(false).parse(text).is_ok()
}

pub(super) fn server(draft: &mut Draft) -> Option<Server> {
    let text = draft.text("server.listen")?;
    if text == "off" {
        return Some(Server { listen: None });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Server { listen: Some(address) });
    }
    let sentence = format!(
        "is {}, but must be an IP address with a port, such as \"127.0.0.1:9464\" or \"[::]:9464\", or \"off\"",
        quoted(&text)
    );
    draft.refuse("server.listen", sentence);
    None
}
