//! How close together requests arrived: arithmetic on their arrival times, in milliseconds.
//!
//! It knows nothing of requests or of whoever took the times.

/// The most that arrived within any second.
///
/// Times cut to whole milliseconds are never counted too close: what lies less than 1,000 of them apart was within a
/// second.
pub(crate) fn most_in_a_second(arrived_ms: &[u64]) -> usize {
    let mut sorted = arrived_ms.to_vec();
    sorted.sort_unstable();
    let within = |start: u64| sorted.partition_point(|at| *at < start + 1_000);
    sorted.iter().enumerate().map(|(position, start)| within(*start) - position).max().unwrap_or_default()
}

/// How many a second arrived in so many seconds from `from_ms` on.
#[allow(clippy::cast_precision_loss, reason = "far from 2^52 requests")]
pub(crate) fn rate(arrived_ms: &[u64], from_ms: u64, seconds: u64) -> f64 {
    let span = from_ms..from_ms + seconds * 1_000;
    arrived_ms.iter().filter(|at| span.contains(at)).count() as f64 / seconds as f64
}

#[test]
fn a_second_is_any_second() {
    assert_eq!(most_in_a_second(&[]), 0);
    assert_eq!(most_in_a_second(&[900, 0, 1_899, 1_000]), 3, "from 900 on");
    assert_eq!(most_in_a_second(&[0, 1_000, 2_000]), 1);
}

#[test]
fn a_rate_is_of_its_span_alone() {
    assert!((rate(&[999, 1_000, 1_500, 2_999, 3_000], 1_000, 2) - 1.5).abs() < f64::EPSILON);
}
