//! The sessions of the sandbox and how they change.
//!
//! A session that ends by itself is brought up to date when it is looked at: there is no timer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Number;
use uuid::Uuid;

use super::faults::SessionFaults;
use super::log::Endpoint;

/// A session as the sandbox holds it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub session_id: Uuid,
    /// The merchant's reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_id: Option<String>,
    /// Its status, word for word.
    pub status: String,
    /// Its `EFTnnnn` code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_details: Option<String>,
    /// The amount, shown by status alone.
    pub amount: Option<Number>,
}

/// A session to be put in, or what is to change in one: what is left out has its default, or stays as it is.
///
/// The provider's words are in camel case, the sandbox's own in snake case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewSession {
    /// Its id; made up at random where it is left out.
    #[serde(rename = "sessionId")]
    pub session_id: Option<Uuid>,
    /// The merchant's reference.
    #[serde(rename = "referenceId")]
    pub reference_id: Option<String>,
    /// Its status, word for word; `Initiated` where it is left out.
    pub status: Option<String>,
    /// Its `EFTnnnn` code; where it is left out, the status's usual one.
    #[serde(rename = "statusDetails")]
    pub status_details: Option<String>,
    /// The amount.
    pub amount: Option<Number>,
    /// What it turns into by itself, unless it has ended before.
    pub becomes: Option<Becomes>,
    /// Short for becoming `Expired`.
    pub expires_after_ms: Option<u64>,
    /// Faults of its own.
    pub faults: Option<SessionFaults>,
}

/// What a session turns into by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Becomes {
    /// The new status.
    pub status: String,
    /// The new code; where it is left out, the status's usual one.
    #[serde(rename = "statusDetails", default)]
    pub status_details: Option<String>,
    /// When, in milliseconds from now.
    pub after_ms: u64,
}

#[derive(Clone, Debug)]
struct Change {
    at: Instant,
    status: String,
    status_details: Option<String>,
}

#[derive(Debug)]
struct Held {
    session: Session,
    change: Option<Change>,
    faults: Option<Arc<SessionFaults>>,
}

/// What is known of an id, whether there is a session or not.
#[derive(Debug, Default)]
struct Slot {
    held: Option<Held>,
    cancels: u64,
    statuses: u64,
    canceling: u32,
    asking: u32,
}

impl Slot {
    fn tally(&mut self, endpoint: Endpoint) -> (&mut u64, &mut u32) {
        match endpoint {
            Endpoint::Cancel => (&mut self.cancels, &mut self.canceling),
            _ => (&mut self.statuses, &mut self.asking),
        }
    }
}

/// How a request meets a session on arrival.
#[derive(Debug, Default)]
pub(super) struct Met {
    /// Requests for it at the same endpoint before this one.
    pub(super) before: u64,
    /// Requests for it at the same endpoint under way, this one among them.
    pub(super) in_flight: u32,
    pub(super) faults: Option<Arc<SessionFaults>>,
}

/// What a cancel came upon.
#[derive(Debug)]
pub(super) enum Canceling {
    Unknown,
    Ended(Session),
    Done(Session),
}

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Uuid, Slot>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a session in, in the place of any with that id.
    pub(super) fn insert(&self, new: NewSession, expire_after: Option<Duration>) -> Session {
        let now = Instant::now();
        let status = new.status.unwrap_or_else(|| "Initiated".to_owned());
        let session = Session {
            session_id: new.session_id.unwrap_or_else(Uuid::new_v4),
            reference_id: new.reference_id,
            status_details: new.status_details.or_else(|| usual_details(&status)),
            status,
            amount: new.amount,
        };
        let expire_after = new.expires_after_ms.map(Duration::from_millis).or(expire_after);
        let change = change(now, new.becomes, expire_after);
        let held = Held { session: session.clone(), change, faults: new.faults.map(Arc::new) };
        self.lock().entry(session.session_id).or_default().held = Some(held);
        session
    }

    /// Changes what is given, and nothing else; none where there is no such session.
    pub(super) fn update(&self, id: Uuid, new: NewSession) -> Option<Session> {
        let mut slots = self.lock();
        let held = current(&mut slots, id)?;
        if let Some(status) = new.status {
            held.session.status_details = usual_details(&status);
            held.session.status = status;
            held.change = None;
        }
        held.session.status_details = new.status_details.or(held.session.status_details.take());
        held.session.reference_id = new.reference_id.or(held.session.reference_id.take());
        held.session.amount = new.amount.or(held.session.amount.take());
        held.faults = new.faults.map(Arc::new).or(held.faults.take());
        let expire_after = new.expires_after_ms.map(Duration::from_millis);
        held.change = change(Instant::now(), new.becomes, expire_after).or(held.change.take());
        Some(held.session.clone())
    }

    pub(super) fn get(&self, id: Uuid) -> Option<Session> {
        current(&mut self.lock(), id).map(|held| held.session.clone())
    }

    /// Cancels a session that has not ended; the status is written as given.
    pub(super) fn cancel(&self, id: Uuid, spelling: &str) -> Canceling {
        let mut slots = self.lock();
        let Some(held) = current(&mut slots, id) else { return Canceling::Unknown };
        if is_final(&held.session.status) {
            return Canceling::Ended(held.session.clone());
        }
        spelling.clone_into(&mut held.session.status);
        held.session.status_details = usual_details(spelling);
        Canceling::Done(held.session.clone())
    }

    /// Counts a request for this id.
    pub(super) fn arrive(&self, id: Uuid, endpoint: Endpoint) -> Met {
        let mut slots = self.lock();
        let slot = slots.entry(id).or_default();
        let faults = slot.held.as_ref().and_then(|held| held.faults.clone());
        let (asked, in_flight) = slot.tally(endpoint);
        let before = *asked;
        *asked += 1;
        *in_flight += 1;
        Met { before, in_flight: *in_flight, faults }
    }

    /// The request is over.
    pub(super) fn leave(&self, id: Uuid, endpoint: Endpoint) {
        if let Some(slot) = self.lock().get_mut(&id) {
            let (_, in_flight) = slot.tally(endpoint);
            *in_flight = in_flight.saturating_sub(1);
        }
    }

    /// Cancel requests that arrived for this id.
    pub(super) fn cancels(&self, id: Uuid) -> u64 {
        self.lock().get(&id).map_or(0, |slot| slot.cancels)
    }
}

/// The session as of now.
fn current(slots: &mut HashMap<Uuid, Slot>, id: Uuid) -> Option<&mut Held> {
    let held = slots.get_mut(&id)?.held.as_mut()?;
    if let Some(change) = held.change.take_if(|change| change.at <= Instant::now())
        && !is_final(&held.session.status)
    {
        held.session.status = change.status;
        held.session.status_details = change.status_details;
    }
    Some(held)
}

fn change(now: Instant, becomes: Option<Becomes>, expire_after: Option<Duration>) -> Option<Change> {
    let expired = || expire_after.map(|after| (after, "Expired".to_owned(), None));
    let (after, status, details) = becomes
        .map(|becomes| (Duration::from_millis(becomes.after_ms), becomes.status, becomes.status_details))
        .or_else(expired)?;
    let status_details = details.or_else(|| usual_details(&status));
    // What lies beyond the clock's range never comes.
    Some(Change { at: now.checked_add(after)?, status, status_details })
}

fn is_final(status: &str) -> bool {
    ["Completed", "Failed", "Canceled", "Cancelled", "Expired"].iter().any(|end| end.eq_ignore_ascii_case(status))
}

fn usual_details(status: &str) -> Option<String> {
    let details = match status {
        "Initiated" => "EFT0101",
        "Completed" => "EFT0301",
        "Failed" => "EFT0401",
        "Canceled" | "Cancelled" => "EFT0501",
        "Expired" => "EFT0601",
        _ => return None,
    };
    Some(details.to_owned())
}
