//! The line of progress: what is wrong, what holds sending back, how far a sweep is, or when the next one is due.

use super::Shown;
use crate::health::Part;
use crate::sweep::Phase;

/// Work from the moment that something was due until nothing is.
pub(super) struct Spell {
    /// Sessions that had ended and that had been taken on when it began.
    ended: u64,
    discovered: u64,
    /// Sessions that were due then.
    due: u64,
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
    let counts = shown.sweeper.progress().counts();
    if spell.is_none() {
        // Whoever needs the database next says what is wrong with it.
        let due = shown.ledger.count_due().await.unwrap_or_default();
        *spell = Some(Spell { ended: counts.ended(), discovered: counts.discovered, due });
    }
    let (ended, total) = spell.as_ref().map_or((0, 0), |spell| {
        let ended = counts.ended().saturating_sub(spell.ended);
        (ended, (spell.due + counts.discovered.saturating_sub(spell.discovered) + counts.read).max(ended))
    });
    format!("sweeping {} of {}", grouped(ended), grouped(total))
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
    fn large_numbers_are_grouped_by_thousands() {
        let numbers = [0, 312, 4_120, 40_120, 1_000_000];
        assert_eq!(numbers.map(grouped), ["0", "312", "4,120", "40,120", "1,000,000"]);
    }
}
