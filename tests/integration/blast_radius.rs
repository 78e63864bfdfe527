//! The brake on how many sessions are taken on at once: what it stops, for how long, and what it lets through.

mod allowances;
mod processes;
mod window;

use std::time::Duration;

use geft_sweeper::sandbox::NewSession;
use serde_json::{Value, json};
use toml::Table;
use uuid::Uuid;

use crate::commands::{MINUTE, SECRET, Shop};
use crate::support::{Finished, Program};

const HOUR: Duration = Duration::from_hours(1);

/// The program of this shop with this limit.
fn program(shop: &Shop, max_discovered: i64) -> Program {
    shop.program().with("brakes.max_discovered", max_discovered).with("api.token_use", "shared")
}

/// So many abandoned sessions, which both sides know.
async fn abandon(shop: &Shop, number: usize) -> Vec<Uuid> {
    let ids = shop.sandbox.seed(vec![NewSession::default(); number]).unwrap();
    shop.sessions.add_all(&ids, "abandoned", MINUTE).await;
    ids
}

/// One sweep that takes sessions on and sends nothing, because the credentials are refused: how many it took on.
async fn take_on(program: Program) -> i64 {
    let swept = program.with("api.client_secret", "wrong").run(["sweep", "--json"]).await.expect_code(1);
    assert!(swept.stderr.contains("the provider refuses the credentials"), "{}", swept.stderr);
    swept.json()["discovered"].as_i64().unwrap()
}

/// Lets so many minutes pass for what was taken on so far.
async fn let_pass(shop: &Shop, minutes: u32) {
    shop.execute(&format!("UPDATE geft_sweeper.intakes SET taken_at = taken_at - interval '{minutes} minutes'")).await;
}

/// A sweep that the brake stopped: nothing was taken on, and the sentence has all of this in it.
#[track_caller]
fn assert_stopped(swept: &Finished, says: &[&str]) {
    let report = swept.json();
    assert_eq!((swept.code(), &report["discovered"], &report["status"]), (Some(1), &json!(0), &json!("stopped")));
    let sentence = report["error"].as_str().unwrap();
    let said = swept.stderr.lines().filter(|line| line.starts_with("geft-sweeper: ")).collect::<Vec<_>>();
    assert_eq!(said, [format!("geft-sweeper: the sweep was cut short: {sentence}")]);
    for words in says.iter().chain(&["nothing new is taken on", "`geft-sweeper sweep --dry-run`", "--actor NAME`"]) {
        assert!(sentence.contains(words), "{words}: {sentence}");
    }
}

async fn brakes(shop: &Shop) -> Value {
    shop.program().run(["status", "--json"]).await.expect_code(0).json()["brakes"].clone()
}

#[tokio::test]
async fn exactly_the_limit_is_taken_on_and_recorded() {
    let shop = Shop::new().await;
    abandon(&shop, 5).await;
    let report = program(&shop, 5).run(["sweep", "--json"]).await.expect_code(0).json();
    assert_eq!((&report["discovered"], &report["canceled"]), (&json!(5), &json!(5)));
    let intakes = "SELECT string_agg(format('%s %s %s', i.sessions, i.allowance, i.sweep_id = s.id), ', ')
                     FROM geft_sweeper.intakes i, geft_sweeper.sweeps s";
    assert_eq!(shop.value::<String>(intakes).await, "5  t");
    // What is known already does not count when it is named again.
    let report = program(&shop, 5).run(["sweep", "--json"]).await.expect_code(0).json();
    assert_eq!(report["status"], "finished");
    shop.database.close().await;
}

#[tokio::test]
async fn one_more_than_the_limit_and_nothing_is_taken_on() {
    let shop = Shop::new().await;
    abandon(&shop, 6).await;
    let swept = program(&shop, 5).run(["sweep", "--json"]).await;
    let says =
        ["6 sessions would be taken on after 0 in the last ten minutes", "brakes.max_discovered is 5", "allow 1 "];
    assert_stopped(&swept, &says);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.cancellations").await, 0);
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.intakes").await, 0);
    shop.expect_no_request();

    let acting = brakes(&shop).await;
    assert_eq!((&acting[0]["name"], &acting[0]["instance"]), (&json!("blast_radius"), &Value::Null));
    assert_eq!(acting[0]["sentence"], swept.json()["error"]);
    let text = shop.program().run(["status"]).await.expect_code(0).stdout;
    assert!(text.contains("brake blast_radius acts since"), "{text}");
    shop.database.close().await;
}

#[tokio::test]
async fn not_even_a_first_page_is_taken_on() {
    let shop = Shop::new().await;
    abandon(&shop, 2_501).await;
    assert_stopped(&program(&shop, 2_500).run(["sweep", "--json"]).await, &["2501 sessions", "allow 1 "]);
    assert_eq!(take_on(program(&shop, 2_501)).await, 2_501);
    assert_eq!(shop.value::<i64>("SELECT sum(sessions)::bigint FROM geft_sweeper.intakes").await, 2_501);
    assert_eq!(brakes(&shop).await, json!([]), "the next discovery that passes lifts it");
    shop.database.close().await;
}

#[tokio::test]
async fn what_was_taken_on_before_goes_on() {
    let shop = Shop::new().await;
    let before = abandon(&shop, 3).await;
    assert_eq!(take_on(program(&shop, 5)).await, 3);
    abandon(&shop, 10).await;
    let swept = program(&shop, 5).run(["sweep", "--json"]).await;
    assert_stopped(&swept, &["10 sessions would be taken on after 3 in", "allow 8 "]);
    assert_eq!(swept.json()["canceled"], 3);
    assert!(before.iter().all(|id| shop.sandbox.cancels(*id) == 1));
    shop.database.close().await;
}

#[tokio::test]
async fn a_withdrawn_session_that_is_named_again_counts_like_a_new_one() {
    let shop = Shop::new().await;
    let ids = abandon(&shop, 3).await;
    assert_eq!(take_on(program(&shop, 5)).await, 3);
    for id in &ids {
        shop.sessions.set_status(*id, "created").await;
    }
    assert_eq!(program(&shop, 5).run(["sweep", "--json"]).await.expect_code(0).json()["withdrawn"], 3);
    for id in &ids {
        shop.sessions.set_status(*id, "abandoned").await;
    }
    assert_stopped(&program(&shop, 5).run(["sweep", "--json"]).await, &["3 sessions would be taken on after 3 in"]);
    assert_eq!(take_on(program(&shop, 6)).await, 3);
    shop.database.close().await;
}

#[tokio::test]
async fn a_dry_run_says_so_and_changes_nothing() {
    let shop = Shop::new().await;
    abandon(&shop, 6).await;
    let before = shop.contents().await;
    let said = program(&shop, 5).run(["sweep", "--dry-run"]).await.expect_code(0);
    assert!(said.stdout.contains("6 sessions would be canceled"), "{}", said.stdout);
    assert!(said.stderr.starts_with("geft-sweeper: a sweep would be held back: 6 sessions"), "{}", said.stderr);
    assert_eq!(program(&shop, 6).run(["sweep", "--dry-run"]).await.expect_code(0).stderr, "");
    assert_eq!(shop.contents().await, before);
    shop.database.close().await;

    let shop = Shop::without_schema().await;
    abandon(&shop, 6).await;
    let said = program(&shop, 5).run(["sweep", "--dry-run", "--json"]).await.expect_code(0);
    assert_eq!(said.json()["would_cancel"], 6);
    assert!(said.stderr.contains("a sweep would be held back: 6 sessions"), "{}", said.stderr);
    shop.database.close().await;
}

#[tokio::test]
async fn a_wrong_mapping_cancels_no_live_session_and_the_right_one_lifts_the_brake() {
    let shop = Shop::new().await;
    shop.execute(
        "CREATE TABLE orders (session_id uuid PRIMARY KEY, reference_id text, status text, checkout text, created_at timestamptz);
         INSERT INTO orders SELECT gen_random_uuid(), 'order ' || n, 'paying', 'abandoned', now() - interval '2 minutes'
           FROM generate_series(1, 20000) AS n",
    )
    .await;
    let id = abandon(&shop, 1).await[0];
    shop.execute(
        "INSERT INTO orders SELECT session_id, reference_id, 'abandoned', 'paid', created_at FROM payment_sessions",
    )
    .await;
    let program = shop.program().with("source.table", "orders");
    let swapped: Table =
        [("status", "checkout")].into_iter().map(|(name, column)| (name.into(), column.into())).collect();
    let wrong = shop.program().with("source.table", "orders").with("source.columns", swapped);
    for _ in 0..2 {
        assert_stopped(&wrong.run(["sweep", "--json"]).await, &["20000 sessions", "brakes.max_discovered is 10000"]);
    }
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.cancellations").await, 0);
    shop.expect_no_request();
    assert_eq!(program.run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 1);
    assert_eq!((shop.sandbox.cancels(id), brakes(&shop).await), (1, json!([])));
    shop.database.close().await;
}

#[tokio::test]
async fn no_secret_is_in_what_it_says() {
    let shop = Shop::new().await;
    abandon(&shop, 2).await;
    let swept = program(&shop, 1).run(["sweep"]).await.expect_code(1);
    assert!(!swept.stderr.contains(SECRET) && !swept.stdout.contains(SECRET));
    shop.database.close().await;
}
