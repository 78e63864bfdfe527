//! What somebody released past the limit, and on whose word.

use serde_json::json;

use super::{abandon, assert_stopped, brakes, let_pass, program, take_on};
use crate::commands::Shop;
use crate::support::events;

async fn allow(shop: &Shop, number: &str, time: &str) -> String {
    shop.program().run(["allow", number, "--for", time, "--actor", "jane"]).await.expect_code(0).stdout
}

/// Of each allowance, in their order: how many it released, and how many of them were taken on.
async fn used(shop: &Shop) -> String {
    let sql = "SELECT string_agg(concat(used, '/', sessions), ' ' ORDER BY id) FROM geft_sweeper.allowances";
    shop.value(sql).await
}

/// What was taken on: against the limit (0), and by each allowance.
async fn taken(shop: &Shop) -> String {
    let sql = "SELECT string_agg(concat(allowance, ': ', sessions), ' ' ORDER BY allowance NULLS FIRST)
                 FROM (SELECT coalesce(allowance, 0) AS allowance, sum(sessions) AS sessions
                         FROM geft_sweeper.intakes GROUP BY 1) AS by_allowance";
    shop.value(sql).await
}

#[tokio::test]
async fn it_is_recorded_who_released_how_many_until_when() {
    let shop = Shop::new().await;
    let said = shop.program().run(["allow", "12", "--actor", " jane@example.com "]).await.expect_code(0);
    assert_eq!((said.stdout.lines().count(), said.stderr.as_str()), (1, ""));
    assert!(said.stdout.starts_with("12 sessions may be taken on past the limit until "), "{}", said.stdout);
    assert!(said.stdout.ends_with("; recorded as released by jane@example.com\n"), "{}", said.stdout);
    let until: String = shop
        .value("SELECT to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') FROM geft_sweeper.allowances")
        .await;
    assert!(said.stdout.contains(&until), "{until}: {}", said.stdout);
    let row = "SELECT concat_ws(' ', sessions, used, actor, round(extract(epoch FROM expires_at - granted_at)))
                 FROM geft_sweeper.allowances";
    assert_eq!(shop.value::<String>(row).await, "12 0 jane@example.com 3600");
    shop.expect_no_request();
    shop.database.close().await;
}

#[tokio::test]
async fn while_it_acts_the_number_is_counted_once_and_anew_when_more_is_released() {
    let shop = Shop::new().await;
    let sweep = async || program(&shop, 10).run(["sweep", "--json"]).await;
    abandon(&shop, 1_500).await;
    assert_stopped(&sweep().await, &["1500 sessions would", "allow 1490 "]);
    abandon(&shop, 100).await;
    assert_stopped(&sweep().await, &["1500 sessions would", "allow 1490 "]);
    allow(&shop, "5", "1h").await;
    assert_stopped(&sweep().await, &["1600 sessions would", "with 5 released beyond it", "allow 1585 "]);
    shop.database.close().await;
}

#[tokio::test]
async fn only_what_exceeds_the_limit_uses_it_and_several_add_up() {
    let shop = Shop::new().await;
    abandon(&shop, 8).await;
    assert_stopped(&program(&shop, 5).run(["sweep", "--json"]).await, &["allow 3 "]);
    allow(&shop, "2", "1h").await;
    let swept = program(&shop, 5).run(["sweep", "--json"]).await;
    assert_stopped(&swept, &["is 5, with 2 released beyond it", "allow 1 "]);
    assert_eq!(used(&shop).await, "0/2", "too few release nothing");

    allow(&shop, "4", "2h").await;
    let swept = program(&shop, 5).run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!((&swept.json()["discovered"], &swept.json()["canceled"]), (&json!(8), &json!(8)));
    let allowed = events(&swept.stderr, "brake.allowed");
    assert_eq!(
        (allowed.len(), &allowed[0]["brake.sessions"], &allowed[0]["sweep.id"]),
        (1, &json!(3), &swept.json()["id"])
    );
    assert_eq!((used(&shop).await.as_str(), taken(&shop).await.as_str()), ("2/2 1/4", "0: 5 1: 2 2: 1"));
    assert_eq!(brakes(&shop).await, json!([]));

    // Within the same ten minutes only what comes on top is an excess.
    abandon(&shop, 3).await;
    assert_eq!(take_on(program(&shop, 5)).await, 3);
    assert_eq!(used(&shop).await, "2/2 4/4");
    abandon(&shop, 1).await;
    assert_stopped(
        &program(&shop, 5).run(["sweep", "--json"]).await,
        &["after 5 in", "brakes.max_discovered is 5:", "allow 1 "],
    );
    let_pass(&shop, 11).await;
    assert_eq!(take_on(program(&shop, 5)).await, 1);
    assert_eq!(taken(&shop).await, "0: 6 1: 2 2: 4");
    shop.database.close().await;
}

#[tokio::test]
async fn the_one_that_expires_first_is_used_first() {
    let shop = Shop::new().await;
    for time in ["3h", "1h", "2h"] {
        allow(&shop, "2", time).await;
    }
    abandon(&shop, 8).await;
    assert_eq!(take_on(program(&shop, 5)).await, 8);
    assert_eq!(used(&shop).await, "0/2 2/2 1/2");
    shop.database.close().await;
}

#[tokio::test]
async fn one_that_has_expired_releases_nothing() {
    let shop = Shop::new().await;
    allow(&shop, "10", "1h").await;
    shop.execute("UPDATE geft_sweeper.allowances SET expires_at = now()").await;
    abandon(&shop, 6).await;
    assert_stopped(&program(&shop, 5).run(["sweep", "--json"]).await, &["brakes.max_discovered is 5:", "allow 1 "]);
    assert_eq!(used(&shop).await, "0/10");
    shop.database.close().await;
}

#[tokio::test]
async fn it_releases_past_the_usual_too_and_what_it_released_is_no_measure() {
    let shop = Shop::new().await;
    shop.execute("INSERT INTO geft_sweeper.intakes (taken_at, sweep_id, sessions) VALUES (now() - interval '1 day', gen_random_uuid(), 7)")
        .await;
    allow(&shop, "500", "1h").await;
    abandon(&shop, 1_500).await;
    assert_eq!(take_on(shop.program()).await, 1_500);
    assert_eq!(taken(&shop).await, "0: 1007 1: 500");
    let_pass(&shop, 11).await;
    shop.execute("UPDATE geft_sweeper.intakes SET sessions = 8 WHERE allowance IS NULL").await;
    abandon(&shop, 1_001).await;
    assert_stopped(&shop.program().run(["sweep", "--json"]).await, &["the last 7 days had"]);
    shop.database.close().await;
}

#[tokio::test]
async fn what_stays_within_the_limit_uses_nothing() {
    let shop = Shop::new().await;
    allow(&shop, "10", "1h").await;
    abandon(&shop, 5).await;
    assert_eq!(take_on(program(&shop, 5)).await, 5);
    assert_eq!((used(&shop).await.as_str(), taken(&shop).await.as_str()), ("0/10", "0: 5"));
    shop.database.close().await;
}

#[tokio::test]
async fn without_the_schema_nothing_can_be_released() {
    let shop = Shop::without_schema().await;
    let said = shop.program().run(["allow", "5", "--actor", "jane"]).await.expect_code(1);
    assert!(said.stderr.contains("the schema geft_sweeper is missing"), "{}", said.stderr);
    shop.database.close().await;
}
