//! The blast radius: how many sessions may be taken on within ten minutes, and what is said where more would be.
//!
//! It only weighs. That no more are taken on is seen to where they are written.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{Error, Shared};
use crate::ledger::{self, Standing};
use crate::source::Source;

/// So many within ten minutes are never too many because they are unusual: a small shop may have a busy day.
const NEVER_UNUSUAL: u64 = 1_000;
/// How many times the busiest ten minutes is unusual.
const UNUSUAL: u64 = 10;
/// How far it is counted beyond what is allowed, once, so that whoever is to allow it learns the number.
const BEYOND: u64 = 100_000;

/// What came of weighing a discovery.
#[derive(Debug)]
pub(super) enum Weighed {
    /// It may take on what it finds; within ten minutes `most`, and what is released beyond it.
    Within { most: u64 },
    /// It may take on nothing: the sentence that says why and what to do.
    Beyond(String),
}

/// How many sessions may be taken on within ten minutes, and why.
#[derive(Clone, Copy, Debug)]
struct Limit {
    most: u64,
    /// Of the last 7 days, where that is what limits.
    busiest: Option<u64>,
}

impl Limit {
    /// Where nothing was taken on in 7 days there is nothing to compare with: a first run may take on whatever
    /// `max_discovered` allows.
    fn new(max_discovered: u64, busiest: Option<u64>) -> Self {
        let unusual = busiest.map(|busiest| busiest.saturating_mul(UNUSUAL).max(NEVER_UNUSUAL));
        match unusual {
            Some(most) if most < max_discovered => Self { most, busiest },
            _ => Self { most: max_discovered, busiest: None },
        }
    }

    /// How many may be taken on now.
    fn allows(self, standing: &Standing) -> u64 {
        self.most.saturating_sub(standing.recent).saturating_add(standing.released)
    }

    /// What is said of so many that are too many; `at_least` where there may be more, and only a dry run has the number.
    fn sentence(self, standing: &Standing, count: u64, at_least: bool) -> String {
        let at_least = if at_least { "at least " } else { "" };
        let sessions = if count == 1 { "session" } else { "sessions" };
        let needed =
            if at_least.is_empty() { count.saturating_sub(self.allows(standing)).to_string() } else { "N".to_owned() };
        format!(
            "{at_least}{count} {sessions} {}; look at `geft-sweeper sweep --dry-run`; if it is right, say \
             `geft-sweeper allow {needed} --for 1h --actor NAME`",
            self.reason(standing)
        )
    }

    /// The part of the sentence that stays the same as long as nothing but their number changes.
    fn reason(self, standing: &Standing) -> String {
        let Standing { recent, released, .. } = standing;
        let limit = match self.busiest {
            None => format!("brakes.max_discovered is {}", self.most),
            Some(busiest) => {
                format!("the limit is {} while the busiest ten minutes of the last 7 days had {busiest}", self.most)
            }
        };
        let released = if *released > 0 { format!(", with {released} released beyond it") } else { String::new() };
        format!(
            "would be taken on after {recent} in the last ten minutes, but {limit}{released}: nothing new is taken on"
        )
    }
}

impl Shared {
    /// Weighs what a discovery would take on, before it takes on anything. `whole`: how many that are, where that is known
    /// already; else they are counted, in the transaction that reads them, so that both see the same rows. `standing`:
    /// none where there is no ledger to ask.
    pub(super) async fn weigh(
        &self,
        transaction: &mut PgConnection,
        source: &Source,
        since: Option<DateTime<Utc>>,
        standing: Option<&Standing>,
        whole: Option<u64>,
    ) -> Result<Weighed, Error> {
        let (not_known, busiest) = match standing {
            Some(standing) => {
                // An ordinary sweep: nothing more needs to be asked.
                let most = self.max_discovered.min(NEVER_UNUSUAL);
                if whole.is_some_and(|count| standing.recent.saturating_add(count) <= most) {
                    return Ok(Weighed::Within { most });
                }
                (Some(ledger::NOT_TAKEN_ON), self.ledger.busiest_ten_minutes(transaction).await?)
            }
            None => (None, None),
        };
        let limit = Limit::new(self.max_discovered, busiest);
        let standing = standing.cloned().unwrap_or_default();
        let allowed = limit.allows(&standing);
        let mut count = match whole {
            Some(count) => count,
            None => self.limited(source.count(transaction, not_known, since, allowed.saturating_add(1))).await?,
        };
        if count <= allowed {
            return Ok(Weighed::Within { most: limit.most });
        }
        let enough = allowed.saturating_add(BEYOND);
        if whole.is_none() {
            // While the brake acts for this reason, the number is not asked for again at each sweep.
            let reason = limit.reason(&standing);
            if let Some(said) = standing.braked.as_ref().filter(|said| said.contains(&reason)) {
                return Ok(Weighed::Beyond(said.clone()));
            }
            count = self.limited(source.count(transaction, not_known, since, enough)).await?;
        }
        Ok(Weighed::Beyond(limit.sentence(&standing, count, count == enough)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(recent: u64, released: u64) -> Standing {
        Standing { recent, released, ..Standing::default() }
    }

    #[test]
    fn the_limit_is_the_lower_of_the_two_and_never_unusual_below_a_thousand() {
        let most = |max, busiest| Limit::new(max, busiest).most;
        assert_eq!(most(10_000, None), 10_000, "nothing to compare with");
        assert_eq!(most(10_000, Some(0)), 1_000);
        assert_eq!(most(10_000, Some(100)), 1_000);
        assert_eq!(most(10_000, Some(101)), 1_010);
        assert_eq!(most(10_000, Some(1_000)), 10_000);
        assert_eq!(most(10_000, Some(u64::MAX)), 10_000);
        assert_eq!(most(500, Some(1)), 500);
    }

    #[test]
    fn what_was_taken_on_counts_and_what_is_released_is_added() {
        let limit = Limit::new(10, None);
        assert_eq!(limit.allows(&standing(0, 0)), 10);
        assert_eq!(limit.allows(&standing(10, 0)), 0);
        assert_eq!(limit.allows(&standing(25, 3)), 3);
    }

    #[test]
    fn the_sentence_names_what_limits_and_how_many_are_to_be_released() {
        let said = Limit::new(10, None).sentence(&standing(4, 2), 20, false);
        assert_eq!(
            said,
            "20 sessions would be taken on after 4 in the last ten minutes, but brakes.max_discovered is 10, with 2 \
             released beyond it: nothing new is taken on; look at `geft-sweeper sweep --dry-run`; if it is right, say \
             `geft-sweeper allow 12 --for 1h --actor NAME`"
        );
        let said = Limit::new(10_000, Some(7)).sentence(&standing(0, 0), 101_000, true);
        assert!(said.starts_with("at least 101000 sessions would"), "{said}");
        assert!(said.contains("the limit is 1000 while the busiest ten minutes of the last 7 days had 7:"), "{said}");
        assert!(said.contains("allow N --for"), "{said}");
    }
}
