//! The loop: claim what is due, look again, and pursue each session in a task of its own.
//!
//! It claims no more than can be sent soon, and waits for everything that it began.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::attempt::Intent;
use super::spans::Batch;
use super::{Error, Shared, measures, telling};
use crate::outcome::{self, Circumstances, Disposition, Outcome};
use crate::session::Claim;
use crate::source::Source;
use crate::throttle::HeldBack;

/// Leases that ran out, taken over at a time.
const TAKEN_OVER_AT_ONCE: u32 = 500;
/// Sessions claimed while cancels go out one after the other, because it is not known how tokens are used.
const AT_ONE_A_TIME: usize = 4;
/// A lease is so many times as long as what is claimed may wait to be sent.
pub(super) const SENT_WITHIN: u32 = 4;
/// For how long is claimed ahead, where the provider is quick and the database too.
const AHEAD: Duration = Duration::from_millis(250);
/// A database that takes longer for a batch of results is not quick; nor is one that takes so much of a lease, since
/// several batches may wait and must be written before it ends.
const QUICK: (Duration, u32) = (Duration::from_secs(1), 20);
/// Sessions whose results may wait there to be recorded, beside those that are claimed ahead: two batches.
const TO_RECORD: usize = 1_000;
/// The pause between two looks for leases that ran out.
const BETWEEN_TAKEOVERS: Duration = Duration::from_secs(1);
/// How long nothing more is claimed after nothing was due, while attempts are still under way.
const NOTHING_DUE: Duration = Duration::from_millis(100);

/// Why working ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is due.
    Idle,
    /// Sending is held back.
    Held(HeldBack),
    /// The process was asked to stop.
    Stopped,
    /// The API is none that this database's sessions may be sent to.
    Refused,
    /// More may be due; the time for it is over.
    Unfinished,
}

/// What is to be done next.
pub(super) enum Turn {
    /// Nothing more.
    End(End),
    /// So many sessions may be begun.
    Room(usize),
    /// To wait until more have ended.
    Wait,
}

impl Shared {
    /// Works until nothing is due, sending is held back, or the process is to stop; where `until` is given no longer than
    /// that. What was begun is finished.
    pub(super) async fn work(self: &Arc<Self>, until: Option<Instant>) -> Result<End, Error> {
        loop {
            match self.work_beside(async |tasks| self.fill(tasks, until).await).await {
                (Ok(End::Idle), true) => {}
                (end, _) => return end,
            }
        }
    }

    /// Lets `fill` begin tasks, and sees each of them to its end, whatever ended `fill`. Wakes are answered beside it; true
    /// where there may be more to do for that.
    pub(super) async fn work_beside(
        self: &Arc<Self>,
        fill: impl AsyncFnOnce(&mut JoinSet<()>) -> Result<End, Error>,
    ) -> (Result<End, Error>, bool) {
        // Boxed, so that who looks beside it does not carry it along.
        let working = Box::pin(async {
            tokio::select! {
                end = self.work_to_the_end(fill) => end,
                never = self.keep_looking() => match never {},
            }
        });
        self.look_beside(working).await
    }

    async fn work_to_the_end(
        self: &Arc<Self>,
        fill: impl AsyncFnOnce(&mut JoinSet<()>) -> Result<End, Error>,
    ) -> Result<End, Error> {
        self.progress.begin();
        let mut tasks = JoinSet::new();
        // Boxed: whoever waits for it does not carry it along.
        let end = Box::pin(fill(&mut tasks)).await;
        if !matches!(end, Ok(End::Idle)) {
            self.give_back_doubtful(&mut tasks).await;
        }
        while let Some(done) = tasks.join_next().await {
            self.note_end_of_task(done);
        }
        self.give_back_cleared();
        let left = self.write_left(self.current_sweep_locked()).await;
        self.have_last_word().await;
        // What is left is taken up at once where only the time for it was over.
        self.progress.set_working(matches!(end, Ok(End::Unfinished)));
        match self.recorder.take_unwritten() {
            0 => end.and_then(|end| left.map(|()| end)),
            unwritten => Err(Error::Unwritten(unwritten)),
        }
    }

    /// Begins what is due, as there is room.
    pub(super) async fn fill(self: &Arc<Self>, tasks: &mut JoinSet<()>, until: Option<Instant>) -> Result<End, Error> {
        let mut nothing_due_before = None;
        loop {
            nothing_due_before = nothing_due_before.filter(|until| Instant::now() < *until);
            let may_claim = nothing_due_before.is_none() && !self.recorder.is_failing();
            match self.turn(tasks, until, may_claim).await? {
                Turn::End(end) => return Ok(end),
                Turn::Room(room) => {
                    let claimed = self.begin(tasks, room).await?;
                    if claimed > 0 {
                        self.progress.set_working(true);
                    }
                    if claimed == 0 && tasks.is_empty() {
                        if self.compare_clocks().await? {
                            continue;
                        }
                        return Ok(End::Idle);
                    }
                    // Fewer than there was room for: no more is due just now, but may be before any attempt ends.
                    nothing_due_before = (claimed < room).then(|| Instant::now() + NOTHING_DUE);
                }
                Turn::Wait => {}
            }
            if self.wait_for_room(tasks, nothing_due_before).await {
                nothing_due_before = None;
            }
        }
    }

    /// Whether it is time to begin more, and how many. Where nothing is under way it is, whatever `may_claim` says.
    pub(super) async fn turn(
        &self,
        tasks: &JoinSet<()>,
        until: Option<Instant>,
        may_claim: bool,
    ) -> Result<Turn, Error> {
        if self.stop.is_cancelled() {
            return Ok(Turn::End(End::Stopped));
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(Turn::End(End::Unfinished));
        }
        self.heed_clocks().await?;
        if let Some(held) = self.held_back_now() {
            return Ok(Turn::End(End::Held(held)));
        }
        let is_quick = self.recorder.writes_within(QUICK.0.min(self.lease / QUICK.1));
        let (time, to_record) = if is_quick { (AHEAD, TO_RECORD) } else { (Duration::ZERO, 0) };
        let per_second = self.per_second.unwrap_or(f64::INFINITY);
        let mut ahead = self.gate.worth_claiming(time, self.lease / SENT_WITHIN, per_second);
        if self.client.sends_one_at_a_time() {
            ahead = ahead.min(AT_ONE_A_TIME);
        }
        let in_hand = ahead.saturating_add(to_record).saturating_sub(tasks.len());
        let room = ahead.saturating_sub(self.ahead.number(ahead / 2)).min(in_hand);
        if !(tasks.is_empty() || may_claim) || room * 2 < ahead {
            return Ok(Turn::Wait);
        }
        if !self.may_send().await? {
            return Ok(Turn::End(End::Refused));
        }
        self.ledger.prove_rights().await?;
        self.share_holds().await?;
        Ok(self.held_back_now().map_or(Turn::Room(room), |held| Turn::End(End::Held(held))))
    }

    fn held_back_now(&self) -> Option<HeldBack> {
        self.gate.held_back().filter(|held| Instant::now() < held.until)
    }

    /// Claims at most `room` sessions and begins to pursue them, or to ask for them first. Returns how many.
    pub(super) async fn begin(self: &Arc<Self>, tasks: &mut JoinSet<()>, room: usize) -> Result<usize, Error> {
        let source = self.inspected().await?;
        let sweep = self.current_sweep_locked();
        self.take_over(sweep).await?;
        let room = u32::try_from(room).unwrap_or(u32::MAX);
        let cleared = self.take_cleared(room);
        self.write_left(sweep).await?;
        let asked = Instant::now();
        let began = self.spans.now();
        let claims = if cleared.is_empty() {
            self.ledger.claim_preferring(&self.gate.preferred(), room, self.lease, self.claimable()).await?
        } else {
            self.ledger.claim_asked(&cleared, self.lease).await?
        };
        measures::claimed(claims.len(), asked.elapsed());
        let claimed = u32::try_from(claims.len()).unwrap_or(u32::MAX);
        let batch = self.spans.batch(began, sweep, claims.len());
        self.pursue_all(tasks, &source, claims, &batch).await?;
        let asked = self.begin_asking(tasks, sweep, room.saturating_sub(claimed)).await?;
        Ok(usize::try_from(claimed.saturating_add(asked)).unwrap_or(usize::MAX))
    }

    /// Begins to pursue claimed sessions.
    pub(super) async fn pursue_all(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        source: &Source,
        claims: Vec<Claim>,
        batch: &Batch,
    ) -> Result<(), Error> {
        for (claim, intent) in self.look_again(tasks, source, claims).await? {
            tasks.spawn(Arc::clone(self).pursue(claim, intent, batch.clone(), self.ahead.count()));
        }
        self.sharing.begin();
        Ok(())
    }

    pub(super) fn current_sweep_locked(&self) -> Option<Uuid> {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what was claimed although the answer was lost, where the database tells it now.
    async fn give_back_doubtful(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        // Where it does not, the next claim asks again, and at the end of the process the lease takes care.
        for claim in self.ledger.claimed_in_doubt(self.lease).await.unwrap_or_default() {
            self.give_back(tasks, claim);
        }
    }

    fn give_back(self: &Arc<Self>, tasks: &mut JoinSet<()>, claim: Claim) {
        let shared = Arc::clone(self);
        tasks.spawn(async move { shared.recorder.release(claim, None).await });
    }

    /// Takes over sessions whose lease ran out; looks for them once a second at the most.
    pub(super) async fn take_over(&self, sweep: Option<Uuid>) -> Result<(), Error> {
        {
            let mut looked = self.looked_for_expired.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.is_some_and(|looked| looked.elapsed() < BETWEEN_TAKEOVERS) {
                return Ok(());
            }
            *looked = Some(Instant::now());
        }
        let pause = |counted| self.pause_after_interruption(counted);
        let (mut at_once, mut passed_over) = (TAKEN_OVER_AT_ONCE, 0);
        loop {
            match self.ledger.take_over(sweep, at_once, passed_over, pause).await {
                Ok(0) => return Ok(()),
                Ok(number) => telling::taken_over(number),
                // One row that the database refuses must not hold up the others: they go one by one, past it.
                Err(error) if error.is_about_data() && at_once > 1 => at_once = 1,
                Err(error) if error.is_about_data() => {
                    telling::not_taken_over(&error);
                    passed_over += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The pause before an attempt that was interrupted is repeated; none where it spent the budget.
    fn pause_after_interruption(&self, counted: u32) -> Option<Duration> {
        let circumstances = Circumstances {
            counted,
            max_attempts: self.policy.max_attempts(),
            backoff: self.policy.pause(counted),
            retry_after: None,
            uncounted_running: 0,
            status_unanswered: false,
            after_outage: false,
            probe: false,
        };
        match outcome::disposition(Outcome::Interrupted, circumstances) {
            Disposition::Retry { after, .. } => Some(after),
            Disposition::Done(_) | Disposition::Failed => None,
        }
    }

    /// Asks the source whether it still names the claimed sessions, and decides what is meant with each.
    ///
    /// Where the source cannot be asked the claims are given back: nothing is sent on an old word.
    async fn look_again(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        source: &Source,
        claims: Vec<Claim>,
    ) -> Result<Vec<(Claim, Intent)>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = claims.iter().map(|claim| claim.source_key.clone()).collect();
        let named = async {
            let mut connection = self.acquire("looking at the source again").await?;
            self.limited(source.still_named(&mut connection, &keys)).await
        };
        match named.await {
            Ok(named) => Ok(claims
                .into_iter()
                .map(|claim| {
                    let intent = Intent::of(&claim, named.contains(&claim.source_key), &self.policy);
                    (claim, intent)
                })
                .collect()),
            Err(error) => {
                // Its columns may have changed since it was inspected.
                *self.source.lock().unwrap_or_else(PoisonError::into_inner) = None;
                for claim in claims {
                    self.give_back(tasks, claim);
                }
                Err(error)
            }
        }
    }

    /// True where sessions may have been taken on meanwhile.
    pub(super) async fn wait_for_room(&self, tasks: &mut JoinSet<()>, nothing_due_before: Option<Instant>) -> bool {
        let pause = async {
            match nothing_due_before {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        let mut taken_on = false;
        tokio::select! {
            Some(done) = tasks.join_next() => self.note_end_of_task(done),
            () = self.ahead.fallen() => {}
            () = self.stop.cancelled() => {}
            () = pause => {}
            () = self.taken_on.notified() => taken_on = true,
        }
        while let Some(done) = tasks.try_join_next() {
            self.note_end_of_task(done);
        }
        taken_on
    }

    /// A task that panicked leaves its session claimed; the lease takes care of it.
    fn note_end_of_task(&self, done: Result<(), tokio::task::JoinError>) {
        self.progress.beat();
        if let Err(error) = done {
            tracing::error!(event = "attempt.broken", error.message = %error, "an attempt broke off; its session is taken over when its lease ends");
        }
    }
}
