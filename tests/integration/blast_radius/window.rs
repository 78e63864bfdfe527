//! Over ten minutes, and measured by the seven days before.

use super::{HOUR, abandon, assert_stopped, let_pass, program, take_on};
use crate::commands::Shop;

/// Takes `sessions` on, this many minutes ago, as far as anybody can see.
async fn history(shop: &Shop, minutes_ago: u32, sessions: u32) {
    shop.execute(&format!(
        "INSERT INTO geft_sweeper.intakes (taken_at, sweep_id, sessions)
         VALUES (now() - interval '{minutes_ago} minutes', gen_random_uuid(), {sessions})"
    ))
    .await;
}

/// Whether a sweep would be held back that finds what is in the shop; what it would say.
async fn held_back(shop: &Shop) -> Option<String> {
    let said = shop.program().run(["sweep", "--dry-run", "--json"]).await.expect_code(0).stderr;
    said.strip_prefix("geft-sweeper: a sweep would be held back: ").map(str::to_owned)
}

#[tokio::test]
async fn what_was_taken_on_counts_for_ten_minutes() {
    let shop = Shop::new().await;
    abandon(&shop, 4).await;
    assert_eq!(take_on(program(&shop, 5)).await, 4);
    abandon(&shop, 2).await;
    let_pass(&shop, 9).await;
    let swept = program(&shop, 5).run(["sweep", "--json"]).await;
    assert_stopped(&swept, &["2 sessions would be taken on after 4 in", "allow 1 "]);
    let_pass(&shop, 2).await;
    assert_eq!(take_on(program(&shop, 5)).await, 2);
    shop.database.close().await;
}

#[tokio::test]
async fn a_first_run_has_nothing_to_compare_with() {
    let shop = Shop::new().await;
    abandon(&shop, 5_000).await;
    // Longer ago than the seven days.
    history(&shop, 7 * 24 * 60 + 11, 3).await;
    assert_eq!(take_on(shop.program()).await, 5_000);
    shop.database.close().await;
}

#[tokio::test]
async fn ten_times_the_busiest_ten_minutes_of_seven_days_is_the_limit() {
    let shop = Shop::new().await;
    // 60 and 60 within ten minutes; 100 on its own; 90 and 90, but never within the same ten.
    for (minutes_ago, sessions) in [(2_000, 60), (1_991, 60), (900, 100), (500, 90), (489, 90)] {
        history(&shop, minutes_ago, sessions).await;
    }
    abandon(&shop, 1_200).await;
    assert_eq!(held_back(&shop).await, None);
    abandon(&shop, 1).await;
    let said = held_back(&shop).await.unwrap();
    assert!(said.contains("the limit is 1200 while the busiest ten minutes of the last 7 days had 120:"), "{said}");
    assert_stopped(&shop.program().run(["sweep", "--json"]).await, &["1201 sessions", "allow 1 "]);
    history(&shop, 100, 121).await;
    assert_eq!(take_on(shop.program()).await, 1_201);
    shop.database.close().await;
}

#[tokio::test]
async fn up_to_a_thousand_are_never_unusual() {
    let shop = Shop::new().await;
    history(&shop, 600, 1).await;
    abandon(&shop, 1_000).await;
    assert_eq!(held_back(&shop).await, None);
    abandon(&shop, 1).await;
    assert!(held_back(&shop).await.unwrap().contains("the limit is 1000 while the busiest"));
    history(&shop, 1, 1).await;
    assert!(held_back(&shop).await.unwrap().contains("1001 sessions would be taken on after 1 in"));
    shop.database.close().await;
}

#[tokio::test]
async fn where_nothing_is_older_the_last_ten_minutes_are_the_measure() {
    let shop = Shop::new().await;
    history(&shop, 5, 3).await;
    abandon(&shop, 997).await;
    assert_eq!(held_back(&shop).await, None);
    abandon(&shop, 1).await;
    assert!(held_back(&shop).await.unwrap().contains("the last 7 days had 3:"));
    history(&shop, 5, 117).await;
    assert_eq!(held_back(&shop).await, None, "120 in all: up to 1200");
    shop.database.close().await;
}

#[tokio::test]
async fn what_nobody_asks_for_any_more_is_deleted() {
    let shop = Shop::new().await;
    history(&shop, 8 * 24 * 60 - 1, 3).await;
    history(&shop, 8 * 24 * 60 + 1, 4).await;
    shop.sessions.add("abandoned", 200 * HOUR).await;
    shop.program().run(["sweep"]).await.expect_code(0);
    let left = "SELECT string_agg(sessions::text, ' ') FROM geft_sweeper.intakes";
    assert_eq!(shop.value::<String>(left).await, "3");
    shop.database.close().await;
}
