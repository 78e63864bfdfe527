//! Questions for the status of aged sessions before they are claimed: who asks, what comes of it, and who waits.
//!
//! A session that is asked for stays `pending`, without lease and attempt number. Until it is answered, its due time is
//! when the question is given up: that keeps others from asking, and after a crash the session is due again by itself.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::claim::Row;
use super::{Error, Ledger};
use crate::outcome::Said;
use crate::session::{Claim, Names, SessionId, TraceContext};

/// What is kept of a question's time for writing the answer down.
const MARGIN: Duration = Duration::from_secs(5);

/// The right to ask for a session's status before it is claimed.
#[derive(Clone, Debug)]
pub struct Question {
    /// The session.
    pub session_id: SessionId,
    /// The sweep that took it on.
    sweep_id: Uuid,
    /// The moment by which it must be answered, by the monotonic clock.
    pub deadline: Instant,
    /// When somebody else may ask, by the database's clock; the mark under which the session is ours until then.
    until: DateTime<Utc>,
    /// When the session was due before.
    due: DateTime<Utc>,
    /// The span of the question, once it has begun and where traces are on.
    pub trace: Option<TraceContext>,
}

impl Question {
    /// What the session is found by.
    #[must_use]
    pub fn names(&self) -> Names {
        Names { session_id: self.session_id, sweep_id: self.sweep_id, attempt: None, claim: None, trace: self.trace }
    }
}

/// A row of the statement that reserves.
struct Reserved {
    session_id: Uuid,
    sweep_id: Uuid,
    until: DateTime<Utc>,
    due: DateTime<Utc>,
}

/// A session that turned out to have ended when it was asked for.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The question.
    pub question: Question,
    /// What the provider said.
    pub said: Said,
}

/// A session that was asked for and is neither ended nor claimed.
#[derive(Clone, Debug)]
pub struct Left {
    /// The question.
    pub question: Question,
    /// The customer is at it.
    pub in_progress: bool,
    /// When it is asked for again at the latest; none: nothing was asked, and it is as it was.
    pub again: Option<Duration>,
}

impl Ledger {
    /// Reserves at most `limit` aged sessions for a question: those that are due, and those waited for that were not
    /// asked for since this sweep began. Who has waited for `grace` is not asked for any more.
    pub async fn reserve_questions(
        &self,
        limit: u32,
        sweep: Option<Uuid>,
        grace: Duration,
        patience: Duration,
    ) -> Result<Vec<Question>, Error> {
        let asked = Instant::now();
        // Locks: the chosen rows until the end of the statement, and only those that nobody else has locked.
        let statement = sqlx::query_as!(
            Reserved,
            r#"/* geft-sweeper ledger.reserve_questions */
               WITH due AS (
                   SELECT session_id, due_at FROM geft_sweeper.cancellations
                    WHERE reason = 'aged' AND due_at <= now()
                      AND (waiting_since IS NULL OR waiting_since > now() - $3::float8 * interval '1 second')
                    ORDER BY due_at, session_id LIMIT $1 FOR UPDATE SKIP LOCKED),
               waiting AS (
                   SELECT session_id, due_at FROM geft_sweeper.cancellations
                    WHERE reason = 'aged' AND due_at > now()
                      AND waiting_since > now() - $3::float8 * interval '1 second'
                      AND to_ask_at < (SELECT started_at FROM geft_sweeper.sweeps WHERE id = $2)
                    ORDER BY to_ask_at, session_id LIMIT $1 FOR UPDATE SKIP LOCKED),
               chosen AS (SELECT * FROM due UNION ALL SELECT * FROM waiting LIMIT $1)
               UPDATE geft_sweeper.cancellations c
                  SET next_attempt_at = now() + $4::float8 * interval '1 second', asked_at = NULL
                 FROM chosen WHERE c.session_id = chosen.session_id
               RETURNING c.session_id, c.sweep_id, c.next_attempt_at AS "until!", chosen.due_at AS "due!""#,
            i64::from(limit),
            sweep,
            grace.as_secs_f64(),
            patience.as_secs_f64(),
        )
        .fetch_all(self.database.pool());
        let rows = self.run("reserving questions", statement).await?;
        let deadline = asked + patience.saturating_sub(MARGIN);
        let question = |Reserved { session_id, sweep_id, until, due }| Question {
            session_id: SessionId::from(session_id),
            sweep_id,
            deadline,
            until,
            due,
            trace: None,
        };
        Ok(rows.into_iter().map(question).collect())
    }

    /// Ends sessions that had ended before anybody canceled them. Returns those that were still ours; to ask again after
    /// a failure is safe, for what was written is recognised.
    pub async fn end_asked(&self, sweep: Option<Uuid>, ended: &[Ended]) -> Result<HashSet<Uuid>, Error> {
        let mut ours: HashSet<Uuid> = self.end_those_asked(sweep, ended).await?.into_iter().collect();
        if ours.len() < ended.len() {
            ours.extend(self.asked_ended_before(ended).await?);
        }
        Ok(ours)
    }

    /// Which of these sessions an earlier call ended although its answer was lost: nobody else could before `until`, and
    /// we never do after it.
    async fn asked_ended_before(&self, ended: &[Ended]) -> Result<Vec<Uuid>, Error> {
        let (ids, marks) = keys(ended.iter().map(|ended| &ended.question));
        let statement = sqlx::query_scalar!(
            "/* geft-sweeper ledger.asked_ended_before */
             SELECT c.session_id FROM UNNEST($1::uuid[], $2::timestamptz[]) AS ours(session_id, until)
               JOIN geft_sweeper.cancellations c USING (session_id)
              WHERE c.state = 'already_terminal' AND c.finished_at < ours.until",
            &ids,
            &marks,
        )
        .fetch_all(self.database.pool());
        self.run("looking for sessions that were asked for and ended before", statement).await
    }

    async fn end_those_asked(&self, sweep: Option<Uuid>, ended: &[Ended]) -> Result<Vec<Uuid>, Error> {
        let (ids, marks) = keys(ended.iter().map(|ended| &ended.question));
        let texts = |text: fn(&Said) -> &Option<String>| -> Vec<Option<String>> {
            ended.iter().map(|ended| text(&ended.said).clone()).collect()
        };
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.end_asked */
               WITH ended AS (
                   UPDATE geft_sweeper.cancellations c
                      SET state = 'already_terminal', next_attempt_at = NULL, finished_at = now(),
                          session_status = ours.session_status, status_details = ours.status_details,
                          amount = coalesce(ours.amount::numeric, c.amount)
                     FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[])
                          AS ours(session_id, until, session_status, status_details, amount)
                    WHERE c.session_id = ours.session_id AND c.next_attempt_at = ours.until AND c.state = 'pending'
                      AND now() < ours.until
                   RETURNING c.session_id, c.session_status),
               tallied AS (
                   UPDATE geft_sweeper.sweeps
                      SET already_terminal = already_terminal + (SELECT count(*) FROM ended),
                          paid_after_abandonment = paid_after_abandonment + (SELECT count(*) FROM ended
                              WHERE lower(session_status) = 'completed')
                    WHERE id = $6)
               SELECT session_id FROM ended"#,
            &ids,
            &marks,
            &texts(|said| &said.session_status) as &[Option<String>],
            &texts(|said| &said.status_details) as &[Option<String>],
            &texts(|said| &said.amount) as &[Option<String>],
            sweep,
        )
        .fetch_all(self.database.pool());
        self.run("ending sessions that had ended before", statement).await
    }

    /// Leaves sessions for later: until they are asked for again, but where the customer is at it no longer than `grace`
    /// from when that was first found. Who was never found so is asked for again, however often that takes.
    pub async fn leave_asked(&self, sweep: Option<Uuid>, left: &[Left], grace: Duration) -> Result<(), Error> {
        let (ids, marks) = keys(left.iter().map(|left| &left.question));
        let due: Vec<DateTime<Utc>> = left.iter().map(|left| left.question.due).collect();
        let in_progress: Vec<bool> = left.iter().map(|left| left.in_progress).collect();
        let again: Vec<Option<f64>> = left.iter().map(|left| left.again.map(|again| again.as_secs_f64())).collect();
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.leave_asked */
             WITH ours AS (
                 SELECT o.*, coalesce(c.waiting_since, CASE WHEN o.in_progress THEN clock_timestamp() END) AS since
                   FROM UNNEST($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::bool[], $5::float8[])
                        AS o(session_id, until, due, in_progress, again)
                   JOIN geft_sweeper.cancellations c USING (session_id)),
             waiting AS (
                 UPDATE geft_sweeper.cancellations c
                    SET waiting_since = ours.since,
                        asked_at = CASE WHEN ours.since IS NOT NULL THEN clock_timestamp() END,
                        next_attempt_at = CASE WHEN ours.again IS NULL THEN ours.due
                                               ELSE least(clock_timestamp() + ours.again * interval '1 second',
                                                          ours.since + $6::float8 * interval '1 second') END
                   FROM ours
                  WHERE c.session_id = ours.session_id AND c.next_attempt_at = ours.until AND c.state = 'pending'
                 RETURNING ours.in_progress)
             UPDATE geft_sweeper.sweeps
                SET waiting = waiting + (SELECT count(*) FROM waiting WHERE in_progress) WHERE id = $7",
            &ids,
            &marks,
            &due,
            &in_progress,
            &again as &[Option<f64>],
            grace.as_secs_f64(),
            sweep,
        )
        .execute(self.database.pool());
        self.run("leaving sessions for later", statement).await?;
        Ok(())
    }

    /// Claims sessions that were asked for, as long as they are ours: they may be canceled.
    pub async fn claim_asked(&self, asked: &[Question], lease: Duration) -> Result<Vec<Claim>, Error> {
        let (ids, marks) = keys(asked.iter());
        let statement = async |token: Uuid| {
            sqlx::query_as!(
                Row,
                r#"/* geft-sweeper ledger.claim_asked */
                   WITH claimed AS (
                       UPDATE geft_sweeper.cancellations c
                          SET state = 'in_flight', attempts = attempts + 1, claim = $3, next_attempt_at = now()
                         FROM UNNEST($1::uuid[], $2::timestamptz[]) AS ours(session_id, until)
                        WHERE c.session_id = ours.session_id AND c.next_attempt_at = ours.until AND c.state = 'pending'
                       RETURNING c.*),
                   registered AS (
                       INSERT INTO geft_sweeper.claims (token, instance, claimed_at, lease_until, session_ids, open)
                       SELECT $3, $4, clock_timestamp(), clock_timestamp() + $5::float8 * interval '1 second',
                              array_agg(session_id), count(*)
                         FROM claimed HAVING count(*) > 0
                       RETURNING claimed_at)
                   SELECT session_id AS "session_id!", coalesce(source_key, session_id::text) AS "source_key!", reason AS "reason!", sweep_id AS "sweep_id!",
                          attempts AS "attempts!", counted_attempts AS "counted_attempts!", uncounted_running AS "uncounted_running!",
                      may_have_had_effect AS "may_have_had_effect!", registered.claimed_at, next_attempt_at AS "due!",
                          coalesce(uncounted_running > 0 AND last_outcome NOT IN ('unauthorized', 'rate_limited'), false) AS "after_outage!",
                          coalesce(last_outcome = 'interrupted', false) AS "after_interruption!"
                     FROM claimed, registered"#,
                &ids,
                &marks,
                token,
                self.instance.name(),
                lease.as_secs_f64(),
            )
            .fetch_all(self.database.pool())
            .await
        };
        self.claimed_by(lease, statement).await
    }
}

fn keys<'asked>(questions: impl Iterator<Item = &'asked Question>) -> (Vec<Uuid>, Vec<DateTime<Utc>>) {
    questions.map(|question| (question.session_id.uuid(), question.until)).unzip()
}
