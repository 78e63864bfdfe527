//! Brakes as this process knows them: each is noted for everybody, said once when it acts and once when it is lifted.
//!
//! It decides nothing; who sees a danger comes here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Error, Shared, measures};
use crate::ledger::Brake;

/// The brakes that this process knows to act, each with the sentence that says what is wrong and what to do.
#[derive(Debug, Default)]
pub(super) struct Brakes(Mutex<BTreeMap<&'static str, String>>);

impl Brakes {
    /// What acts now: name and sentence.
    pub(super) fn acting(&self) -> Vec<(&'static str, String)> {
        self.acting_locked().iter().map(|(name, sentence)| (*name, sentence.clone())).collect()
    }

    /// What this process says of a brake; none where it does not act.
    pub(super) fn sentence(&self, brake: Brake) -> Option<String> {
        self.acting_locked().get(brake.as_str()).cloned()
    }

    fn acting_locked(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// A brake acts. Said where this process did not know it, whoever saw the danger first.
    pub(super) async fn apply_brake(&self, brake: Brake, sentence: &str) -> Result<(), Error> {
        self.ledger.apply_brake(brake, sentence).await?;
        self.note_brake(brake, Some(sentence));
        Ok(())
    }

    /// The danger is over. Costs nothing where this process does not know the brake to act.
    pub(super) async fn lift_brake(&self, brake: Brake) -> Result<(), Error> {
        if !self.brakes.acting_locked().contains_key(brake.as_str()) {
            return Ok(());
        }
        self.ledger.lift_brake(brake).await?;
        self.note_brake(brake, None);
        Ok(())
    }

    /// Notes what the database has of a brake: another process may have applied or lifted it. Said where it is news.
    pub(super) fn note_brake(&self, brake: Brake, sentence: Option<&str>) {
        let before = match sentence {
            Some(sentence) => self.brakes.acting_locked().insert(brake.as_str(), sentence.to_owned()),
            None => self.brakes.acting_locked().remove(brake.as_str()),
        };
        measures::brake(brake, sentence.is_some());
        match sentence {
            Some(sentence) if before.is_none() => {
                tracing::error!(event = "brake.applied", brake.name = brake.as_str(), "{sentence}");
            }
            None if before.is_some() => {
                tracing::info!(event = "brake.lifted", brake.name = brake.as_str(), "a brake acts no more");
            }
            _ => {}
        }
    }
}
