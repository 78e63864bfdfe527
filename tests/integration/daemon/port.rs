//! What the port must not show: anything of a session, of the merchant's rows, or of a secret.

use geft_sweeper::sandbox::{EndpointFaults, Faults, Kind, NewSession, SessionFaults};
use nix::sys::signal::Signal;
use serde_json::Number;
use uuid::Uuid;

use super::{EVERY_SECOND, LIMIT};
use crate::support::{Endpoints, Program, Running, Scene, Shop, eventually};

const AMOUNT: &str = "4711.42";
/// A status that would end the line and forge a metric, and then a page.
const EVIL: &str = "Evil\"} 1\ngeft_sweeper_forged 1 <script>alert(1)</script>";
const SECRETS: [&str; 3] = ["client-Pa55phrase", "header-Pa55phrase", "sandbox-1-"];

/// Everything that is served, and what is not.
const PATHS: [&str; 5] = ["/healthz", "/readyz", "/metrics", "/", "/metrics/../readyz?session"];

async fn served(endpoints: &Endpoints) -> String {
    let mut all = String::new();
    for path in PATHS {
        all += &endpoints.get(path).await.1;
    }
    all
}

#[track_caller]
fn assert_without(shown: &str, needles: &[String]) {
    assert!(shown.contains("geft_sweeper_attempts_total") && shown.contains("\"ready\""), "{shown}");
    let found: Vec<_> = needles.iter().filter(|needle| shown.to_lowercase().contains(&needle.to_lowercase())).collect();
    assert!(found.is_empty(), "{found:?} in {shown}");
}

/// One session that ends well, one that was paid, and one about which the provider says evil things.
async fn sessions(scene: &Scene) -> [Uuid; 3] {
    let paid = NewSession {
        status: Some("Completed".to_owned()),
        status_details: Some("EFT0302".to_owned()),
        amount: Some(AMOUNT.parse::<Number>().unwrap()),
        ..NewSession::default()
    };
    let refused = EndpointFaults::always(Kind::Code(422));
    let evil = NewSession {
        status: Some(EVIL.to_owned()),
        status_details: Some("EFT-evil".to_owned()),
        faults: Some(SessionFaults { cancel: Some(refused), status: None }),
        ..NewSession::default()
    };
    [scene.abandoned().await, scene.abandoned_as(paid).await, scene.abandoned_as(evil).await]
}

async fn started(program: &Program) -> (Running, Endpoints) {
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    (daemon, endpoints)
}

#[tokio::test]
async fn nothing_of_any_session_and_no_secret_is_served() {
    let headers = toml::Table::from_iter([("x-api-key".to_owned(), SECRETS[1].into())]);
    let scene = Scene::new(Faults { echo_token: true, ..Faults::default() })
        .await
        .with("api.client_secret", SECRETS[0])
        .with("api.headers", headers)
        .with("schedule.sweep", EVERY_SECOND)
        .with("server.listen", "127.0.0.1:0");
    scene.sandbox.set_client_secret(SECRETS[0].into());
    let ids = sessions(&scene).await;
    let (daemon, endpoints) = started(&scene.program).await;
    let pool = scene.database.pool();
    let count = "SELECT count(*) FROM geft_sweeper.cancel_attempts";
    eventually(LIMIT, async || sqlx::query_scalar::<_, i64>(count).fetch_one(pool).await.unwrap() == 3).await;

    let mut needles: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    needles.extend(["order-", AMOUNT, "EFT0", "EFT-evil", "Evil", "forged", "script"].map(str::to_owned));
    let stored = "SELECT concat((SELECT string_agg(a::text, ' ') FROM geft_sweeper.cancel_attempts a),
                                (SELECT string_agg(c::text, ' ') FROM geft_sweeper.cancellations c))";
    let stored: String = sqlx::query_scalar(stored).fetch_one(pool).await.unwrap();
    for needle in &needles {
        assert!(stored.contains(needle), "{needle} was never dealt with: {stored}");
    }
    needles.extend(ids.iter().map(|id| id.simple().to_string()));
    needles.extend(SECRETS.map(str::to_owned));
    assert_without(&served(&endpoints).await, &needles);

    // Nor while something is wrong.
    scene.sandbox.set_client_secret("changed".into());
    scene.sandbox.revoke_tokens();
    scene.abandoned_many(3).await;
    daemon.logged("\"sending.held_back\"").await;
    let shown = served(&endpoints).await;
    assert!(shown.contains("credentials_refused"), "{shown}");
    assert_without(&shown, &needles);
    daemon.signal(Signal::SIGTERM);
    daemon.finished().await.expect_code(0);
    scene.close().await;
}

#[tokio::test]
async fn a_row_that_the_database_quotes_is_in_the_log_and_not_on_the_port() {
    let shop = Shop::new().await;
    let row = "INSERT INTO payment_sessions VALUES (gen_random_uuid(), 'order', '4111 1111 1111 1111', now())";
    sqlx::query(row).execute(shop.pool()).await.unwrap();
    let program = shop.program().without("source.table").without("source.open_statuses").without("source.max_age");
    let program = program
        .with("source.query", "SELECT session_id, reference_id, (status::int)::text AS reason FROM payment_sessions")
        .with("schedule.sweep", EVERY_SECOND)
        .with("server.listen", "127.0.0.1:0");
    let (daemon, endpoints) = started(&program).await;
    daemon.logged("\"part.ill\"").await;
    assert!(daemon.stderr().contains("4111 1111"), "{}", daemon.stderr());
    let (status, body) = endpoints.json("/readyz").await;
    assert_eq!((status, &body["held_back_by"][0]["reason"]), (200, &"source".into()), "{body}");
    assert_without(&served(&endpoints).await, &["4111".to_owned()]);
}
