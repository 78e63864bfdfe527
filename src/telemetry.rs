//! Logs and metrics: where they go and how they look.
//!
//! Logs go to standard error; standard output carries results alone.

mod exporter;
mod flood;

use std::fmt;
use std::io::IsTerminal as _;

use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

use crate::config::{Log, LogFormat};
pub use exporter::start_metrics;
use flood::{Floodgate, LeftOut};

/// Logs or metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter.
    #[error("log.level \"{level}\" is not a level or a filter: {source}")]
    Level {
        /// What was set.
        level: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The logs are gone.
    #[error("log.level cannot be changed any more: {0}")]
    Reload(#[from] reload::Error),
    /// A second set-up in one process.
    #[error("logs were set up before: {0}")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
    /// A second set-up in one process.
    #[error("metrics were set up before: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// The logs of this process. When dropped, what was left out of them until then is said.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    _left_out: LeftOut,
}

impl Logs {
    /// Sets another `[log] level` from here on.
    pub fn set_level(&self, level: &str) -> Result<(), Error> {
        Ok(self.filter.reload(filter(level)?)?)
    }
}

/// Sends logs from here on to `writer`, which leads to standard error.
pub fn start_logs(
    settings: &Log,
    writer: impl for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
) -> Result<Logs, Error> {
    let (filter, handle) = reload::Layer::new(filter(&settings.level)?);
    let terminal = std::io::stderr().is_terminal();
    let pretty = match settings.format {
        LogFormat::Auto => terminal,
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let floodgate = Floodgate::default();
    let left_out = floodgate.left_out();
    if pretty {
        let colours = terminal && !no_color();
        let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
        let layer = layer.fmt_fields(
            debug_fn(|line, field, value| match (field.name(), on_one_line(value)) {
                ("message", text) => write!(line, "{text}"),
                (name, text) => write!(line, "{name}={text}"),
            })
            .delimited(" "),
        );
        registry.with(layer.with_filter(floodgate)).try_init()?;
    } else {
        let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer);
        registry.with(layer.with_filter(floodgate)).try_init()?;
    }
    Ok(Logs { filter: handle, _left_out: left_out })
}

/// One event is one line, whatever the database or the provider put into its words. JSON sees to that by itself.
fn on_one_line(value: &dyn fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// A bare level speaks of this program; the libraries under it say what goes wrong and no more, unless the filter names them.
fn filter(level: &str) -> Result<EnvFilter, Error> {
    let directives = match level.to_ascii_lowercase().as_str() {
        // Certificate failures come back as errors of the request, which say more.
        bare @ ("trace" | "debug" | "info") => format!("warn,geft_sweeper={bare},rustls_platform_verifier=off"),
        _ => level.to_owned(),
    };
    // With values as regular expressions, a short one could take hours to read.
    let builder = EnvFilter::builder().with_regex(false);
    builder.parse(directives).map_err(|source| Error::Level { level: level.to_owned(), source })
}

/// Whether the user wants no colours (no-color.org: set and not empty).
#[must_use]
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_leaves_the_libraries_quiet() {
        assert!(filter("trace").unwrap().to_string().contains("geft_sweeper=trace"));
        assert!(filter("trace").unwrap().to_string().contains("warn"));
        assert_eq!(filter("hyper=debug").unwrap().to_string(), "hyper=debug");
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_its_text() {
        assert!(filter("geft_sweeper=loud").unwrap_err().to_string().contains("geft_sweeper=loud"));
    }

    #[test]
    fn a_value_in_a_filter_is_no_regular_expression_that_takes_for_ever() {
        assert!(filter(&format!("[a{{b=(a|b)*a{}}}]=info", "(a|b)".repeat(30))).is_ok());
    }
}
