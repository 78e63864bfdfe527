//! The daemon in trouble: it tries once per cool-down, such attempts do not count, and it goes on by itself. And
//! whatever a provider echoes, no secret is kept.

use geft_sweeper::sandbox::{Answered, Endpoint, EndpointFaults, Fault, Faults};
use nix::sys::signal::Signal;

use crate::support::Scene;

fn refusing(code: &str) -> Faults {
    Faults { cancel: EndpointFaults::always(code.parse::<Fault>().unwrap()), ..Faults::default() }
}

/// A daemon whose fresh tokens are refused, until it has stopped sending. Gives how many cancels it had sent by then.
async fn daemon_in_trouble(scene: &Scene) -> (crate::support::Running, u64) {
    let daemon = scene.program.start(["run"]);
    daemon.logged("sending.held_back").await;
    scene.sandbox.wait_for_requests(|counts| counts.in_flight == 0).await;
    (daemon, scene.sandbox.counts().arrived(Endpoint::Cancel))
}

async fn stop(daemon: crate::support::Running) -> String {
    daemon.signal(Signal::SIGTERM);
    daemon.finished().await.expect_code(0).stderr
}

#[tokio::test]
async fn an_attempt_made_to_find_out_is_one_and_does_not_count() {
    let scene = Scene::new(refusing("401")).await.with("schedule.sweep", "* * * * * *").with("retry.max_attempts", 1);
    scene.abandoned_many(12).await;
    let (daemon, before) = daemon_in_trouble(&scene).await;
    assert!((3..=4).contains(&before), "{before}");
    scene.sandbox.set_faults(refusing("500")).unwrap();
    scene.sandbox.wait_for_requests(|counts| counts.answered(Endpoint::Cancel, Answered::Code(500)) == 1).await;
    stop(daemon).await;
    assert_eq!(scene.sandbox.counts().arrived(Endpoint::Cancel), before + 1, "more than one was sent to find out");
    let counted: i64 = sqlx::query_scalar("SELECT sum(counted_attempts) FROM geft_sweeper.cancellations")
        .fetch_one(scene.database.pool())
        .await
        .unwrap();
    assert_eq!(counted, 0);
    // With a budget of one, an attempt that counts would have failed it.
    assert_eq!(scene.states().await, [("pending".to_owned(), 12)]);
    assert!(scene.outcomes().await.contains(&("server_error".to_owned(), 1)));
    scene.close().await;
}

#[tokio::test]
async fn a_daemon_goes_on_by_itself_once_its_tokens_are_accepted() {
    let scene = Scene::new(refusing("401")).await.with("schedule.sweep", "* * * * * *");
    scene.abandoned_many(12).await;
    let (daemon, _) = daemon_in_trouble(&scene).await;
    scene.sandbox.set_faults(Faults::default()).unwrap();
    scene.sandbox.wait_for_requests(|counts| counts.answered(Endpoint::Cancel, Answered::Code(200)) == 12).await;
    let log = stop(daemon).await;
    assert_eq!((log.matches("sending.held_back").count(), log.matches("sending.resumed").count()), (1, 1), "{log}");
    assert_eq!(scene.states().await, [("canceled".to_owned(), 12)]);
    scene.close().await;
}

#[tokio::test]
async fn whatever_the_provider_echoes_no_secret_reaches_a_row_or_the_log() {
    let scene = Scene::new(Faults { echo_token: true, ..refusing("422") }).await;
    let scene = scene.with("log.level", "debug").with("api.headers", toml::toml! { x-api-key = "hidden-header-value" });
    let ids = scene.abandoned_many(3).await;
    let swept = scene.sweep().await;
    for id in ids {
        let error = scene.only_row(id).await.error.unwrap();
        assert!(error.contains("refused: Bearer [redacted]"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let everything: String = sqlx::query_scalar("SELECT string_agg(a::text, ' ') FROM geft_sweeper.cancel_attempts a")
        .fetch_one(scene.database.pool())
        .await
        .unwrap();
    let basic = "Y2xpZW50OnNlY3JldA==";
    for secret in ["sandbox-1", basic, "hidden-header-value"] {
        assert!(!everything.contains(secret) && !swept.stderr.contains(secret), "{secret}");
        assert!(!swept.stdout.contains(secret), "{secret}");
    }
    scene.close().await;
}
