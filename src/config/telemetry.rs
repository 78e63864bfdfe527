//! `[telemetry]`: where spans are sent.
//!
//! Opens nothing: whether somebody listens there is found out when spans are sent.

use url::Url;

use super::draft::Draft;
use super::problem::quoted;
use super::settings::Telemetry;

/// Where a collector takes spans, below its address.
const PATH: &str = "/v1/traces";

pub(super) fn read(draft: &mut Draft) -> Option<Telemetry> {
    let Some(text) = draft.text("telemetry.otlp_endpoint") else {
        return Some(Telemetry { otlp_endpoint: None });
    };
    match endpoint(&text, cfg!(feature = "otlp")) {
        Ok(url) => Some(Telemetry { otlp_endpoint: Some(url) }),
        Err(sentence) => {
            draft.refuse("telemetry.otlp_endpoint", sentence);
            None
        }
    }
}

/// Where spans go to; `sends_traces`: whether this program was built to send any.
fn endpoint(text: &str, sends_traces: bool) -> Result<Url, String> {
    if !sends_traces {
        return Err(
            "cannot be used by this build, which sends no traces: take the package or the image, or build with \
                    `cargo build --release --features otlp`; or leave it out"
                .to_owned(),
        );
    }
    let mut url = Url::parse(text.trim()).map_err(|_| {
        "is no URL: write the address of a collector that takes OTLP over HTTP, such as \"http://127.0.0.1:4318\""
            .to_owned()
    })?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        // Not shown: what stands there may be a secret.
        return Err("must hold no user, password, ? or #: what a collector wants to know goes into the variable \
                    OTEL_EXPORTER_OTLP_HEADERS"
            .to_owned());
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("is {}, but must start with http:// or https://", quoted(text)));
    }
    let base = url.path().trim_end_matches('/');
    let path = format!("{}{PATH}", base.strip_suffix(PATH).unwrap_or(base));
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        endpoint(text, true).expect_err("a wrong address")
    }

    #[test]
    fn the_path_of_traces_is_put_behind_the_address_once() {
        for (given, wanted) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            (" https://collector.example/otlp/ ", "https://collector.example/otlp/v1/traces"),
            ("https://collector.example/v1/traces", "https://collector.example/v1/traces"),
        ] {
            assert_eq!(endpoint(given, true).expect("an address").as_str(), wanted);
        }
    }

    #[test]
    fn an_address_that_cannot_be_one_is_refused_without_a_secret_in_it() {
        assert!(refusal("collector").contains("is no URL"));
        assert!(refusal("grpc://collector:4317").contains("http:// or https://"));
        for secret in ["http://me:hidden@collector:4318", "http://collector:4318/?key=hidden", "http://c/#hidden"] {
            let sentence = refusal(secret);
            assert!(sentence.contains("OTEL_EXPORTER_OTLP_HEADERS") && !sentence.contains("hidden"), "{sentence}");
        }
    }

    #[test]
    fn a_build_without_traces_refuses_the_setting_and_says_which_has_them() {
        let sentence = endpoint("http://127.0.0.1:4318", false).expect_err("no traces in this build");
        assert!(sentence.contains("package") && sentence.contains("--features otlp"), "{sentence}");
    }
}
