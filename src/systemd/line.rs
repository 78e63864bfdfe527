//! The line of progress: what is wrong, what holds sending back, how far a sweep is, or when the next one is due.

use super::Shown;
use crate::health::Part;
use crate::ledger::Ledger;
use crate::sweep::{Counts, Phase, Progress};

/// Work from the moment that something was due until nothing is.
pub(super) struct Spell {
    /// The counts when it began.
    base: Counts,
    /// Sessions that were due then.
    due: u64,
}

impl Spell {
    /// Of work that began with the counts `base`, by what is due or held at `counts`.
    fn since(base: Counts, counts: Counts, due_now: u64) -> Self {
        let begun = due_now + counts.ended().saturating_sub(base.ended());
        Self { base, due: begun.saturating_sub(counts.discovered.saturating_sub(base.discovered)) }
    }

    /// How many of its sessions have ended, and how many it has.
    fn stands(&self, counts: Counts) -> (u64, u64) {
        let ended = counts.ended().saturating_sub(self.base.ended());
        let total = self.due + counts.discovered.saturating_sub(self.base.discovered) + counts.read;
        (ended, total.max(ended))
    }
}

/// What is going on, on one line.
pub(super) async fn line(shown: &mut Shown, spell: &mut Option<Spell>) -> String {
    let trouble = |part| shown.health.trouble(part).map(|what| format!("{}: {what}", part.as_str()));
    if let Some(trouble) = trouble(Part::Database).or_else(|| trouble(Part::Schema)) {
        return one_line(&trouble);
    }
    if let Some(held) = shown.sweeper.held_back() {
        return format!("sending is held back: {}", held.why.sentence());
    }
    if shown.sweeper.progress().is_working() {
        return sweeping(shown, spell).await;
    }
    *spell = None;
    if shown.sweeper.progress().phase() == Phase::Discovering {
        return "discovering".to_owned();
    }
    let source = shown.health.shown_trouble(Part::Source).filter(|_| shown.health.is_ill(Part::Source));
    if let Some(trouble) = source.or_else(|| shown.sweeper.brakes().pop().map(|(_, sentence)| sentence)) {
        return one_line(&trouble);
    }
    match shown.forecast.next().await {
        Some(next) => format!("idle, next sweep at {}", next.format("%Y-%m-%d %H:%M:%S UTC")),
        None => "idle".to_owned(),
    }
}

/// How far it is. Retries that fall due meanwhile and sessions of other processes can be among them.
async fn sweeping(shown: &Shown, spell: &mut Option<Spell>) -> String {
    let progress = shown.sweeper.progress();
    let spell = match spell {
        Some(spell) if spell.base == progress.base() => spell,
        _ => spell.insert(begun(progress, &shown.ledger).await),
    };
    let (ended, total) = spell.stands(progress.counts());
    format!("sweeping {} of {}", grouped(ended), grouped(total))
}

/// The work under way, however much of it is done. What ends while the rest is counted may be left out or counted twice;
/// what is taken on comes in hundreds, so then it is counted again.
async fn begun(progress: &Progress, ledger: &Ledger) -> Spell {
    let mut before = progress.counts();
    loop {
        // Whoever needs the database next says what is wrong with it.
        let due = ledger.count_due().await.unwrap_or_default();
        let counts = progress.counts();
        if counts.discovered == before.discovered {
            return Spell::since(progress.base(), counts, due);
        }
        before = counts;
    }
}

/// 4120 as "4,120".
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A line break would begin another variable.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_same_whenever_it_is_first_looked_at() {
        // Ten were due when it began, and 600 are taken on since.
        let base = Counts { discovered: 1_000, canceled: 900, failed: 90, ..Counts::default() };
        let looks = [(0, 0), (200, 0), (600, 0), (200, 191), (600, 191), (600, 609)].map(|(discovered, ended)| {
            let read = 600 - discovered;
            let counts = Counts { read, discovered: 1_000 + discovered, canceled: 900 + ended, failed: 90, ..base };
            (Spell::since(base, counts, 10 + discovered - ended).stands(counts), ended)
        });
        for (stands, ended) in looks {
            assert_eq!(stands, (ended, 610));
        }
    }

    #[test]
    fn large_numbers_are_grouped_by_thousands() {
        let numbers = [0, 312, 4_120, 40_120, 1_000_000];
        assert_eq!(numbers.map(grouped), ["0", "312", "4,120", "40,120", "1,000,000"]);
    }
}
