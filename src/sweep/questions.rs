//! `in_progress = "wait"`: an aged session is asked for its status before it is claimed, and left alone while the customer
//! is at it.
//!
//! Each question is a task of its own. An end goes to the recorder, as every other; who is left for later is gathered, and
//! written by the loop in batches. A process that dies in between loses nothing: the session is due again, and asked for
//! again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::ahead::Unanswered;
use super::attempt::STATUS_AGAIN;
use super::spans::{self, Batch};
use super::{Error, Shared, measures, telling};
use crate::config::InProgress;
use crate::geft::StatusAnswer;
use crate::ledger::{Aged, Ended, Left, Question};
use crate::outcome::{Disposition, Said};
use crate::session::State;
use crate::throttle::Entry;
use crate::traces::Span;

/// The status of a session that the customer is at, letter case aside.
const IN_PROGRESS: &str = "InProgress";

/// Answers that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Answers(Mutex<Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    left: Vec<Left>,
    /// Those that may be claimed.
    cleared: Vec<Question>,
}

impl Answers {
    fn gathered_locked(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, left: Left) {
        self.gathered_locked().left.push(left);
    }
}

impl Shared {
    /// Begins to ask for at most `room` aged sessions, where they are to be asked for. Returns for how many.
    pub(super) async fn begin_asking(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        sweep: Option<Uuid>,
        room: u32,
    ) -> Result<u32, Error> {
        let Aged::WaitedFor(grace) = self.claimable() else { return Ok(0) };
        if room == 0 {
            return Ok(0);
        }
        let began = self.spans.now();
        let questions = self.ledger.reserve_questions(room, sweep, grace, self.lease).await?;
        let number = u32::try_from(questions.len()).unwrap_or(u32::MAX);
        let batch = self.spans.batch(began, sweep, questions.len());
        for question in questions {
            tasks.spawn(Arc::clone(self).ask_before_claiming(question, batch.clone(), self.ahead.count()));
        }
        self.sharing.begin();
        Ok(number)
    }

    async fn ask_before_claiming(self: Arc<Self>, mut question: Question, batch: Batch, unanswered: Unanswered) {
        let entry = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            entry = self.gate.enter() => Some(entry),
        };
        let Some(Entry::Passed(pass)) = entry.filter(|_| !self.environment.is_refused()) else {
            return self.answers.leave(Left { question, in_progress: false, again: None });
        };
        let pass = unanswered.with(pass);
        if !self.may_begin(&pass).await {
            drop(pass);
            return self.answers.leave(Left { question, in_progress: false, again: None });
        }
        let mut span = self.spans.question(&batch, question.names());
        question.trace = span.as_ref().map(Span::context);
        let may_send = || self.may_ask(&pass);
        let answer = self.client.status(question.names(), question.deadline, may_send).await;
        spans::asked(&mut span, answer.as_ref().ok());
        let Ok(answer) = answer else {
            drop(pass);
            return self.answers.leave(Left { question, in_progress: false, again: None });
        };
        let is_believed = self.observe_status(&pass, question.session_id, &answer);
        drop(pass);
        if !is_believed {
            return self.answers.leave(Left { question, in_progress: false, again: None });
        }
        self.take_in(question, answer).await;
    }

    /// How long a session is waited for; nobody is where that is not wanted.
    fn grace(&self) -> Duration {
        match self.settings.in_progress {
            InProgress::Wait { grace } => grace,
            InProgress::Cancel => Duration::ZERO,
        }
    }

    async fn take_in(&self, question: Question, answer: StatusAnswer) {
        let names = question.names();
        match answer {
            StatusAnswer::Final(said) => self.end_asked(Ended { question, said }).await,
            StatusAnswer::Open(said) if is_in_progress(&said) => {
                telling::waiting(names);
                self.answers.leave(Left { question, in_progress: true, again: Some(self.grace()) });
            }
            StatusAnswer::Open(_) | StatusAnswer::NotFound => self.answers.gathered_locked().cleared.push(question),
            StatusAnswer::NoAnswer { error, retry_after } => {
                telling::status_unanswered(names, &error);
                let again = Some(retry_after.unwrap_or_default().max(STATUS_AGAIN));
                self.answers.leave(Left { question, in_progress: false, again });
            }
        }
    }

    /// At most `room` sessions that were asked for and may be claimed. While the clocks disagree none may.
    pub(super) fn take_cleared(&self, room: u32) -> Vec<Question> {
        if self.claimable() == Aged::None {
            self.give_back_cleared();
        }
        let mut gathered = self.answers.gathered_locked();
        let number = gathered.cleared.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        gathered.cleared.drain(..number).collect()
    }

    /// Gives back what was asked for and is not going to be claimed.
    pub(super) fn give_back_cleared(&self) {
        let mut gathered = self.answers.gathered_locked();
        let given_back = std::mem::take(&mut gathered.cleared).into_iter();
        gathered.left.extend(given_back.map(|question| Left { question, in_progress: false, again: None }));
    }

    /// Writes who is left for later. What is not written waits in memory for the next time.
    pub(super) async fn write_left(&self, sweep: Option<Uuid>) -> Result<(), Error> {
        let left = std::mem::take(&mut self.answers.gathered_locked().left);
        if left.is_empty() {
            return Ok(());
        }
        let written = self.ledger.leave_asked(sweep, &left, self.grace()).await;
        if written.is_err() {
            self.answers.gathered_locked().left.extend(left);
        }
        Ok(written?)
    }

    async fn end_asked(&self, ended: Ended) {
        if self.recorder.end_asked(ended.clone()).await {
            self.progress.count_attempt(Disposition::Done(State::AlreadyTerminal));
            measures::session_ended(State::AlreadyTerminal);
            telling::paid(ended.question.names(), &ended.said);
        }
    }
}

fn is_in_progress(said: &Said) -> bool {
    said.session_status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case(IN_PROGRESS))
}
