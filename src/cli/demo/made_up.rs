//! The made-up sessions: what the merchant's table says of each, and what the provider knows.
//!
//! Pure data: the same number and the same seed give the same sessions. Nobody's real data is in it.

use std::ops::Range;

use fastrand::Rng;
use geft_sweeper::sandbox::NewSession;
use serde_json::Number;
use uuid::{Builder, Uuid};

/// A session in the merchant's table.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Session {
    /// As the merchant wrote it: a UUID, or not.
    pub(super) id: String,
    pub(super) reference_id: String,
    pub(super) status: &'static str,
    /// How long ago the merchant made it, in seconds.
    pub(super) age_s: f64,
    /// What the provider knows of it; none where it knows nothing.
    pub(super) at_provider: Option<NewSession>,
}

/// What the provider says of a session: status and details; none where it does not know the session.
type AtProvider = Option<(&'static str, &'static str)>;

/// One kind of session.
struct Kind {
    /// How many of a thousand.
    of_thousand: u32,
    status: &'static str,
    minutes: Range<u32>,
    at_provider: AtProvider,
}

/// A session marked as abandoned may be of any age.
const ABANDONED: Range<u32> = 2..8_000;
/// Beyond `max_age`, and within the lookback.
const AGED: Range<u32> = 31..2_000;
/// Far enough from `max_age` to stay young while the demo is being looked at.
const YOUNG: Range<u32> = 0..12;

const fn kind(of_thousand: u32, status: &'static str, minutes: Range<u32>, at_provider: AtProvider) -> Kind {
    Kind { of_thousand, status, minutes, at_provider }
}

/// Every kind; the numbers add up to a thousand.
const KINDS: [Kind; 17] = [
    // Still alive at the provider: these are what the program is for.
    kind(280, "abandoned", ABANDONED, Some(("Initiated", "EFT0101"))),
    kind(356, "abandoned", ABANDONED, Some(("InProgress", "EFT0101"))),
    kind(70, "created", AGED, Some(("Initiated", "EFT0101"))),
    kind(40, "pending", AGED, Some(("InProgress", "EFT0101"))),
    // Paid in the very moment in which the shop gave them up.
    kind(12, "abandoned", ABANDONED, Some(("Completed", "EFT0301"))),
    kind(6, "abandoned", ABANDONED, Some(("Completed", "EFT0302"))),
    // Ended in other ways.
    kind(20, "abandoned", ABANDONED, Some(("Failed", "EFT0401"))),
    kind(12, "abandoned", ABANDONED, Some(("Failed", "EFT0402"))),
    kind(8, "abandoned", ABANDONED, Some(("Failed", "EFT0403"))),
    kind(60, "abandoned", ABANDONED, Some(("Expired", "EFT0601"))),
    kind(18, "abandoned", ABANDONED, Some(("Canceled", "EFT0501"))),
    // To be left alone: young, or in a status that nobody named.
    kind(40, "created", YOUNG, Some(("Initiated", "EFT0101"))),
    kind(20, "pending", YOUNG, Some(("InProgress", "EFT0101"))),
    kind(40, "paid", AGED, Some(("Completed", "EFT0301"))),
    kind(10, "refunded", AGED, Some(("Completed", "EFT0301"))),
    // Mistakes of the merchant: sessions that the provider never had, and ids that are none.
    kind(4, "abandoned", ABANDONED, None),
    kind(4, UNUSABLE, ABANDONED, None),
];

/// Stands in the table above for "abandoned, under an id that is none".
const UNUSABLE: &str = "unusable";
const CENTS: [u32; 4] = [25, 49, 75, 95];

/// Makes up so many sessions.
pub(super) fn sessions(number: u32, seed: u64) -> Vec<Session> {
    let mut random = Rng::with_seed(seed);
    let mut sessions: Vec<_> = (0..number).map(|nth| session(kind_of(nth, number), &mut random)).collect();
    random.shuffle(&mut sessions);
    for (session, order) in sessions.iter_mut().zip(1_001..) {
        session.reference_id = format!("order-{order}");
        if let Some(at_provider) = &mut session.at_provider {
            at_provider.reference_id = Some(session.reference_id.clone());
        }
    }
    sessions
}

/// Hands out the kinds in their proportions, whatever the number.
fn kind_of(nth: u32, number: u32) -> &'static Kind {
    let place = (u64::from(nth) * 1_000 + 500) / u64::from(number);
    let mut end = 0;
    let found = KINDS.iter().find(|kind| {
        end += u64::from(kind.of_thousand);
        place < end
    });
    found.unwrap_or(&KINDS[0])
}

fn session(kind: &Kind, random: &mut Rng) -> Session {
    let id = Builder::from_random_bytes(random.u128(..).to_le_bytes()).into_uuid();
    let age_s = f64::from(random.u32(kind.minutes.start * 60 + 1..kind.minutes.end * 60));
    let amount = random.u32(5..400);
    let cents = random.choice(CENTS).unwrap_or_default();
    let is_usable = kind.status != UNUSABLE;
    Session {
        id: if is_usable { id.to_string() } else { format!("test-{}", id.as_fields().0) },
        reference_id: String::new(),
        status: if is_usable { kind.status } else { "abandoned" },
        age_s,
        at_provider: kind
            .at_provider
            .map(|(status, details)| at_provider(id, status, details, f64::from(amount) + f64::from(cents) / 100.0)),
    }
}

fn at_provider(id: Uuid, status: &str, details: &str, amount: f64) -> NewSession {
    NewSession {
        session_id: Some(id),
        status: Some(status.to_owned()),
        status_details: Some(details.to_owned()),
        amount: Number::from_f64(amount),
        ..NewSession::default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_kinds_add_up_to_a_thousand() {
        assert_eq!(KINDS.iter().map(|kind| kind.of_thousand).sum::<u32>(), 1_000);
    }

    #[test]
    fn the_same_seed_makes_up_the_same_sessions() {
        assert_eq!(sessions(300, 7), sessions(300, 7));
        assert_ne!(sessions(300, 7), sessions(300, 8));
    }

    #[test]
    fn some_hundred_sessions_are_of_every_kind_and_no_id_comes_twice() {
        let sessions = sessions(300, 7);
        let ids: HashSet<_> = sessions.iter().map(|session| &session.id).collect();
        assert_eq!(ids.len(), 300);
        let kinds: HashSet<_> = (0..300).map(|nth| std::ptr::from_ref(kind_of(nth, 300))).collect();
        assert_eq!(kinds.len(), KINDS.len());
        let unusable = sessions.iter().filter(|session| Uuid::try_parse(&session.id).is_err());
        assert!((1..=2).contains(&unusable.count()));
    }

    #[test]
    fn a_single_session_can_be_made_up() {
        assert_eq!(sessions(1, 0).len(), 1);
    }
}
