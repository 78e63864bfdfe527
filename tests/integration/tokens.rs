//! Tokens: shared, renewed, single-use, revoked, refused, and not to be had.

mod recovery;
mod refused;
mod unavailable;

use geft_sweeper::sandbox::{Answered, Endpoint, EndpointFaults, ExpiresIn, Faults, Moment, TokenUse};

use crate::support::Scene;

fn authorizations(scene: &Scene) -> u64 {
    scene.sandbox.counts().arrived(Endpoint::Authorize)
}

fn refusals(scene: &Scene) -> u64 {
    scene.sandbox.counts().answered(Endpoint::Cancel, Answered::Code(401))
}

/// Every session is canceled at the provider and in the ledger.
async fn all_are_canceled(scene: &Scene, number: i64) {
    assert_eq!(scene.states().await, [("canceled".to_owned(), number)]);
    assert_eq!(scene.sandbox.counts().overlapping_cancels, 0);
}

#[tokio::test]
async fn one_token_serves_a_whole_sweep_however_its_life_is_written() {
    for expires_in in [ExpiresIn::Number, ExpiresIn::Text, ExpiresIn::Absent] {
        for token_use in ["auto", "shared"] {
            let scene = Scene::new(Faults { expires_in, ..Faults::default() }).await.with("api.token_use", token_use);
            scene.abandoned_many(40).await;
            scene.sweep().await;
            all_are_canceled(&scene, 40).await;
            assert_eq!((authorizations(&scene), refusals(&scene)), (1, 0), "{expires_in:?} {token_use}");
            scene.close().await;
        }
    }
}

#[tokio::test]
async fn a_short_lived_token_is_renewed_before_its_end() {
    let faults = Faults {
        token_seconds: 4,
        cancel: EndpointFaults { latency_ms: 150, ..EndpointFaults::default() },
        ..Faults::default()
    };
    let scene = Scene::new(faults).await.with("api.max_in_flight", 1);
    scene.abandoned_many(30).await;
    scene.sweep().await;
    all_are_canceled(&scene, 30).await;
    assert_eq!(refusals(&scene), 0, "a token was used beyond its end");
    assert!((2..=3).contains(&authorizations(&scene)), "{}", authorizations(&scene));
    scene.close().await;
}

#[tokio::test]
async fn single_use_tokens_are_found_out_at_the_price_of_a_few_refusals_and_said_once() {
    let scene = Scene::new(Faults { token_use: TokenUse::Single, ..Faults::default() }).await;
    scene.abandoned_many(30).await;
    let swept = scene.sweep().await;
    all_are_canceled(&scene, 30).await;
    assert_eq!(scene.outcomes().await, [("canceled".to_owned(), 30), ("unauthorized".to_owned(), 2)]);
    assert_eq!(refusals(&scene), 2);
    assert_eq!(swept.stderr.matches("token.single_use").count(), 1, "{}", swept.stderr);
    // The 30 that served, and not one for a refusal: the token of the two refused ones had served before.
    assert_eq!(authorizations(&scene), 30);
    scene.close().await;
}

#[tokio::test]
async fn tokens_set_to_single_use_are_never_used_twice() {
    for provider in [TokenUse::Single, TokenUse::Shared] {
        let faults = Faults { token_use: provider, ..Faults::default() };
        let scene = Scene::new(faults).await.with("api.token_use", "single");
        scene.abandoned_many(20).await;
        let swept = scene.sweep().await;
        all_are_canceled(&scene, 20).await;
        assert_eq!((authorizations(&scene), refusals(&scene)), (20, 0));
        let mut numbers: Vec<_> = scene
            .sandbox
            .requests()
            .iter()
            .filter(|request| request.endpoint == Endpoint::Cancel)
            .map(|request| request.token_number.unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
        assert!(!swept.stderr.contains("token.single_use"), "what is set is not found out");
        scene.close().await;
    }
}

#[tokio::test]
async fn tokens_set_to_shared_are_tried_again_whatever_the_provider_makes_of_it() {
    let faults = Faults { token_use: TokenUse::Single, ..Faults::default() };
    let scene = Scene::new(faults).await.with("api.token_use", "shared").with("api.max_in_flight", 1);
    scene.abandoned_many(3).await;
    let swept = scene.sweep().await;
    all_are_canceled(&scene, 3).await;
    assert_eq!((refusals(&scene), authorizations(&scene)), (2, 3), "each token is tried again after it served");
    assert!(!swept.stderr.contains("token.single_use"), "{}", swept.stderr);
    scene.close().await;
}

#[tokio::test]
async fn a_token_revoked_in_the_middle_costs_one_uncounted_attempt() {
    let scene = Scene::new(Faults::default()).await.with("api.token_use", "shared").with("api.max_in_flight", 1);
    let ids = scene.abandoned_many(6).await;
    let hold = scene.sandbox.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let sweep = scene.program.start(["sweep", "--json"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == 1).await;
    scene.sandbox.revoke_tokens();
    hold.release();
    let report = sweep.finished().await.expect_code(0).json();
    assert_eq!((&report["canceled"], &report["retried"]), (&6.into(), &1.into()));
    all_are_canceled(&scene, 6).await;
    assert_eq!((authorizations(&scene), refusals(&scene)), (2, 1));
    for id in ids {
        assert_eq!(scene.standing(id).await.counted, 0);
    }
    scene.close().await;
}

#[tokio::test]
async fn a_token_refused_long_before_its_stated_end_is_replaced() {
    let faults =
        Faults { token_dies_after_seconds: Some(0.0), authorize: EndpointFaults::default(), ..Faults::default() };
    let scene = Scene::new(faults).await.with("api.token_use", "shared").with("api.max_in_flight", 1);
    scene.abandoned_many(3).await;
    let hold = scene.sandbox.hold(Endpoint::Cancel, Moment::BeforeEffect);
    let sweep = scene.program.start(["sweep", "--json"]);
    scene.sandbox.wait_for_requests(|counts| counts.held(Endpoint::Cancel) == 1).await;
    // The first token was dead when it was issued; from now on they live.
    scene.sandbox.set_faults(Faults::default()).unwrap();
    hold.release();
    let report = sweep.finished().await.expect_code(0).json();
    assert_eq!((&report["canceled"], &report["retried"]), (&3.into(), &1.into()));
    assert_eq!((authorizations(&scene), refusals(&scene)), (2, 1));
    scene.close().await;
}

#[tokio::test]
async fn a_status_endpoint_that_wants_a_token_gets_one_and_only_then() {
    let scene = Scene::new(Faults { status_needs_token: true, ..Faults::default() }).await;
    let id = scene.abandoned_in("Expired", None).await;
    scene.sweep().await;
    assert_eq!(scene.only_row(id).await.brief(), ("already_terminal", Some(400), Some("Expired"), Some("EFT0601")));
    let asked: Vec<_> = scene
        .sandbox
        .requests()
        .into_iter()
        .filter(|request| request.endpoint == Endpoint::Status)
        .map(|request| (request.answered, request.token_number.is_some()))
        .collect();
    assert_eq!(asked, [(Answered::Code(401), false), (Answered::Code(200), true)]);
    scene.close().await;
}
