//! Access tokens: issuing, refusing, forgetting.
//!
//! A token's text is random in every process, whatever the seed: a token of an earlier sandbox must never be accepted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A token just issued.
pub(super) struct Issued {
    pub(super) number: u64,
    pub(super) text: String,
}

struct Known {
    mark: u64,
    dies: Instant,
}

#[derive(Default)]
struct Inner {
    issued: u64,
    known: HashMap<u64, Known>,
    /// All numbers below are forgotten: they died, in the order in which they were issued.
    oldest: u64,
}

/// The tokens that would be accepted.
#[derive(Default)]
pub(super) struct Tokens(Mutex<Inner>);

impl Tokens {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Issues a token that lives so long.
    pub(super) fn issue(&self, life: Duration) -> Issued {
        let now = Instant::now();
        let mark = fastrand::u64(..);
        let mut inner = self.lock();
        inner.issued += 1;
        let number = inner.issued;
        inner.known.insert(number, Known { mark, dies: now + life });
        forget_the_dead(&mut inner, now);
        Issued { number, text: format!("sandbox-{number}-{mark:016x}") }
    }

    /// Whether a token is accepted now; `spend` makes this its last time.
    pub(super) fn accept(&self, text: &str, spend: bool) -> bool {
        let Some((number, mark)) = parse(text) else { return false };
        let mut inner = self.lock();
        let good = inner.known.get(&number).is_some_and(|known| known.mark == mark && Instant::now() < known.dies);
        if good && spend {
            inner.known.remove(&number);
        }
        good
    }

    /// Makes every token issued so far refused.
    pub(super) fn revoke_all(&self) {
        self.lock().known.clear();
    }
}

/// Keeps memory bounded by what was issued within one life; stops at the first that lives.
fn forget_the_dead(inner: &mut Inner, now: Instant) {
    while inner.oldest < inner.issued && inner.known.get(&inner.oldest).is_none_or(|known| known.dies <= now) {
        let oldest = inner.oldest;
        inner.known.remove(&oldest);
        inner.oldest += 1;
    }
}

/// The number under which a token was issued, as its text says.
pub(super) fn number(text: &str) -> Option<u64> {
    parse(text).map(|(number, _)| number)
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let (number, mark) = text.strip_prefix("sandbox-")?.split_once('-')?;
    Some((number.parse().ok()?, u64::from_str_radix(mark, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(10);

    #[test]
    fn a_spent_a_dead_and_a_made_up_token_are_refused() {
        let tokens = Tokens::default();
        let good = tokens.issue(LONG).text;
        assert!(tokens.accept(&good, false) && tokens.accept(&good, true));
        assert!(!tokens.accept(&good, false));
        assert!(!tokens.accept(&tokens.issue(Duration::ZERO).text, false));
        assert!(!tokens.accept("sandbox-1-0000000000000000", false));
        assert!(!tokens.accept("something else", false));
    }

    #[test]
    fn dead_tokens_are_forgotten() {
        let tokens = Tokens::default();
        for _ in 0..1000 {
            tokens.issue(Duration::ZERO);
        }
        assert!(tokens.lock().known.len() <= 1);
    }
}
