//! Metrics: who gathers them, in which buckets, and under which build.
//!
//! What each means is said where it is counted. Where nobody gathers, counting costs next to nothing.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::Error;

/// For requests and statements, in seconds.
const DURATIONS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// For whole sweeps, in seconds.
const SWEEPS: [f64; 11] = [0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
/// For sizes of batches.
const BATCHES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

/// How often measurements are sorted into their buckets, so that they do not pile up where nobody asks for them.
const UPKEEP: Duration = Duration::from_secs(5);

/// Gathers metrics from here on, for `/metrics`; call it in the runtime.
pub fn start_metrics() -> Result<PrometheusHandle, Error> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&DURATIONS)?
        .set_buckets_for_metric(Matcher::Full("geft_sweeper_sweep_duration_seconds".to_owned()), &SWEEPS)?
        .set_buckets_for_metric(Matcher::Full("geft_sweeper_claim_batch_sessions".to_owned()), &BATCHES)?
        .set_buckets_for_metric(Matcher::Full("geft_sweeper_record_batch_attempts".to_owned()), &BATCHES)?
        .install_recorder()?;
    metrics::describe_gauge!("geft_sweeper_build_info", "1, with the version and the commit of the program.");
    metrics::gauge!("geft_sweeper_build_info", "version" => crate::VERSION, "commit" => crate::COMMIT).set(1.0);
    let gathered = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            gathered.run_upkeep();
        }
    });
    Ok(handle)
}
