//! Columns without a time zone, clock changes, and sweeps that look only at what changed.

#![expect(clippy::disallowed_methods, reason = "the server of the tests runs on this machine and has its clock")]

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use geft_sweeper::config::{self, Table};
use sqlx::PgConnection;

use super::{
    HOUR, ONE, THREE, TWO, connection, create, discover, discover_with, ids, inspect, keys, run, settings, table,
};

#[tokio::test]
async fn a_time_without_zone_is_read_in_the_merchants_zone() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamp").await;
    run(
        &mut db,
        &format!(
            "INSERT INTO sessions VALUES
             ('{ONE}', NULL, 'pending', (now() - interval '31 minutes') AT TIME ZONE 'America/Toronto'),
             ('{TWO}', NULL, 'pending', (now() - interval '29 minutes') AT TIME ZONE 'America/Toronto')"
        ),
    )
    .await;
    let zoned = Table { time_zone: Some("america/toronto".to_owned()), ..table() };
    let source = inspect(&settings(zoned), &mut db).await;
    let page = discover(&source, &mut db).await;
    assert_eq!(ids(&page), [ONE]);
    let age = Utc::now() - page.candidates[0].source_created_at.unwrap();
    assert!((TimeDelta::minutes(30)..TimeDelta::minutes(33)).contains(&age), "{age}");
    assert_eq!(source.still_named(&mut db, &keys(&[ONE, TWO])).await.unwrap(), HashSet::from([ONE.to_owned()]));
    let census = source.census(&mut db).await.unwrap();
    assert!((HOUR / 3..HOUR / 2).contains(&census.newest_age.unwrap()), "{census:?}");
}

/// What is aged when `now - max_age` is this moment, and found when `now - lookback` is `from`.
async fn aged_at(db: &mut PgConnection, from: &str, until: &str) -> Vec<String> {
    let ago = |moment: &str| (Utc::now() - moment.parse::<DateTime<Utc>>().unwrap()).to_std().unwrap();
    let table = Table { time_zone: Some("America/Toronto".to_owned()), max_age: Some(ago(until)), ..table() };
    let source = config::Source { lookback: ago(from), ..settings(table) };
    let source = inspect(&source, db).await;
    ids(&discover(&source, db).await)
}

#[tokio::test]
async fn a_repeated_hour_never_makes_a_session_look_older() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamp").await;
    // 01:30 came twice in Toronto on that day: at 05:30 UTC and again at 06:30 UTC.
    run(&mut db, &format!("INSERT INTO sessions VALUES ('{ONE}', NULL, 'pending', '2025-11-02 01:30')")).await;
    let long_ago = "2025-10-01T00:00:00Z";
    for (until, aged) in [("05:40", false), ("06:10", false), ("06:29", false), ("06:31", true), ("07:10", true)] {
        let found = aged_at(&mut db, long_ago, &format!("2025-11-02T{until}:00Z")).await;
        assert_eq!(!found.is_empty(), aged, "canceled as if it were {until} UTC");
    }
    for (from, reached) in [("05:50", true), ("06:29", true), ("06:31", false)] {
        let found = aged_at(&mut db, &format!("2025-11-02T{from}:00Z"), "2025-11-03T00:00:00Z").await;
        assert_eq!(!found.is_empty(), reached, "a lookback to {from} UTC");
    }
}

#[tokio::test]
async fn a_skipped_hour_never_makes_a_session_look_older() {
    let mut db = connection().await;
    create(&mut db, "uuid", "text", "timestamp").await;
    // 02:30 did not exist in Toronto on that day: the clock went from 06:59 UTC (01:59) to 07:00 UTC (03:00).
    run(
        &mut db,
        &format!(
            "INSERT INTO sessions VALUES ('{ONE}', NULL, 'pending', '2025-03-09 02:30'),
                                         ('{TWO}', NULL, 'pending', '2025-03-09 03:10')"
        ),
    )
    .await;
    let long_ago = "2025-02-01T00:00:00Z";
    for (until, aged) in
        [("06:50", [].as_slice()), ("07:09", &[]), ("07:11", &[TWO]), ("07:29", &[TWO]), ("07:31", &[ONE, TWO])]
    {
        assert_eq!(aged_at(&mut db, long_ago, &format!("2025-03-09T{until}:00Z")).await, aged, "{until} UTC");
    }
}

#[tokio::test]
async fn only_what_changed_is_looked_at_but_aged_rows_are_always_found() {
    let (four, five) = ("7d444840-9dc0-41d1-b245-5ffdce74fad4", "7d444840-9dc0-41d1-b245-5ffdce74fad5");
    let mut db = connection().await;
    run(
        &mut db,
        &format!(
            "CREATE TABLE sessions (session_id uuid, reference_id text, status text, created_at timestamptz,
                                    changed timestamp);
             INSERT INTO sessions
             SELECT id::uuid, NULL, status, now() - age::interval, now() AT TIME ZONE 'UTC' - ago::interval
               FROM (VALUES ('{ONE}', 'abandoned', '2 hours', '1 minute'), ('{TWO}', 'abandoned', '2 hours', '2 hours'),
                            ('{THREE}', 'pending', '80 minutes', '80 minutes'), ('{four}', 'pending', '2 hours', '2 hours'),
                            ('{five}', 'pending', '2 hours', '1 minute')) AS made (id, status, age, ago)"
        ),
    )
    .await;
    let mut table = Table { time_zone: Some("UTC".to_owned()), ..table() };
    table.columns.updated_at = Some("changed".to_owned());
    let source = inspect(&settings(table), &mut db).await;
    assert!(source.tracks_changes());
    let since = Utc::now() - TimeDelta::hours(1);
    // THREE became old within the hour, `five` was changed within it.
    assert_eq!(ids(&discover_with(&source, &mut db, None, Some(since)).await), [ONE, THREE, five]);
    assert_eq!(ids(&discover(&source, &mut db).await), [ONE, TWO, THREE, four, five]);
    assert_eq!(source.still_named(&mut db, &keys(&[TWO])).await.unwrap().len(), 1);
}
