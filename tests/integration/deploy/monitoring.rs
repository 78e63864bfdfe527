//! Holds the alert rules and the dashboard against what the program really exports: a running process, swept once.
//!
//! Whether an alert fires when it should is for `promtool test rules` to say, in `script/deploy-check`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{read, rest_of_line};
use crate::support::{Metrics, Shop, eventually};

const LIMIT: Duration = Duration::from_secs(30);
const RULES: &str = "deploy/prometheus/geft-sweeper.rules.yaml";
const TESTS: &str = "deploy/prometheus/geft-sweeper.rules.test.yaml";
const DASHBOARD: &str = "deploy/grafana/geft-sweeper.json";

/// The whole set; the runbook has a section for each.
const ALERTS: [&str; 11] = [
    "GeftSweeperAbsent",
    "GeftSweeperSweepsMissing",
    "GeftSweeperOldestPayableTooOld",
    "GeftSweeperPaidAfterAbandonment",
    "GeftSweeperSessionsFailed",
    "GeftSweeperCircuitOpen",
    "GeftSweeperCredentialsRefused",
    "GeftSweeperBrakeActing",
    "GeftSweeperAuditNotGrowing",
    "GeftSweeperLateResults",
    "GeftSweeperRowsSkipped",
];

/// Labels that no process gives itself: Prometheus adds the first, and makes the second of a histogram.
const ADDED: [&str; 2] = ["instance", "le"];

/// A selector of a query: the metric, and the labels that it must have, each with the values that will do.
#[derive(Debug, PartialEq)]
struct Selector {
    metric: String,
    matchers: Vec<(String, Vec<String>)>,
}

#[tokio::test]
async fn every_query_of_the_rules_and_of_the_dashboard_finds_its_metrics() {
    let shop = Shop::new().await;
    shop.abandon(3).await;
    let program = shop.program().with("server.listen", "127.0.0.1:0").with("schedule.sweep", "* * * * * *");
    let daemon = program.start(["run"]);
    let endpoints = daemon.endpoints().await;
    eventually(LIMIT, async || shop.number("canceled").await == 3).await;
    let metrics = endpoints.metrics().await;
    let mut queries = expressions_of_rules();
    queries.extend(dashboard().into_iter().map(|(query, _)| query));
    assert!(queries.len() > ALERTS.len() + 20, "{queries:#?}");
    for query in &queries {
        let selectors = selectors(query);
        assert!(!selectors.is_empty(), "no metric in {query}");
        for selector in &selectors {
            assert!(is_exported(selector, &metrics), "{selector:?} of {query} is not exported");
        }
        for label in grouping_labels(query) {
            let has = |selector: &Selector| {
                metrics.with(&selector.metric, &[]).any(|sample| sample.labels.contains_key(&label))
            };
            assert!(ADDED.contains(&label.as_str()) || selectors.iter().any(has), "no label {label} for {query}");
        }
    }
}

#[test]
fn every_legend_of_the_dashboard_is_made_of_labels_of_its_query() {
    for (query, legend) in dashboard() {
        let labels = legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap());
        let grouped = grouping_labels(&query);
        assert!(labels.clone().all(|label| grouped.iter().any(|by| by == label)), "{legend} of {query}");
        assert!(grouped.iter().all(|by| by == "le" || labels.clone().any(|label| label == by)), "{legend} of {query}");
    }
}

#[test]
fn every_alert_has_its_severity_its_section_of_the_runbook_and_a_case_each_for_firing_and_silence() {
    let (rules, tests) = (read(RULES), read(TESTS));
    assert_eq!(BTreeSet::from_iter(rest_of_line(&rules, "- alert: ")), BTreeSet::from(ALERTS));
    for alert in ALERTS {
        let rule = rules.split("- alert: ").find(|rule| rule.lines().next() == Some(alert)).unwrap();
        assert!(
            ["critical", "warning"].iter().any(|severity| rule.contains(&format!("{{ severity: {severity} }}"))),
            "{rule}"
        );
        for said in ["summary", "description"] {
            assert!(!rest_of_line(rule, &format!("{said}: "))[0].is_empty(), "{rule}");
        }
        let section = format!("deploy/RUNBOOK.md#{}", alert.to_lowercase());
        assert_eq!(rest_of_line(rule, "runbook: "), [section.as_str()]);
        assert!(tests.contains(&format!("- alertname: {alert}\n        eval_time: ")), "{alert} never fires");
        let silent = format!("{{ alertname: {alert}, eval_time: ");
        assert!(
            tests.lines().any(|line| line.contains(&silent) && line.contains("exp_alerts: [] }")),
            "{alert} is never silent"
        );
    }
}

fn is_exported(Selector { metric, matchers }: &Selector, metrics: &Metrics) -> bool {
    metrics.with(metric, &[]).any(|sample| {
        matchers.iter().all(|(label, values)| sample.labels.get(label).is_some_and(|value| values.contains(value)))
    })
}

/// Each `expr:`, on its line or folded over the lines that follow deeper.
fn expressions_of_rules() -> Vec<String> {
    let text = read(RULES);
    let rules = text.split("- alert: ").skip(1);
    let expressions = rules.map(|rule| {
        let (_, rest) = rule.split_once("expr: ").unwrap();
        let lines =
            rest.lines().take_while(|line| !["for: ", "labels: "].iter().any(|key| line.trim().starts_with(key)));
        lines.map(|line| line.trim().trim_start_matches(">-")).collect::<Vec<_>>().join(" ")
    });
    expressions.collect()
}

/// The query of each panel and its legend.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    let text = |target: &Value, key: &str| target[key].as_str().unwrap().to_owned();
    targets.map(|target| (text(target, "expr"), text(target, "legendFormat"))).collect()
}

/// Every selector of a metric of ours.
fn selectors(query: &str) -> Vec<Selector> {
    let found = query.match_indices("geft_sweeper_").map(|(at, _)| {
        let end =
            query[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(query.len(), |end| at + end);
        let rest = query[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matchers = rest.map_or_else(Vec::new, |(inside, _)| inside.split(',').map(matcher).collect());
        Selector { metric: query[at..end].to_owned(), matchers }
    });
    found.collect()
}

/// `label="value"` or `label=~"one|other"`; nothing else is in use.
fn matcher(text: &str) -> (String, Vec<String>) {
    let (label, values) = text.split_once('=').unwrap();
    assert!(!label.ends_with('!'), "{text} matches what is not there as well");
    (label.trim().to_owned(), values.trim_matches(['~', '"']).split('|').map(str::to_owned).collect())
}

/// The labels in every `by (…)`.
fn grouping_labels(query: &str) -> Vec<String> {
    let groups = query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
    groups.flat_map(|group| group.split(',').map(|label| label.trim().to_owned())).collect()
}

#[test]
fn the_reader_finds_what_a_query_asks_for() {
    let query = "max by (state, le) (rate(geft_sweeper_a_total{state=\"open\",x=~\"1|2\"}[5m])) > geft_sweeper_b";
    let matchers =
        vec![("state".to_owned(), vec!["open".to_owned()]), ("x".to_owned(), vec!["1".to_owned(), "2".to_owned()])];
    let expected = [
        Selector { metric: "geft_sweeper_a_total".to_owned(), matchers },
        Selector { metric: "geft_sweeper_b".to_owned(), matchers: Vec::new() },
    ];
    assert_eq!(selectors(query), expected);
    assert_eq!(grouping_labels(query), ["state", "le"]);
}
