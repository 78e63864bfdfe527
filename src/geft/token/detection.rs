//! Finds out from the provider's answers whether one token serves many cancels or one alone.
//!
//! Pure: it is told what became of each token, and never asks for one.

use crate::config::TokenUse;

/// Refusals of a spent token, each followed by a fresh one that was accepted, that make tokens single-use.
const PROOFS: u8 = 2;

/// How tokens are used at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// Not known yet: one cancel at a time.
    Undecided,
    /// One token for all until its end.
    Shared,
    /// One token for each cancel.
    Single,
}

/// What is known so far.
#[derive(Debug)]
pub(super) struct Detection {
    usage: Usage,
    /// Set by `[api] token_use`: evidence changes nothing.
    fixed: bool,
    /// The last token that was refused after it had served once.
    suspect: u64,
    /// No fresh token was accepted since.
    open: bool,
    proofs: u8,
}

impl Detection {
    pub(super) fn new(setting: TokenUse) -> Self {
        let usage = match setting {
            TokenUse::Auto => Usage::Undecided,
            TokenUse::Shared => Usage::Shared,
            TokenUse::Single => Usage::Single,
        };
        Self { usage, fixed: setting != TokenUse::Auto, suspect: 0, open: false, proofs: 0 }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Token `number` served a cancel, its `times`-th. Gives the new usage where this changed it.
    pub(super) fn served(&mut self, number: u64, times: u32) -> Option<Usage> {
        if times >= 2 {
            (self.proofs, self.open) = (0, false);
            return (self.usage == Usage::Undecided).then(|| self.turn(Usage::Shared)).flatten();
        }
        if self.open && number > self.suspect {
            self.open = false;
            self.proofs += 1;
        }
        (self.proofs >= PROOFS && self.usage != Usage::Single).then(|| self.turn(Usage::Single)).flatten()
    }

    /// Token `number` was refused before its end, having served `times` cancels.
    pub(super) fn refused(&mut self, number: u64, times: u32) {
        match times {
            // One suspicion a token, however many cancels it was refused for.
            1 if number > self.suspect => (self.suspect, self.open) = (number, true),
            // A fresh token refused tells of the credentials; or it is used by many at once, and the answer that it
            // served has yet to come in.
            0 | 1 => {}
            _ => (self.proofs, self.open) = (0, false),
        }
    }

    fn turn(&mut self, usage: Usage) -> Option<Usage> {
        if self.fixed {
            return None;
        }
        self.usage = usage;
        Some(usage)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_token_that_serves_twice_is_shared() {
        let mut detection = Detection::new(TokenUse::Auto);
        assert_eq!(detection.served(1, 1), None);
        assert_eq!(detection.served(1, 2), Some(Usage::Shared));
        assert_eq!(detection.served(1, 3), None);
    }

    #[test]
    fn two_spent_tokens_in_a_row_are_single_use() {
        let mut detection = Detection::new(TokenUse::Auto);
        detection.served(1, 1);
        detection.refused(1, 1);
        assert_eq!(detection.served(2, 1), None);
        detection.refused(2, 1);
        assert_eq!(detection.usage(), Usage::Undecided);
        assert_eq!(detection.served(3, 1), Some(Usage::Single));
    }

    #[test]
    fn shared_tokens_that_become_single_use_are_found_out_once() {
        let mut detection = Detection::new(TokenUse::Auto);
        detection.served(1, 1);
        detection.served(1, 2);
        detection.refused(1, 2);
        let found: Vec<_> = (2..10)
            .filter_map(|number| {
                let found = detection.served(number, 1);
                detection.refused(number, 1);
                found
            })
            .collect();
        assert_eq!(found, [Usage::Single]);
    }

    #[test]
    fn one_token_refused_for_many_cancels_is_one_suspicion() {
        let mut detection = Detection::new(TokenUse::Auto);
        detection.served(1, 1);
        detection.refused(1, 1);
        assert_eq!(detection.served(2, 1), None);
        detection.refused(1, 1);
        assert_eq!(detection.served(3, 1), None);
    }

    #[test]
    fn refused_fresh_tokens_prove_nothing() {
        let mut detection = Detection::new(TokenUse::Auto);
        for number in 1..10 {
            detection.refused(number, 0);
        }
        assert_eq!(detection.served(10, 1), None);
        assert_eq!(detection.usage(), Usage::Undecided);
    }

    #[test]
    fn the_setting_is_stronger_than_evidence() {
        let mut single = Detection::new(TokenUse::Single);
        assert_eq!((single.served(1, 2), single.usage()), (None, Usage::Single));
        let mut shared = Detection::new(TokenUse::Shared);
        for number in 1..9 {
            assert_eq!(shared.served(number, 1), None);
            shared.refused(number, 1);
        }
        assert_eq!(shared.usage(), Usage::Shared);
    }

    proptest! {
        /// Each token lives for `lives[n]` cancels, two at least, before the provider revokes it.
        #[test]
        fn tokens_that_serve_twice_never_become_single_use(lives in proptest::collection::vec(2_u32..5, 1..30)) {
            let mut detection = Detection::new(TokenUse::Auto);
            for (number, life) in (1..).zip(lives) {
                for times in 1..=life {
                    prop_assert_ne!(detection.served(number, times), Some(Usage::Single));
                }
                detection.refused(number, life);
            }
            prop_assert_eq!(detection.usage(), Usage::Shared);
        }

        /// Late refusals of any earlier token may come in at any time.
        #[test]
        fn tokens_that_serve_once_are_found_out(late in proptest::collection::vec(0_u64..5, 3..30)) {
            let mut detection = Detection::new(TokenUse::Auto);
            for (number, late) in (1..).zip(late) {
                detection.served(number, 1);
                detection.refused(number, 1);
                detection.refused(number.saturating_sub(late), 1);
            }
            prop_assert_eq!(detection.usage(), Usage::Single);
        }
    }
}
