//! Credentials or an address that are wrong: the operator's matter, so sending stops as a whole and sessions stay whole.

use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, EndpointFaults, Fault, Faults};
use uuid::Uuid;

use crate::support::{Finished, Scene};

fn always(name: &str) -> EndpointFaults {
    EndpointFaults::always(name.parse::<Fault>().unwrap())
}

/// A sweep that is cut short, and says so in its row, in its report and on standard error.
async fn cut_short(scene: &Scene, word: &str) -> Finished {
    let swept = scene.program.run(["sweep", "--json"]).await.expect_code(1);
    let sentence = swept.stderr.lines().last().unwrap();
    assert!(sentence.starts_with("geft-sweeper: ") && sentence.contains(word), "{sentence}");
    let report = swept.json();
    assert_eq!(report["status"], "stopped");
    let row: (String, String, bool) = sqlx::query_as(
        "SELECT status, error, finished_at IS NOT NULL FROM geft_sweeper.sweeps ORDER BY started_at DESC LIMIT 1",
    )
    .fetch_one(scene.database.pool())
    .await
    .unwrap();
    assert_eq!((row.0.as_str(), row.2), ("stopped", true));
    assert!(row.1.contains(word), "{}", row.1);
    swept
}

#[tokio::test]
async fn credentials_refused_by_authorize_end_the_sweep_and_leave_no_row() {
    for code in ["none", "400", "401", "403"] {
        let scene = Scene::new(Faults { authorize: always(code), ..Faults::default() }).await;
        if code == "none" {
            scene.sandbox.set_client_secret("another".into());
        }
        scene.abandoned_many(10).await;
        cut_short(&scene, "client_secret").await;
        assert_eq!(scene.outcomes().await, [], "no request was begun");
        assert_eq!(scene.states().await, [("pending".to_owned(), 10)]);
        let touched: i64 = sqlx::query_scalar("SELECT count(*) FROM geft_sweeper.cancellations WHERE attempts <> 0")
            .fetch_one(scene.database.pool())
            .await
            .unwrap();
        assert_eq!(touched, 0);
        let counts = scene.sandbox.counts();
        assert_eq!(counts.arrived(Endpoint::Cancel), 0, "{code}");
        // The next in line may have been off before the first knew.
        assert!(counts.arrived(Endpoint::Authorize) <= 2, "{code}: {counts:?}");
        scene.close().await;
    }
}

#[tokio::test]
async fn sessions_are_canceled_once_the_credentials_are_right_again() {
    let scene = Scene::new(Faults::default()).await;
    scene.sandbox.set_client_secret("another".into());
    scene.abandoned_many(10).await;
    cut_short(&scene, "client_secret").await;
    scene.sandbox.set_client_secret("secret".into());
    assert_eq!(scene.sweep().await.json()["canceled"], 10);
    assert_eq!(scene.outcomes().await, [("canceled".to_owned(), 10)]);
    scene.close().await;
}

#[tokio::test]
async fn fresh_tokens_refused_on_three_sessions_running_stop_sending() {
    for code in ["401", "403"] {
        for token_use in ["auto", "shared", "single"] {
            let faults = Faults { cancel: always(code), ..Faults::default() };
            let scene = Scene::new(faults).await.with("api.token_use", token_use).with("api.max_in_flight", 2);
            scene.abandoned_many(30).await;
            cut_short(&scene, "client_secret").await;
            let rows: i64 = scene.outcomes().await.iter().map(|(_, number)| number).sum();
            assert!((3..=5).contains(&rows), "{code} {token_use}: {rows}");
            assert_eq!(scene.states().await, [("pending".to_owned(), 30)], "{code} {token_use}");
            scene.close().await;
        }
    }
}

#[tokio::test]
async fn while_tokens_are_on_trial_sending_stops_after_the_third_refusal_however_many_wait() {
    let scene = Scene::new(Faults { cancel: always("401"), ..Faults::default() }).await;
    scene.abandoned_many(100).await;
    cut_short(&scene, "client_secret").await;
    let [(outcome, rows)] = &scene.outcomes().await[..] else { panic!("another outcome") };
    assert!(outcome == "unauthorized" && (3..=4).contains(rows), "{outcome}: {rows}");
    assert_eq!(scene.states().await, [("pending".to_owned(), 100)]);
    scene.close().await;
}

#[tokio::test]
async fn one_session_that_is_forbidden_among_good_ones_is_its_own_matter() {
    let scene = Scene::new(Faults::default()).await;
    scene.abandoned_many(10).await;
    let faults = geft_sweeper::sandbox::SessionFaults { cancel: Some(always("403")), status: None };
    let forbidden = scene.abandoned_with(faults).await;
    scene.abandoned_many(10).await;
    let report = scene.sweep().await.json();
    assert_eq!((&report["status"], &report["canceled"]), (&"finished".into(), &20.into()));
    let row = scene.only_row(forbidden).await;
    assert_eq!(row.brief(), ("rejected", Some(403), Some("Initiated"), Some("EFT0101")));
    scene.close().await;
}

#[tokio::test]
async fn one_session_refused_again_and_again_among_good_ones_is_spaced_out_and_keeps_its_budget() {
    let scene = Scene::new(Faults::default()).await;
    scene.abandoned_many(5).await;
    let faults = geft_sweeper::sandbox::SessionFaults { cancel: Some(always("401")), status: None };
    let refused = scene.abandoned_with(faults).await;
    scene.abandoned_many(5).await;
    let report = scene.sweep().await.json();
    assert_eq!(
        (&report["status"], &report["canceled"], &report["retried"]),
        (&"finished".into(), &10.into(), &3.into())
    );
    let rows: Vec<_> = scene.rows(refused).await.into_iter().map(|row| (row.outcome, row.pause)).collect();
    assert_eq!(&rows[..2], [("unauthorized".to_owned(), Some(0.0)), ("unauthorized".to_owned(), Some(0.0))]);
    assert!(rows.len() == 3 && rows[2].1 >= Some(600.0), "{rows:?}");
    assert_eq!(scene.standing(refused).await.counted, 0);
    scene.close().await;
}

#[tokio::test]
async fn an_address_that_knows_no_session_stops_sending_after_about_twenty() {
    for fault in ["404", "404_html"] {
        let faults = Faults { cancel: always(fault), status: always(fault), ..Faults::default() };
        let scene = Scene::new(faults).await.with("api.max_in_flight", 4);
        scene.abandoned_many(60).await;
        cut_short(&scene, "api.base_url").await;
        let sent = scene.sandbox.counts().arrived(Endpoint::Cancel);
        assert!((20..=24).contains(&sent), "{fault}: {sent}");
        let rows: i64 = scene.outcomes().await.iter().map(|(_, number)| number).sum();
        assert_eq!(u64::try_from(rows).unwrap(), sent, "each request has its row");
        scene.close().await;
    }
}

#[tokio::test]
async fn a_base_url_with_a_wrong_path_sends_nothing_and_fails_nothing() {
    let scene = Scene::new(Faults::default()).await;
    let wrong = format!("{}/v9", scene.sandbox.base_url());
    let scene = scene.with("api.base_url", wrong);
    for _ in 0..5 {
        scene.merchant.add_as(Uuid::new_v4(), "abandoned", Duration::from_mins(5)).await;
    }
    cut_short(&scene, "api.base_url").await;
    assert_eq!((scene.outcomes().await, scene.states().await), (vec![], vec![("pending".to_owned(), 5)]));
    scene.close().await;
}
