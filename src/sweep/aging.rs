//! The clocks brake: while the API and the database do not agree on the time, nothing is canceled for its age.
//!
//! Abandoned sessions go on. The brake lifts by itself: where only aged sessions are left, the API is asked for nothing
//! but the time, now and then.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Error, Shared};
use crate::clocks::{Difference, Verdict};
use crate::config::InProgress;
use crate::ledger::{Aged, Brake};
use crate::session::Reason;
use crate::throttle::Entry;

/// How often the API is asked for the time where there is no other answer to tell it, the sweeps aside.
const BETWEEN_ROUNDS: Duration = Duration::from_mins(1);
/// Answers in one round at the most: as many as it takes to be sure either way.
const ROUND: usize = 3;

impl Shared {
    /// Which aged sessions may be claimed.
    pub(super) fn claimable(&self) -> Aged {
        match (self.clocks.verdict(), self.settings.in_progress) {
            (Verdict::Doubtful(_) | Verdict::Disagree(_), _) => Aged::None,
            (_, InProgress::Wait { grace }) => Aged::WaitedFor(grace),
            (_, InProgress::Cancel) => Aged::All,
        }
    }

    /// Whether a session may be canceled by now: asked again after each wait.
    pub(super) fn may_cancel(&self, reason: &Reason) -> bool {
        let held = reason.is_age() && self.claimable() == Aged::None;
        !held && !self.environment.is_refused()
    }

    /// Notes for everybody what the clocks say. Costs nothing while they agree.
    pub(super) async fn heed_clocks(&self) -> Result<(), Error> {
        match self.clocks.verdict() {
            Verdict::Disagree(difference) if self.brakes.sentence(Brake::Clocks).is_none() => {
                self.apply_brake(Brake::Clocks, &self.disagreement(difference)).await
            }
            Verdict::Agree => self.lift_brake(Brake::Clocks).await,
            Verdict::NotCompared | Verdict::Untold | Verdict::Doubtful(_) | Verdict::Disagree(_) => Ok(()),
        }
    }

    /// Where aged sessions are held and nothing else is due, asks the API for the time. True where they may go on.
    pub(super) async fn compare_clocks(&self) -> Result<bool, Error> {
        if self.claimable() != Aged::None || !self.ledger.is_aged_due().await? || !self.is_round_due_locked() {
            return Ok(false);
        }
        for _ in 0..ROUND {
            if !self.may_send().await? {
                break;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = self.ask_for_time() => {}
            }
            let is_sure = match self.clocks.verdict() {
                Verdict::Agree | Verdict::NotCompared | Verdict::Untold => true,
                Verdict::Disagree(_) => !self.clocks.newest_agrees(),
                Verdict::Doubtful(_) => false,
            };
            if is_sure {
                break;
            }
        }
        self.heed_clocks().await?;
        if let Verdict::Doubtful(difference) = self.clocks.verdict() {
            self.apply_brake(Brake::Clocks, &self.disagreement(difference)).await?;
        }
        Ok(self.claimable() != Aged::None)
    }

    /// Why sessions that are due are not canceled for their age; none where none is due or they may be.
    pub(super) async fn held_for_age(&self) -> Result<Option<String>, Error> {
        self.heed_clocks().await?;
        let held = self.claimable() == Aged::None && self.ledger.is_aged_due().await?;
        Ok(self.brakes.sentence(Brake::Clocks).filter(|_| held))
    }

    /// Asks for a token, because that answer tells the time and changes nothing.
    async fn ask_for_time(&self) {
        let Entry::Passed(pass) = self.gate.enter().await else { return };
        if !self.may_begin(&pass).await {
            return;
        }
        let asked = self.client.authorize().await;
        drop(pass);
        if let Err(not_begun) = asked {
            self.note_not_begun(not_begun);
        }
    }

    /// Lets the next round begin at once: a sweep has begun.
    pub(super) fn allow_round_locked(&self) {
        *self.asked_for_time.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_round_due_locked(&self) -> bool {
        let mut asked = self.asked_for_time.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_some_and(|asked| asked.elapsed() < BETWEEN_ROUNDS) {
            return false;
        }
        *asked = Some(Instant::now());
        true
    }

    fn disagreement(&self, Difference { api, database }: Difference) -> String {
        let apart = (api - database).num_seconds();
        let direction = if apart < 0 { "behind" } else { "ahead" };
        format!(
            "the API's clock says {} when the database's stands at {}: {} {direction}, more than brakes.clock_tolerance \
             ({}), so nothing is canceled for its age; set the wrong clock right, and it goes on by itself",
            api.format("%Y-%m-%dT%H:%M:%SZ"),
            database.format("%Y-%m-%dT%H:%M:%SZ"),
            humantime::format_duration(Duration::from_secs(apart.unsigned_abs())),
            humantime::format_duration(self.clocks.tolerance()),
        )
    }
}
