//! The environment brake: a process whose API is none that this database's sessions belong to sends nothing at all.
//!
//! It looks at the database at most once a second, whatever is under way, and hears from it what time it is.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Error, Shared};
use crate::clocks::Reading;
use crate::config::UnknownApi;
use crate::ledger::{Api, ApiStanding, Brake, Look};

/// How long one look is good for; a retired API gets no request that was begun later than this.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// What this process knows of its standing.
pub(super) struct Environment {
    api: Api,
    unknown: UnknownApi,
    last: Mutex<Last>,
}

#[derive(Clone, Copy, Default)]
struct Last {
    looked: Option<Instant>,
    refused: bool,
}

impl Environment {
    /// Nothing has been looked up yet.
    pub(super) fn new(api: Api, unknown: UnknownApi) -> Self {
        Self { api, unknown, last: Mutex::default() }
    }

    fn last_locked(&self) -> Last {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_locked(&self, refused: bool) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last { looked: Some(Instant::now()), refused };
    }

    /// Whether the API was refused at the last look.
    pub(super) fn is_refused(&self) -> bool {
        self.last_locked().refused
    }

    /// What is wrong with the API and what to do; none where it may be sent to.
    fn refusal(&self, standing: &ApiStanding) -> Option<String> {
        let origin = &self.api.origin;
        match standing {
            ApiStanding::Accepted => None,
            ApiStanding::First | ApiStanding::Unknown => Some(format!(
                "the API at {origin} with this api.client_id is none of those that this database's sessions were accepted \
                 for, so nothing is sent to it; if it is the right one, say `geft-sweeper accept-api --actor NAME`"
            )),
            ApiStanding::Retired { by } => Some(format!(
                "the API at {origin} with this api.client_id was retired by {by}, so nothing is sent to it; configure the \
                 one that took its place, or say `geft-sweeper accept-api --actor NAME`"
            )),
        }
    }
}

impl Shared {
    /// Whether this process may send, by a look that is a second old at the most.
    pub(super) async fn may_send(&self) -> Result<bool, Error> {
        let last = self.environment.last_locked();
        if last.looked.is_some_and(|looked| looked.elapsed() < GOOD_FOR) {
            return Ok(!last.refused);
        }
        self.look_at_environment().await
    }

    /// Whether this process may send, looked up now.
    pub(super) async fn look_at_environment(&self) -> Result<bool, Error> {
        let mut look = self.look().await?;
        if self.tried_to_be_accepted(&look.standing).await? {
            // Where another process was faster, this look tells how this one stands.
            look = self.look().await?;
        }
        let refusal = self.environment.refusal(&look.standing);
        self.environment.note_locked(refusal.is_some());
        match &refusal {
            Some(sentence) if self.brakes.sentence(Brake::Environment).as_ref() == Some(sentence) => {}
            Some(sentence) => self.apply_brake(Brake::Environment, sentence).await?,
            None => self.lift_brake(Brake::Environment).await?,
        }
        Ok(refusal.is_none())
    }

    /// Looks again and again, so that who waits for slow answers does not overlook that the API was retired.
    pub(super) async fn keep_looking(&self) -> Infallible {
        loop {
            tokio::time::sleep(GOOD_FOR).await;
            if let Err(error) = self.look_at_environment().await {
                // Said by whoever needs the database next; until then nothing is claimed.
                tracing::debug!(event = "api.not_looked_up", error.message = %error, "it is not known whether the API is still accepted");
            }
        }
    }

    /// How long until something is due; no sooner than the next look where nothing may be sent.
    pub(super) async fn next_due(&self) -> Result<Option<Duration>, Error> {
        let due = self.ledger.next_due(self.claimable()).await?;
        Ok(if self.environment.is_refused() { due.map(|due| due.max(GOOD_FOR)) } else { due })
    }

    async fn look(&self) -> Result<Look, Error> {
        let look = self.ledger.look_at(&self.environment.api).await?;
        self.clocks.note_database(Reading { stood_at: look.stood_at, asked: look.asked, answered: look.answered });
        Ok(look)
    }

    /// Accepts the API by itself where that is wanted; false where it was not tried.
    async fn tried_to_be_accepted(&self, standing: &ApiStanding) -> Result<bool, Error> {
        let unknown = match (standing, self.environment.unknown) {
            (ApiStanding::First, _) => false,
            (ApiStanding::Unknown, UnknownApi::Accept) => true,
            (ApiStanding::Unknown, UnknownApi::Refuse) | (ApiStanding::Accepted | ApiStanding::Retired { .. }, _) => {
                return Ok(false);
            }
        };
        let accepted = self.ledger.accept_by_itself(&self.environment.api, unknown).await?;
        if accepted {
            tracing::info!(
                event = "api.accepted",
                api.origin = self.environment.api.origin,
                "sessions of this database are sent to this API from now on"
            );
        }
        Ok(true)
    }
}
