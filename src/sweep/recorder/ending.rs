//! The end of a session for which no request was sent: of one that is claimed, or of one that was asked for before.
//!
//! It only says how each of the two is written; when, and what where it is not, is the writer's.

use std::collections::HashSet;

use uuid::Uuid;

use super::super::telling;
use crate::ledger::{Ended, Error, Ledger, Settled};
use crate::outcome::Said;
use crate::session::{Names, State};

/// What the writer does with both kinds alike.
pub(super) trait Ending: Clone + Send + Sync {
    fn names(&self) -> Names;
    fn state(&self) -> State;
    fn said(&self) -> &Said;
    fn without_outside_texts(&self) -> Self;

    /// In full, because no row holds it.
    fn tell_unwritten(&self) {
        telling::unsettled(self.names(), self.state(), self.said());
    }

    /// Writes a batch. Returns those that were still ours, also where an earlier call had written them.
    fn write(
        ledger: &Ledger,
        sweep: Option<Uuid>,
        endings: &[Self],
    ) -> impl Future<Output = Result<HashSet<Uuid>, Error>> + Send;
}

impl Ending for Settled {
    fn names(&self) -> Names {
        Settled::names(self)
    }

    fn state(&self) -> State {
        self.state
    }

    fn said(&self) -> &Said {
        &self.said
    }

    fn without_outside_texts(&self) -> Self {
        Self { said: self.said.clone().without_outside_texts(), ..self.clone() }
    }

    async fn write(ledger: &Ledger, sweep: Option<Uuid>, endings: &[Self]) -> Result<HashSet<Uuid>, Error> {
        ledger.settle(sweep, endings).await
    }
}

impl Ending for Ended {
    fn names(&self) -> Names {
        self.question.names()
    }

    fn state(&self) -> State {
        State::AlreadyTerminal
    }

    fn said(&self) -> &Said {
        &self.said
    }

    fn without_outside_texts(&self) -> Self {
        Self { said: self.said.clone().without_outside_texts(), ..self.clone() }
    }

    async fn write(ledger: &Ledger, sweep: Option<Uuid>, endings: &[Self]) -> Result<HashSet<Uuid>, Error> {
        ledger.end_asked(sweep, endings).await
    }
}
