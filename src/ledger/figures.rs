//! The figures that are watched: the backlog, what is still payable, what was paid lately, and the last sweep that ended
//! well.
//!
//! It only reads, and through indexes that hold open sessions alone: sessions that have ended cost nothing, however many.

use super::{Error, Ledger};

/// Where things stand, all processes together. Ages are in seconds, by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Sessions in the state `pending`.
    pub pending: f64,
    /// Sessions in the state `in_flight`.
    pub in_flight: f64,
    /// How long ago the pending session that waits longest was due; 0 where none is due.
    pub oldest_due_s: f64,
    /// The age of the oldest session taken on that has not ended, from when the merchant created it or, where the source
    /// does not tell, from when it was taken on; 0 where every session has ended.
    pub oldest_open_s: f64,
    /// Sessions found paid after abandonment within the last hour.
    pub paid_within_hour: f64,
    /// How long ago a sweep last ran to its end, or where none ever did, how long ago the first began; none where there
    /// was none.
    pub last_sweep_s: Option<f64>,
}

impl Ledger {
    /// Reads the figures. The cost grows with the sessions that are open.
    pub async fn figures(&self) -> Result<Figures, Error> {
        let statement = sqlx::query_as!(
            Figures,
            r#"/* geft-sweeper ledger.figures */
               SELECT pending.number AS "pending!", in_flight.number AS "in_flight!",
                      greatest(extract(epoch FROM now() - pending.due), 0)::float8 AS "oldest_due_s!",
                      greatest(extract(epoch FROM now() - least(pending.created, in_flight.created)), 0)::float8
                          AS "oldest_open_s!",
                      (SELECT count(*) FROM geft_sweeper.paid_after_abandonment
                        WHERE found_at > now() - interval '1 hour')::float8 AS "paid_within_hour!",
                      extract(epoch FROM now() - coalesce(
                          (SELECT finished_at FROM geft_sweeper.sweeps WHERE status = 'finished'
                            ORDER BY started_at DESC LIMIT 1),
                          (SELECT min(started_at) FROM geft_sweeper.sweeps)))::float8 AS last_sweep_s
                 FROM (SELECT count(*)::float8 AS number, min(due_at) AS due,
                              min(coalesce(source_created_at, discovered_at)) AS created
                         FROM geft_sweeper.cancellations WHERE due_at IS NOT NULL) pending,
                      (SELECT coalesce(sum(held.number), 0)::float8 AS number, min(held.created) AS created
                         FROM geft_sweeper.claims k,
                              LATERAL (SELECT count(*) AS number, min(coalesce(source_created_at, discovered_at)) AS created
                                         FROM geft_sweeper.cancellations c
                                        WHERE c.session_id = ANY (k.session_ids) AND claim = k.token AND state = 'in_flight')
                              AS held
                        WHERE open > 0) in_flight"#
        )
        .fetch_one(self.database.pool());
        self.run("reading the figures for /metrics", statement).await
    }
}
