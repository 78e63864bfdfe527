//! Traces: spans at a collector, the same trace at the provider, in the audit row and in the log; and none where none are
//! wanted.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod sent;
#[cfg(feature = "otlp")]
mod undisturbed;

use geft_sweeper::sandbox::Endpoint;

use crate::support::Shop;

#[tokio::test]
async fn without_a_collector_nothing_is_traced() {
    let shop = Shop::new().await;
    shop.abandon(3).await;
    let said = shop.program().with("log.level", "debug").run(["sweep"]).await.expect_code(0);
    assert!(!said.stderr.contains("trace.id"), "{}", said.stderr);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.cancel_attempts WHERE trace_id IS NULL").await, 3);
    let requests = shop.provider.requests();
    assert_eq!(requests.iter().filter(|request| request.endpoint == Endpoint::Cancel).count(), 3);
    assert!(requests.iter().all(|request| request.traceparent.is_none()), "{requests:?}");
}

#[cfg(not(feature = "otlp"))]
#[tokio::test]
async fn a_build_without_traces_refuses_a_collector() {
    let program = Shop::new().await.program().with("telemetry.otlp_endpoint", "http://127.0.0.1:4318");
    for command in ["run", "sweep", "status"] {
        let said = program.run([command]).await.expect_code(2).stderr;
        assert!(said.starts_with("geft-sweeper: telemetry.otlp_endpoint cannot be used by this build"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[tokio::test]
async fn the_audit_table_takes_no_trace_id_that_is_none() {
    let shop = Shop::new().await;
    for (id, taken) in
        [("0af7651916cd43dd8448eb211c80319c", true), ("0AF7651916CD43DD8448EB211C80319C", false), ("", false)]
    {
        let insert = "INSERT INTO geft_sweeper.cancel_attempts
            (session_id, attempt, reason, sweep_id, instance, started_at, finished_at, outcome, trace_id)
            VALUES (gen_random_uuid(), 1, '', gen_random_uuid(), '', now(), now(), 'canceled', $1)";
        let inserted = sqlx::query(insert).bind(id).execute(shop.pool()).await;
        assert_eq!(inserted.is_ok(), taken, "{id}: {inserted:?}");
    }
}
