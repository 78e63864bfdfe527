//! What `/metrics` shows, taken apart: a name, labels and a value for each sample.

use std::collections::{BTreeMap, BTreeSet};

use super::Endpoints;

/// One line of `/metrics` that is no comment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// All that one process shows at one moment.
pub(crate) struct Metrics {
    pub(crate) samples: Vec<Sample>,
    /// Metrics that say what they mean (HELP), each with its type.
    pub(crate) explained: BTreeMap<String, String>,
}

impl Endpoints {
    /// What `/metrics` shows now.
    pub(crate) async fn metrics(&self) -> Metrics {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, 200, "{text}");
        Metrics::read(&text)
    }
}

impl Metrics {
    fn read(text: &str) -> Self {
        let comments = |beginning: &'static str| {
            let lines = text.lines().filter_map(move |line| line.strip_prefix(beginning)?.split_once(' '));
            lines.map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        };
        let helped: BTreeSet<_> =
            comments("# HELP ").filter(|(_, help)| !help.is_empty()).map(|(name, _)| name).collect();
        let explained = comments("# TYPE ").filter(|(name, _)| helped.contains(name)).collect();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(sample).collect(), explained }
    }

    /// The samples of this name with at least these labels.
    pub(crate) fn with<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        let has =
            |sample: &Sample| labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value));
        self.samples.iter().filter(move |sample| sample.name == name && has(sample))
    }

    /// The value of the one sample of this name with at least these labels.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.with(name, labels).collect();
        let [only] = found[..] else { panic!("{name} {labels:?}: {found:?}") };
        only.value
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap().split_terminator(',').map(|label| {
        let (key, value) = label.split_once('=').unwrap();
        (key.to_owned(), value.trim_matches('"').to_owned())
    });
    Sample { name: name.to_owned(), labels: labels.collect(), value: value.parse().unwrap() }
}

#[test]
fn samples_have_their_labels_and_metrics_their_meaning() {
    let text =
        "# HELP a_total What it is.\n# TYPE a_total counter\na_total{x=\"1\",y=\"z\"} 3\n\n# TYPE b gauge\nb NaN\n";
    let metrics = Metrics::read(text);
    assert_eq!(metrics.explained, BTreeMap::from([("a_total".to_owned(), "counter".to_owned())]));
    assert!((metrics.value("a_total", &[("y", "z")]) - 3.0).abs() < f64::EPSILON);
    assert_eq!(metrics.with("a_total", &[("x", "2")]).count(), 0);
    assert!(metrics.value("b", &[]).is_nan());
}
