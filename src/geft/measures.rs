//! What is counted and measured of the way to the provider.
//!
//! Codes come from outside: three digits, so there are a few hundred at the most.

use std::time::Duration;

/// Every endpoint, as it is named in metrics.
const ENDPOINTS: [&str; 3] = ["authorize", "cancel", "status"];
/// What a request can come to whatever the provider says, and the code of one that went well.
const CODES: [&str; 3] = ["200", "timeout", "network_error"];

/// Registers the metrics of this room, so that they are there with zero before anything happens.
pub(super) fn register() {
    metrics::describe_counter!(
        "geft_sweeper_requests_total",
        "Requests to the provider, by endpoint and code (the HTTP code, timeout or network_error)."
    );
    metrics::describe_histogram!(
        "geft_sweeper_request_duration_seconds",
        "How long requests to the provider took, by endpoint, the body of the answer included."
    );
    metrics::describe_histogram!(
        "geft_sweeper_rate_limit_wait_seconds",
        "How long requests waited for their turn under the rate limit, in vain or not."
    );
    metrics::describe_counter!("geft_sweeper_token_renewals_total", "Tokens got from the provider.");
    for endpoint in ENDPOINTS {
        for code in CODES {
            metrics::counter!("geft_sweeper_requests_total", "endpoint" => endpoint, "code" => code).absolute(0);
        }
        let _ = metrics::histogram!("geft_sweeper_request_duration_seconds", "endpoint" => endpoint);
    }
    let _ = metrics::histogram!("geft_sweeper_rate_limit_wait_seconds");
    metrics::counter!("geft_sweeper_token_renewals_total").absolute(0);
}

/// A request is over.
pub(super) fn requested(endpoint: &'static str, code: String, took: Duration) {
    metrics::counter!("geft_sweeper_requests_total", "endpoint" => endpoint, "code" => code).increment(1);
    metrics::histogram!("geft_sweeper_request_duration_seconds", "endpoint" => endpoint).record(took);
}

/// A request had its turn, or gave up waiting for it.
pub(super) fn waited(waited: Duration) {
    metrics::histogram!("geft_sweeper_rate_limit_wait_seconds").record(waited);
}

/// A token was got.
pub(super) fn token_renewed() {
    metrics::counter!("geft_sweeper_token_renewals_total").increment(1);
}
