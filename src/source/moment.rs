//! A column that says when, as SQL: the exact instant, and bounds on it that an index on the bare column serves.
//!
//! Where a clock change makes a local time ambiguous or missing, it counts as the later instant, so that no session
//! looks older than it is. Postgres itself reads it so: in an autumn repeat it takes the time after the change, in a
//! spring gap the offset before it (`DetermineTimeZoneOffset`), and both are the later of the two readings.

use std::time::Duration;

use super::identifier::literal;

/// How far a local time can be off by a clock change, with room to spare. The exact condition stands beside every
/// bound that uses it, so it only decides how many rows are looked at.
const SLACK: &str = "interval '3 hours'";

/// A column of type `timestamptz`, or of type `timestamp` and written in a zone.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// The column as it stands in SQL, qualified and quoted.
    pub(super) column: String,
    /// The zone's name where the column has none.
    pub(super) zone: Option<String>,
}

impl Moment {
    /// The exact instant.
    pub(super) fn instant(&self) -> String {
        match &self.zone {
            None => self.column.clone(),
            Some(zone) => at_zone(&self.column, zone),
        }
    }

    /// The exact instant, or NULL where it is beyond what a program can hold (`infinity`, the year 200000).
    pub(super) fn presentable(&self) -> String {
        let instant = self.instant();
        format!(
            "CASE WHEN {instant} BETWEEN timestamptz '0001-01-01 00:00:00+00' \
             AND timestamptz '9999-12-31 00:00:00+00' THEN {instant} END"
        )
    }

    /// True from `bound` (an SQL expression of type `timestamptz`) on.
    pub(super) fn at_least(&self, bound: &str) -> String {
        self.bounded(">=", bound, "-")
    }

    /// True up to `bound`.
    pub(super) fn at_most(&self, bound: &str) -> String {
        self.bounded("<=", bound, "+")
    }

    fn bounded(&self, comparison: &str, bound: &str, widen: &str) -> String {
        let exact = format!("{} {comparison} {bound}", self.instant());
        match &self.zone {
            None => exact,
            Some(zone) => {
                format!("({} {comparison} {} {widen} {SLACK} AND {exact})", self.column, at_zone(bound, zone))
            }
        }
    }
}

fn at_zone(expression: &str, zone: &str) -> String {
    format!("(({expression}) AT TIME ZONE {})", literal(zone))
}

/// The database's time this long ago.
pub(super) fn ago(duration: Duration) -> String {
    before("now()", duration)
}

/// The time this long before another.
pub(super) fn before(moment: &str, duration: Duration) -> String {
    format!("({moment} - interval '{}.{:06} seconds')", duration.as_secs(), duration.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_with_a_zone_is_compared_as_it_is() {
        let moment = Moment { column: "m.\"at\"".to_owned(), zone: None };
        assert_eq!(
            moment.at_least(&ago(Duration::from_millis(1_500))),
            "m.\"at\" >= (now() - interval '1.500000 seconds')"
        );
    }

    #[test]
    fn a_column_without_a_zone_has_a_wide_bound_beside_the_exact_one() {
        let moment = Moment { column: "m.\"at\"".to_owned(), zone: Some("America/Toronto".to_owned()) };
        assert_eq!(
            moment.at_most("now()"),
            "(m.\"at\" <= ((now()) AT TIME ZONE 'America/Toronto') + interval '3 hours' \
             AND ((m.\"at\") AT TIME ZONE 'America/Toronto') <= now())"
        );
    }
}
