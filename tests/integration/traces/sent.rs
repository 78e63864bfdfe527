//! What is sent, and that the provider, the audit table and the log name the same trace.

use std::collections::{BTreeMap, BTreeSet};

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Faults, Kind, Moment, NewSession};
use nix::sys::signal::Signal;
use uuid::Uuid;

use super::collector::{Collector, Span};
use crate::at_once::psql;
use crate::support::{Program, Shop, events, eventually};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Sends its spans at its end alone.
fn traced(shop: &Shop, collector: &Collector) -> Program {
    shop.program()
        .with("telemetry.otlp_endpoint", collector.address())
        .with("retry.initial_interval", "50ms")
        .with("log.level", "debug")
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "3600000")
}

/// The `traceparent` of every request to this endpoint.
fn told(shop: &Shop, endpoint: Endpoint) -> BTreeSet<String> {
    let requests = shop.provider.requests().into_iter().filter(|request| request.endpoint == endpoint);
    requests.map(|request| request.traceparent.expect("the provider is told the trace")).collect()
}

fn traceparents(spans: &[Span]) -> BTreeSet<String> {
    spans.iter().map(Span::traceparent).collect()
}

#[track_caller]
fn assert_within(spans: &[Span], outer: &[Span]) {
    for span in spans {
        let around =
            outer.iter().find(|around| around.id == span.within).unwrap_or_else(|| panic!("{span:?} stands alone"));
        assert_eq!(span.trace, around.trace);
        assert!(around.from_to.0 <= span.from_to.0 && span.from_to.1 <= around.from_to.1, "{span:?} in {around:?}");
    }
}

/// One `sweep` over three sessions: one is canceled, one only at the second attempt, one had ended.
async fn swept() -> (Shop, Collector, String) {
    let (shop, collector) = (Shop::new().await, Collector::start(200).await);
    shop.abandon(1).await;
    let fails_once = geft_sweeper::sandbox::SessionFaults {
        cancel: Some(EndpointFaults::first([Kind::Code(500)])),
        ..Default::default()
    };
    shop.abandon_as(NewSession { faults: Some(fails_once), ..NewSession::default() }).await;
    shop.abandon_as(NewSession { status: Some("Completed".to_owned()), ..NewSession::default() }).await;
    let said = traced(&shop, &collector).run(["sweep", "--wait", "30s"]).await.expect_code(0);
    (shop, collector, said.stderr)
}

#[tokio::test]
async fn a_sweep_its_batches_and_its_attempts_stand_within_each_other() {
    let (shop, collector, _) = swept().await;
    let (sweeps, batches, attempts) = (collector.named("sweep"), collector.named("batch"), collector.named("attempt"));
    assert_eq!((sweeps.len(), attempts.len()), (1, 4));
    assert_eq!(collector.spans().len(), 1 + batches.len() + 4);
    assert_eq!(sweeps[0].within, "", "it begins the trace");
    assert_within(&batches, &sweeps);
    assert_within(&attempts, &batches);
    let sessions: usize = batches.iter().map(|batch| batch.says("batch.sessions").parse::<usize>().unwrap()).sum();
    assert_eq!(sessions, 4);
    let sweep: Uuid = shop.value("SELECT id FROM geft_sweeper.sweeps").await;
    assert!(collector.spans().iter().all(|span| span.says("sweep.id") == sweep.to_string()));
    assert_eq!((sweeps[0].says("sweep.trigger"), sweeps[0].says("sweep.status")), ("command", "finished"));
    assert!(collector.text().contains("service.instance.id"));
}

#[tokio::test]
async fn the_provider_the_audit_row_and_the_log_name_the_span_of_the_attempt() {
    let (shop, collector, stderr) = swept().await;
    let attempts = collector.named("attempt");
    assert_eq!(told(&shop, Endpoint::Cancel), traceparents(&attempts));
    let ended: Vec<_> =
        attempts.iter().filter(|span| span.says("attempt.outcome") == "already_terminal").cloned().collect();
    assert_eq!(told(&shop, Endpoint::Status), traceparents(&ended), "status is asked within the same attempt");
    let spans: BTreeSet<_> = attempts
        .iter()
        .map(|span| {
            let names = [
                "session.id",
                "attempt.number",
                "attempt.outcome",
                "http.status",
                "sweep.id",
                "claim.id",
                "request.id",
            ];
            let said = names.map(|name| span.says(name).to_owned()).join(" ");
            assert_eq!(span.failed, span.says("attempt.outcome") == "server_error", "{span:?}");
            format!("{said} {}", span.trace)
        })
        .collect();
    let rows = "SELECT concat_ws(' ', session_id, attempt, outcome, http_status, sweep_id, claim, request_id, trace_id)
                  FROM geft_sweeper.cancel_attempts";
    let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(shop.pool()).await.unwrap();
    assert_eq!(spans, rows.into_iter().collect());
    let trace = attempts[0].trace.as_str();
    let finished = events(&stderr, "attempt.finished");
    assert_eq!(finished.len(), 4);
    let of_attempts = |line: &serde_json::Value| line["request.endpoint"] != "authorize";
    let requests = events(&stderr, "api.request").into_iter().filter(of_attempts);
    let paid = events(&stderr, "session.paid_after_abandonment");
    assert_eq!(paid.len(), 1);
    for line in finished.into_iter().chain(requests).chain(paid) {
        assert_eq!(line["trace.id"], trace, "{line}");
    }
}

#[tokio::test]
async fn the_daemon_sends_its_last_spans_before_it_ends() {
    let (shop, collector) = (Shop::new().await, Collector::start(200).await);
    let running = traced(&shop, &collector).with("schedule.sweep", "* * * * * *").start(["run"]);
    let sessions = shop.abandon(5).await;
    eventually(LIMIT, async || shop.number("canceled").await == 5).await;
    running.signal(Signal::SIGTERM);
    running.finished().await.expect_code(0);
    let sent: BTreeSet<_> = collector.named("attempt").iter().map(|span| span.says("session.id").to_owned()).collect();
    assert_eq!(sent, sessions.iter().map(Uuid::to_string).collect());
    assert_within(&collector.named("attempt"), &collector.named("batch"));
    assert!(collector.named("sweep").iter().all(|span| span.says("sweep.trigger") == "schedule"));
}

#[tokio::test]
async fn what_a_notification_finds_while_another_is_at_work_is_a_batch_of_the_same_sweep() {
    let (shop, collector) = (Shop::new().await, Collector::start(200).await);
    psql(shop.url(), "notify.sql", &[]).await;
    let program = traced(&shop, &collector).with("schedule.sweep", "0 0 0 1 1 *").with("api.timeout", "15s");
    let running = program.start(["run"]);
    running.logged("\"notify.listening\"").await;
    running.logged("\"source\"").await;
    let hold = shop.provider.hold(Endpoint::Cancel, Moment::BeforeEffect);
    for waiting in 1..=2 {
        shop.abandon(1).await;
        sqlx::raw_sql("UPDATE payment_sessions SET status = 'abandoned'").execute(shop.pool()).await.unwrap();
        shop.held(Endpoint::Cancel, waiting).await;
    }
    hold.release();
    eventually(LIMIT, async || shop.number("canceled").await == 2).await;
    running.signal(Signal::SIGTERM);
    running.finished().await.expect_code(0);
    let (sweeps, batches, attempts) = (collector.named("sweep"), collector.named("batch"), collector.named("attempt"));
    assert_eq!((batches.len(), attempts.len()), (2, 2));
    assert_within(&batches, &sweeps);
    assert_within(&attempts, &batches);
    assert_eq!(batches[0].within, batches[1].within);
    assert!(sweeps.iter().all(|span| span.says("sweep.trigger") == "notify"));
}

#[tokio::test]
async fn a_question_before_an_attempt_is_a_span_of_its_own() {
    let (shop, collector) = (Shop::new().await, Collector::start(200).await);
    let busy = shop.abandon_as(NewSession { status: Some("InProgress".to_owned()), ..NewSession::default() }).await;
    traced(&shop, &collector).with("source.in_progress", "wait").run(["sweep"]).await.expect_code(0);
    let questions = collector.named("question");
    assert_eq!(questions.len(), 1);
    assert_eq!((questions[0].says("session.id"), questions[0].says("question.answer")), (&*busy.to_string(), "open"));
    assert_within(&questions, &collector.named("batch"));
    assert_eq!(told(&shop, Endpoint::Status), traceparents(&questions));
}

#[tokio::test]
async fn no_secret_is_in_a_span_and_the_collectors_own_is_in_no_output() {
    let (shop, collector) = (Shop::new().await, Collector::start(200).await);
    shop.provider.set_client_secret("client-Pa55phrase".into());
    let cancel = EndpointFaults::first([Kind::Code(422), Kind::Code(500)]);
    let status = EndpointFaults::first([Kind::Code(400)]);
    shop.provider.set_faults(Faults { cancel, status, echo_token: true, ..Faults::default() }).unwrap();
    shop.abandon(3).await;
    let headers = toml::Table::from_iter([("x-api-key".to_owned(), "header-Pa55phrase".into())]);
    let said = traced(&shop, &collector)
        .with("api.client_secret", "client-Pa55phrase")
        .with("api.headers", headers)
        .with("log.level", "trace,hyper=trace,hyper_util=trace,reqwest=trace")
        .with_variable("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=collector-Pa55phrase")
        .run(["sweep", "--wait", "30s"])
        .await
        .expect_code(0);
    assert_eq!(collector.header("x-collector-key").as_deref(), Some("collector-Pa55phrase"));
    assert_eq!(collector.named("attempt").len(), 9, "each session at its third attempt");
    for (place, text) in [("spans", collector.text()), ("the log", said.stderr)] {
        for secret in ["Pa55phrase", "sandbox-1-", "Bearer sandbox"] {
            assert!(!text.contains(secret), "{secret} in {place}");
        }
    }
}

#[tokio::test]
async fn every_span_and_attribute_is_in_the_readme() {
    let (_shop, collector, _) = swept().await;
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let rows: BTreeMap<&str, &str> = readme
        .split("\n### Traces\n")
        .nth(1)
        .unwrap()
        .lines()
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .collect();
    for span in collector.spans() {
        let row = rows.get(span.name.as_str()).unwrap_or_else(|| panic!("no span {} in the README", span.name));
        for name in span.attributes.keys() {
            assert!(row.contains(&format!("`{name}`")), "{}: no {name} in the README", span.name);
        }
    }
}
