//! Decides which fault a request meets.
//!
//! The draw hangs on the seed, the endpoint, the session and how often it was asked, never on the order of arrival: the same
//! requests meet the same faults however many are under way at once.

use std::time::Duration;

use uuid::Uuid;

use super::fault::{Fault, Kind};
use super::faults::{EndpointFaults, Faults, SessionFaults};
use super::log::Endpoint;

/// What was drawn for one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Draw {
    pub(super) latency: Duration,
    pub(super) fault: Fault,
}

/// Which request this is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) session_id: Option<Uuid>,
    /// Requests for this session at this endpoint before this one; for the endpoint as a whole where there is no session.
    pub(super) before: u64,
}

/// Draws for one request.
pub(super) fn draw(seed: u64, asked: Asked, faults: &Faults, of_session: Option<&SessionFaults>) -> Draw {
    let mut random = fastrand::Rng::with_seed(stable_hash(seed, asked));
    let own = of_session.and_then(|faults| match asked.endpoint {
        Endpoint::Cancel => faults.cancel.as_ref(),
        Endpoint::Status => faults.status.as_ref(),
        _ => None,
    });
    let scopes = match (own, asked.endpoint) {
        (Some(own), _) => vec![own],
        (None, Endpoint::Authorize) => vec![&faults.everywhere, &faults.authorize],
        (None, Endpoint::Create) => vec![&faults.everywhere, &faults.create],
        (None, Endpoint::Cancel) => vec![&faults.everywhere, &faults.cancel],
        (None, Endpoint::Status) => vec![&faults.everywhere, &faults.status],
        (None, Endpoint::Elsewhere) => vec![&faults.everywhere],
    };
    let latency = scopes
        .iter()
        .map(|scope| scope.latency_ms.saturating_add(random.u64(0..=scope.jitter_ms)))
        .fold(0, u64::saturating_add);
    let fault =
        scopes.iter().find_map(|scope| nth(scope, asked.before)).unwrap_or_else(|| share(&scopes, random.f64()));
    Draw { latency: Duration::from_millis(latency), fault }
}

fn nth(scope: &EndpointFaults, before: u64) -> Option<Fault> {
    usize::try_from(before).ok().and_then(|before| scope.first.get(before)).copied()
}

/// Lays the shares end to end and sees into which one the roll falls.
fn share(scopes: &[&EndpointFaults], roll: f64) -> Fault {
    let mut end = 0.0;
    let mut shares = scopes.iter().flat_map(|scope| &scope.shares);
    let hit = shares.find(|(_, share)| {
        end += **share;
        roll < end
    });
    hit.map_or(Fault::from(Kind::None), |(fault, _)| *fault)
}

/// FNV-1a. The standard library's hasher may change with a release, and with it every draw.
fn stable_hash(seed: u64, asked: Asked) -> u64 {
    let endpoint = asked.endpoint.as_str().as_bytes();
    let session = asked.session_id.unwrap_or_default().into_bytes();
    let parts = [&seed.to_le_bytes()[..], endpoint, &session, &asked.before.to_le_bytes()];
    parts
        .concat()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults() -> Faults {
        let mut faults = Faults::default();
        faults.cancel.shares.insert(Kind::Code(503).into(), 0.25);
        faults.everywhere.shares.insert(Kind::Reset.into(), 0.25);
        faults
    }

    fn kinds(seed: u64) -> Vec<Kind> {
        let asked = |number| Asked { endpoint: Endpoint::Cancel, session_id: Some(Uuid::from_u128(number)), before: 0 };
        (0..4000).map(|number| draw(seed, asked(number), &faults(), None).fault.kind).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        assert_eq!(kinds(7), kinds(7));
        assert_ne!(kinds(7), kinds(8));
    }

    #[test]
    fn shares_are_met() {
        let kinds = kinds(7);
        for wanted in [Kind::Code(503), Kind::Reset] {
            let met = kinds.iter().filter(|kind| **kind == wanted).count();
            assert!((900..1100).contains(&met), "{wanted:?}: {met} of 4000");
        }
    }

    #[test]
    fn a_session_of_its_own_faults_meets_no_others() {
        let own = SessionFaults { cancel: Some(EndpointFaults::first([Kind::Timeout])), status: None };
        let asked = |before| Asked { endpoint: Endpoint::Cancel, session_id: None, before };
        let always = Faults { cancel: EndpointFaults::always(Kind::Code(500)), ..Faults::default() };
        assert_eq!(draw(0, asked(0), &always, Some(&own)).fault.kind, Kind::Timeout);
        assert_eq!(draw(0, asked(1), &always, Some(&own)).fault.kind, Kind::None);
        assert_eq!(draw(0, asked(1), &always, None).fault.kind, Kind::Code(500));
    }
}
