//! Which token a request carries: one for all until its end, or one for each cancel.
//!
//! Never sends: whoever wants a token brings the way to get one. Never trusts anything but `expires_in` and the answers.

mod detection;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use secrecy::ExposeSecret;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use self::detection::{Detection, Usage};
use super::NotBegun;
use super::wire::Grant;
use crate::config::TokenUse;

/// A token is renewed this long before its end at the most; for short lives it is a fifth of them.
const MARGIN: Duration = Duration::from_secs(30);

/// One token, ready to be sent.
#[derive(Debug)]
pub(super) struct Token {
    number: u64,
    authorization: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
    accepted: AtomicBool,
    served: AtomicU32,
}

impl Token {
    /// The value of the `Authorization` header, marked as secret.
    pub(super) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }
}

/// A token to send one cancel with. While it is not known how tokens are used, holding it keeps other cancels waiting.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) token: Arc<Token>,
    _alone: Option<OwnedSemaphorePermit>,
}

/// What the last authorize call came to.
#[derive(Debug, Default)]
struct Slot {
    current: Option<Arc<Token>>,
    failure: Option<NotBegun>,
    /// Authorize calls finished so far.
    calls: u64,
}

/// Every token of this process.
#[derive(Debug)]
pub(super) struct Tokens {
    detection: Mutex<Detection>,
    alone: Arc<Semaphore>,
    call: tokio::sync::Mutex<()>,
    slot: Mutex<Slot>,
    numbers: AtomicU64,
}

impl Tokens {
    pub(super) fn new(setting: TokenUse) -> Self {
        Self {
            detection: Mutex::new(Detection::new(setting)),
            alone: Arc::new(Semaphore::new(1)),
            call: tokio::sync::Mutex::default(),
            slot: Mutex::default(),
            numbers: AtomicU64::new(1),
        }
    }

    /// A token for one cancel; `authorize` is called where there is none to share.
    pub(super) async fn for_cancel(
        &self,
        until: Instant,
        authorize: impl AsyncFnOnce() -> Result<Arc<Token>, NotBegun>,
    ) -> Result<Turn, NotBegun> {
        // Counted before waiting for a turn: a refusal meanwhile is this cancel's answer too, not asked for again.
        let seen = lock(&self.slot).calls;
        let alone = self.alone_while_undecided(until).await?;
        let token = match self.usage() {
            Usage::Single => authorize().await?,
            Usage::Undecided | Usage::Shared => self.shared(seen, until, authorize).await?,
        };
        Ok(Turn { token, _alone: alone })
    }

    /// A token for a status request. Only one that is known to be shareable is shared: it must not spend a cancel's.
    pub(super) async fn for_status(
        &self,
        until: Instant,
        authorize: impl AsyncFnOnce() -> Result<Arc<Token>, NotBegun>,
    ) -> Result<Arc<Token>, NotBegun> {
        match self.usage() {
            Usage::Shared => {
                let seen = lock(&self.slot).calls;
                self.shared(seen, until, authorize).await
            }
            Usage::Undecided | Usage::Single => authorize().await,
        }
    }

    /// Makes a token of a grant that was asked for at `asked`: its life counts from before the request.
    pub(super) fn issue(&self, grant: &Grant, asked: Instant) -> Result<Token, &'static str> {
        let bearer = format!("Bearer {}", grant.access_token.expose_secret());
        let mut authorization = HeaderValue::from_str(&bearer).map_err(|_| "without a usable access_token")?;
        authorization.set_sensitive(true);
        let margin = MARGIN.min(grant.life / 5);
        Ok(Token {
            number: self.numbers.fetch_add(1, Ordering::Relaxed),
            authorization,
            renew_at: asked + grant.life.saturating_sub(margin),
            ends_at: asked + grant.life,
            accepted: AtomicBool::new(false),
            served: AtomicU32::new(0),
        })
    }

    /// Learns from the code that answered a cancel; true where no earlier answer had accepted the token.
    pub(super) fn answered(&self, token: &Arc<Token>, code: Option<u16>) -> bool {
        let mut detection = lock(&self.detection);
        let fresh = !token.accepted.load(Ordering::Relaxed);
        let found = match code {
            None | Some(403) => None,
            Some(401) => {
                if Instant::now() < token.ends_at {
                    detection.refused(token.number, token.served.load(Ordering::Relaxed));
                }
                self.discard(token);
                None
            }
            Some(code) => {
                token.accepted.store(true, Ordering::Relaxed);
                proves_use(code)
                    .then(|| detection.served(token.number, token.served.fetch_add(1, Ordering::Relaxed) + 1))
                    .flatten()
            }
        };
        drop(detection);
        self.tell(found);
        fresh
    }

    /// Shares this token no more.
    pub(super) fn discard(&self, token: &Arc<Token>) {
        let mut slot = lock(&self.slot);
        if slot.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, token)) {
            slot.current = None;
        }
    }

    /// Shares no token any more that was got so far.
    pub(super) fn forget(&self) {
        lock(&self.slot).current = None;
    }

    fn tell(&self, found: Option<Usage>) {
        match found {
            Some(Usage::Shared) => {
                tracing::info!(event = "token.shared", "one token serves many cancels: it is shared until its end");
            }
            Some(Usage::Single) => {
                lock(&self.slot).current = None;
                tracing::warn!(
                    event = "token.single_use",
                    "the provider refuses tokens that served once: each cancel gets its own from now on"
                );
            }
            Some(Usage::Undecided) | None => {}
        }
    }

    async fn alone_while_undecided(&self, until: Instant) -> Result<Option<OwnedSemaphorePermit>, NotBegun> {
        if self.usage() != Usage::Undecided {
            return Ok(None);
        }
        let turn = timeout_at(until.into(), Arc::clone(&self.alone).acquire_owned()).await;
        let permit = turn.map_err(|_| NotBegun::TooLate)?.map_err(|_| NotBegun::TooLate)?;
        // It may have been found out while this cancel waited.
        Ok((self.usage() == Usage::Undecided).then_some(permit))
    }

    /// The token in use, or the next: one authorize call at a time, and all who waited for it, having seen so many calls
    /// before, use what it brought.
    async fn shared(
        &self,
        seen: u64,
        until: Instant,
        authorize: impl AsyncFnOnce() -> Result<Arc<Token>, NotBegun>,
    ) -> Result<Arc<Token>, NotBegun> {
        if let Some(token) = usable(&lock(&self.slot)) {
            return Ok(token);
        }
        let _call = timeout_at(until.into(), self.call.lock()).await.map_err(|_| NotBegun::TooLate)?;
        if let Some(brought) = self.brought_since(seen) {
            return brought;
        }
        let result = authorize().await;
        // Too late is this caller's own matter, and nothing was asked where it was held back: the next one tries again.
        if !matches!(result, Err(NotBegun::TooLate | NotBegun::HeldBack)) {
            let mut slot = lock(&self.slot);
            slot.calls += 1;
            (slot.current, slot.failure) = (result.as_ref().ok().cloned(), result.as_ref().err().cloned());
        }
        result
    }

    fn brought_since(&self, seen: u64) -> Option<Result<Arc<Token>, NotBegun>> {
        let slot = lock(&self.slot);
        if slot.calls == seen {
            return usable(&slot).map(Ok);
        }
        usable(&slot).map(Ok).or_else(|| slot.failure.clone().map(Err))
    }

    pub(super) fn is_undecided(&self) -> bool {
        self.usage() == Usage::Undecided
    }

    fn usage(&self) -> Usage {
        lock(&self.detection).usage()
    }
}

fn usable(slot: &Slot) -> Option<Arc<Token>> {
    slot.current.clone().filter(|token| Instant::now() < token.renew_at)
}

/// Whether an answer shows that the API itself took the token: a gateway in front may not have looked at it.
fn proves_use(code: u16) -> bool {
    matches!(code, 200..=299 | 400..=499) && !matches!(code, 408 | 425 | 429)
}

/// Nothing here panics under the lock; a poisoned one would hold whole values all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
