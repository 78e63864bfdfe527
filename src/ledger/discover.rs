//! Taking sessions on: new candidates become rows, withdrawn ones become pending again, known ones are passed over.
//!
//! It never decides what a candidate is.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::claim::Taken;
use super::{Error, Intake, Ledger, intakes};
use crate::session::{Candidate, Claim};

/// A condition for the source's statement, true for a session that is not taken on. `{session_id}` stands for the
/// session's id there.
pub const NOT_TAKEN_ON: &str = "NOT EXISTS (SELECT FROM geft_sweeper.cancellations known \
     WHERE known.session_id = {session_id} AND known.state <> 'withdrawn')";

/// The same, but also true for a session whose next attempt is due: what a sweep would send for now.
pub const DUE_OR_NOT_TAKEN_ON: &str = "NOT EXISTS (SELECT FROM geft_sweeper.cancellations known \
     WHERE known.session_id = {session_id} AND known.state <> 'withdrawn' \
       AND NOT (known.state = 'pending' AND known.next_attempt_at <= now()))";

/// How far discovery has read a source that tells when its rows changed.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Everything changed before this moment has been seen, by the database's clock.
    pub changes_read_to: DateTime<Utc>,
    /// How long ago the last full pass was begun, in seconds.
    pub full_pass_age_s: f64,
}

/// Which of the sessions that are taken on are claimed in the same breath.
#[derive(Clone, Copy, Debug)]
pub struct Claiming {
    /// At the most so many.
    pub limit: usize,
    /// For how long.
    pub lease: Duration,
    /// Also those that are to be canceled for their age.
    pub aged: bool,
}

impl Ledger {
    /// Locks discovery for the transaction on this connection, and gives the moment at which the transaction began;
    /// none where another process discovers just now.
    pub async fn try_lock_discovery(&self, transaction: &mut PgConnection) -> Result<Option<DateTime<Utc>>, Error> {
        let statement = sqlx::query!(
            r#"/* geft-sweeper ledger.lock_discovery */
               SELECT pg_try_advisory_xact_lock(hashtext('geft_sweeper.discovery')) AS "locked!", now() AS "now!""#
        )
        .fetch_one(transaction);
        let row = self.run("locking discovery", statement).await?;
        Ok(row.locked.then_some(row.now))
    }

    /// Takes candidates on, all that are new or none: with them no more than `most` sessions may have been taken on within
    /// ten minutes, what is released apart. They must be distinct and ordered by id, so that two processes cannot wait for
    /// each other.
    pub async fn take_on(&self, sweep: Uuid, candidates: &[Candidate], most: u64) -> Result<Intake, Error> {
        let mut columns = Columns::default();
        for candidate in candidates {
            columns.push(candidate, None);
        }
        let (intake, _) = self.take_columns_on(sweep, &columns, most, Duration::ZERO).await?;
        Ok(intake)
    }

    /// The same, and claims the first of those that were never taken on before: they cost one write less.
    ///
    /// After a failure it is not known whether the claim was committed: the next claim reads it back by its token first.
    /// While that is so of an earlier claim, nothing is claimed here.
    pub async fn take_on_claiming(
        &self,
        sweep: Uuid,
        candidates: &[Candidate],
        most: u64,
        claiming: Claiming,
    ) -> Result<(Intake, Vec<Claim>), Error> {
        let token = (claiming.limit > 0 && self.doubtful.is_free_locked()).then(Uuid::new_v4);
        let asked_at = Instant::now();
        let mut columns = Columns::default();
        let mut room = claiming.limit;
        for candidate in candidates {
            let may = room > 0 && (claiming.aged || !candidate.reason.is_age());
            room -= usize::from(may);
            columns.push(candidate, token.filter(|_| may));
        }
        if let Some(token) = token {
            self.doubtful.set_locked(Some((token, asked_at)));
        }
        let (intake, claimed) = self.take_columns_on(sweep, &columns, most, claiming.lease).await?;
        if token.is_some() {
            self.doubtful.set_locked(None);
        }
        let (Some(token), Some((ids, claimed_at))) = (token, claimed.filter(|_| intake != Intake::Refused)) else {
            return Ok((intake, Vec::new()));
        };
        let batch =
            Taken { sweep_id: sweep, token, asked_at, answered_at: Instant::now(), claimed_at, lease: claiming.lease };
        let ids: HashSet<Uuid> = ids.into_iter().collect();
        let ours = candidates.iter().filter(|candidate| ids.contains(&candidate.session_id.uuid()));
        Ok((intake, ours.map(|candidate| batch.claim(candidate)).collect()))
    }

    async fn take_columns_on(
        &self,
        sweep: Uuid,
        columns: &Columns<'_>,
        most: u64,
        lease: Duration,
    ) -> Result<(Intake, Option<(Vec<Uuid>, DateTime<Utc>)>), Error> {
        let taking = async {
            let mut transaction = self.database.pool().begin().await?;
            intakes::lock(&mut transaction).await?;
            let (sessions, claimed) = self.insert(&mut transaction, sweep, columns, lease).await?;
            let intake = intakes::record(&mut transaction, sweep, sessions, most).await?;
            if intake == Intake::Refused {
                transaction.rollback().await?;
            } else {
                transaction.commit().await?;
            }
            Ok((intake, claimed))
        };
        self.run("taking sessions on", taking).await
    }

    /// Inserts those that are new: nobody else does until the end of the transaction. Tells how many that were, which of them are claimed, and since when.
    async fn insert(
        &self,
        transaction: &mut PgConnection,
        sweep: Uuid,
        columns: &Columns<'_>,
        lease: Duration,
    ) -> Result<(u64, Option<(Vec<Uuid>, DateTime<Utc>)>), sqlx::Error> {
        let statement = sqlx::query_file!(
            "src/ledger/take_on.sql",
            &columns.session_ids,
            &columns.source_keys as &[&str],
            &columns.reference_ids as &[Option<&str>],
            &columns.reasons as &[&str],
            &columns.statuses as &[Option<&str>],
            &columns.created as &[Option<DateTime<Utc>>],
            sweep,
            &columns.claims as &[Option<Uuid>],
            self.instance.name(),
            lease.as_secs_f64(),
        );
        let row = statement.fetch_one(transaction).await?;
        Ok((u64::try_from(row.taken).unwrap_or_default(), row.session_ids.zip(row.claimed_at)))
    }

    /// Adds to the sweep's count of source rows that could not be used.
    pub async fn count_skipped(&self, sweep: Uuid, skipped: u64) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.count_skipped */ UPDATE geft_sweeper.sweeps SET skipped = skipped + $2 WHERE id = $1",
            sweep,
            i64::try_from(skipped).unwrap_or(i64::MAX),
        )
        .execute(self.database.pool());
        self.run("counting skipped rows", statement).await?;
        Ok(())
    }

    /// How far this source has been read; none where it never was under these settings.
    pub async fn discovery_progress(&self, fingerprint: &str) -> Result<Option<Progress>, Error> {
        let statement = sqlx::query_as!(
            Progress,
            r#"/* geft-sweeper ledger.discovery_progress */
               SELECT changes_read_to, extract(epoch FROM now() - full_pass_at)::float8 AS "full_pass_age_s!"
                 FROM geft_sweeper.discovery WHERE fingerprint = $1"#,
            fingerprint,
        )
        .fetch_optional(self.database.pool());
        self.run("reading how far discovery is", statement).await
    }

    /// Notes what a census of the source found: rows whose status nobody mapped, and rows dated in the future.
    pub async fn note_census(&self, sweep: Uuid, left_alone: u64, dated_ahead: u64) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.note_census */
             UPDATE geft_sweeper.sweeps SET left_alone = $2, dated_ahead = $3 WHERE id = $1",
            sweep,
            i64::try_from(left_alone).unwrap_or(i64::MAX),
            i64::try_from(dated_ahead).unwrap_or(i64::MAX),
        )
        .execute(self.database.pool());
        self.run("noting the census of the source", statement).await?;
        Ok(())
    }

    /// Notes that everything changed before `read_to` has been read.
    pub async fn note_discovery(
        &self,
        fingerprint: &str,
        read_to: DateTime<Utc>,
        full_pass: bool,
    ) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.note_discovery */
             INSERT INTO geft_sweeper.discovery AS known (fingerprint, changes_read_to, full_pass_at) VALUES ($1, $2, $2)
             ON CONFLICT (fingerprint) DO UPDATE SET changes_read_to = excluded.changes_read_to,
                 full_pass_at = CASE WHEN $3 THEN excluded.full_pass_at ELSE known.full_pass_at END",
            fingerprint,
            read_to,
            full_pass,
        )
        .execute(self.database.pool());
        self.run("noting how far discovery is", statement).await?;
        Ok(())
    }
}

/// A page of candidates as the arrays that one statement takes.
#[derive(Default)]
struct Columns<'page> {
    session_ids: Vec<Uuid>,
    source_keys: Vec<&'page str>,
    reference_ids: Vec<Option<&'page str>>,
    reasons: Vec<&'page str>,
    statuses: Vec<Option<&'page str>>,
    created: Vec<Option<DateTime<Utc>>>,
    claims: Vec<Option<Uuid>>,
}

impl<'page> Columns<'page> {
    fn push(&mut self, candidate: &'page Candidate, claim: Option<Uuid>) {
        self.session_ids.push(candidate.session_id.uuid());
        self.source_keys.push(&candidate.source_key);
        self.reference_ids.push(candidate.reference_id.as_deref());
        self.reasons.push(candidate.reason.as_str());
        self.statuses.push(candidate.source_status.as_deref());
        self.created.push(candidate.source_created_at);
        self.claims.push(claim);
    }
}
