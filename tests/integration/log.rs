//! The log of the real program: each line is one event with the names that join it to the ledger; and when everything
//! goes wrong it does not grow with the backlog, and what is left out of it is told as a number.

use std::time::{Duration, Instant};

use geft_sweeper::sandbox::Faults;
use serde_json::{Map, Value};

use crate::reference::log_events;
use crate::support::{Shop, events};

/// As in the README.
const BURST: usize = 100;
const PER_SECOND: f64 = 20.0;
/// What every line has beside the fields of its event.
const FRAME: [&str; 5] = ["event", "level", "message", "target", "timestamp"];

#[tokio::test]
async fn when_everything_fails_the_log_stays_short_and_what_is_left_out_adds_up() {
    let shop = Shop::new().await;
    shop.provider.set_faults(refusing()).unwrap();
    let (failing, paid) = (2_000, 150);
    let ids = shop.abandon(failing + paid).await;
    for id in &ids[failing..] {
        shop.provider.set_status(*id, "Completed", Some("EFT0301")).unwrap();
    }
    let program = shop.program().with("retry.max_attempts", 1);
    let start = Instant::now();
    let finished = program.run(["sweep"]).await.expect_code(0);
    assert_eq!(shop.number("failed").await, i64::try_from(failing).unwrap());

    let told = events(&finished.stderr, "session.failed").len();
    assert!(told >= BURST, "{told}");
    assert!(told <= BURST + most_in(start.elapsed()), "{told} in {:?}", start.elapsed());
    let left_out = events(&finished.stderr, "log.left_out");
    assert!(left_out.iter().all(|line| line["log.event"] == "session.failed"), "{left_out:?}");
    let lines: u64 = left_out.iter().map(|line| line["log.lines"].as_u64().unwrap()).sum();
    assert_eq!(u64::try_from(told).unwrap() + lines, u64::try_from(failing).unwrap());
    // Money may move: each of these is told, however many there are.
    assert_eq!(events(&finished.stderr, "session.paid_after_abandonment").len(), paid);
}

#[tokio::test]
async fn every_line_is_one_event_with_the_fields_of_the_readme_and_joins_its_audit_row() {
    let shop = Shop::new().await;
    shop.provider.set_faults(refusing()).unwrap();
    shop.abandon(3).await;
    let program = shop.program().with("log.level", "debug").with("retry.max_attempts", 1);
    let swept = program.run(["sweep"]).await.expect_code(0);
    let documented = log_events();
    for line in swept.stderr.lines() {
        let line: Map<String, Value> = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let event = line["event"].as_str().unwrap();
        let fields = line.keys().filter(|name| !FRAME.contains(&name.as_str()));
        let unknown: Vec<_> = fields.filter(|name| !documented[event].contains(*name)).collect();
        assert!(unknown.is_empty(), "{event}: {unknown:?}");
    }
    let rows: Vec<Names> = sqlx::query_as(
        "SELECT session_id::text, sweep_id::text, attempt, claim::text, request_id::text
           FROM geft_sweeper.cancel_attempts ORDER BY session_id",
    )
    .fetch_all(shop.pool())
    .await
    .unwrap();
    assert_eq!(rows.len(), 3);
    let cancels = events(&swept.stderr, "api.request");
    let cancels: Vec<Value> = cancels.into_iter().filter(|line| line["request.endpoint"] == "cancel").collect();
    for told in [cancels, events(&swept.stderr, "attempt.finished"), events(&swept.stderr, "session.failed")] {
        assert_eq!(sorted(told.iter().map(names_of)), rows);
    }
    let asked = events(&swept.stderr, "api.request").into_iter().filter(|line| line["request.endpoint"] == "status");
    let asked = sorted(asked.map(|line| names_of(&line))).into_iter();
    let unrequested = |(session, sweep, attempt, claim, _): Names| (session, sweep, attempt, claim);
    assert_eq!(asked.map(unrequested).collect::<Vec<_>>(), rows.into_iter().map(unrequested).collect::<Vec<_>>());
}

#[tokio::test]
async fn words_of_several_lines_are_one_line_for_people_too() {
    let shop = Shop::new().await;
    let raise = r"CREATE FUNCTION raise() RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN RAISE E'one\ntwo\x1b[31m'; END $$";
    sqlx::raw_sql(raise).execute(shop.pool()).await.unwrap();
    let program = shop.program().with("log.format", "pretty").with("schedule.sweep", "* * * * * *");
    let program = program.without("source.table").without("source.open_statuses").without("source.max_age");
    let query = "SELECT raise() AS session_id, ''::text AS reference_id, ''::text AS reason";
    let daemon = program.with("source.query", query).start(["run"]);
    daemon.logged("two").await;
    let log = daemon.stderr();
    let (complete, _) = log.rsplit_once('\n').unwrap();
    assert!(complete.lines().all(|line| line.contains(" event=\"")), "{log}");
    assert!(complete.contains("one two") && !complete.contains('\x1b'), "{log}");
}

/// `session.id`, `sweep.id`, `attempt.number`, `claim.id` and `request.id`.
type Names = (String, String, i32, String, String);

fn names_of(line: &Value) -> Names {
    let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("no {name} in {line}")).to_owned();
    let attempt = line["attempt.number"].as_i64().unwrap().try_into().unwrap();
    (text("session.id"), text("sweep.id"), attempt, text("claim.id"), text("request.id"))
}

fn sorted(names: impl Iterator<Item = Names>) -> Vec<Names> {
    let mut names: Vec<Names> = names.collect();
    names.sort_unstable();
    names
}

/// Every cancel is refused, whatever the session's status is.
fn refusing() -> Faults {
    let mut faults = Faults::default();
    faults.cancel.shares.insert("422".parse().unwrap(), 1.0);
    faults
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few seconds")]
fn most_in(elapsed: Duration) -> usize {
    (elapsed.as_secs_f64() * PER_SECOND) as usize
}
