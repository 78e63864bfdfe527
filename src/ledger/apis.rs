//! The APIs that the sessions of this database may be sent to: by address and client id, so that the keys of a sandbox
//! never meet the rows of production.
//!
//! It never sends and never says what becomes of an API that is not among them.

use std::time::Instant;

use chrono::{DateTime, Utc};

use super::{Error, Ledger};

/// An API as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    /// Scheme, host and port; the scheme's usual port is left out.
    pub origin: String,
    /// The client id that is sent with the credentials.
    pub client_id: String,
}

/// How an API stands with this database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiStanding {
    /// It may be sent to.
    Accepted,
    /// No API was ever accepted here: the first is accepted by itself.
    First,
    /// Others were accepted, and this one never.
    Unknown,
    /// It was accepted once, until somebody retired it.
    Retired {
        /// Who did.
        by: String,
    },
}

/// What one look at the database told.
#[derive(Clone, Debug)]
pub struct Look {
    /// How the API stands.
    pub standing: ApiStanding,
    /// Where the database's clock stood at some moment between the next two.
    pub stood_at: DateTime<Utc>,
    /// Just before the database was asked.
    pub asked: Instant,
    /// When its answer was there.
    pub answered: Instant,
}

impl Ledger {
    /// Looks how an API stands, and what time it is.
    pub async fn look_at(&self, api: &Api) -> Result<Look, Error> {
        let asked = Instant::now();
        let statement = sqlx::query!(
            r#"/* geft-sweeper ledger.look_at_api */
               SELECT clock_timestamp() AS "stood_at!", EXISTS (SELECT FROM geft_sweeper.accepted_apis) AS "any!",
                      (SELECT id FROM geft_sweeper.accepted_apis
                        WHERE origin = $1 AND client_id = $2 AND retired_at IS NULL) AS accepted,
                      (SELECT retired_by FROM geft_sweeper.accepted_apis
                        WHERE origin = $1 AND client_id = $2 ORDER BY id DESC LIMIT 1) AS retired_by"#,
            api.origin,
            api.client_id,
        )
        .fetch_one(self.database.pool());
        let row = self.run("looking whether the API is accepted", statement).await?;
        let answered = Instant::now();
        self.sends_to.set_locked(row.accepted);
        let standing = match (row.accepted, row.retired_by) {
            (Some(_), _) => ApiStanding::Accepted,
            (None, Some(by)) => ApiStanding::Retired { by },
            (None, None) if row.any => ApiStanding::Unknown,
            (None, None) => ApiStanding::First,
        };
        Ok(Look { standing, stood_at: row.stood_at, asked, answered })
    }

    /// Accepts an API because a person said so. False where it was accepted already.
    pub async fn accept_api(&self, api: &Api, actor: &str) -> Result<bool, Error> {
        let accepting = Box::pin(async {
            let mut transaction = self.database.pool().begin().await?;
            take_turn(&mut transaction).await?;
            let statement = sqlx::query!(
                "/* geft-sweeper ledger.accept_api */
                 INSERT INTO geft_sweeper.accepted_apis (origin, client_id, accepted_by) VALUES ($1, $2, $3)
                 ON CONFLICT (origin, client_id) WHERE retired_at IS NULL DO NOTHING",
                api.origin,
                api.client_id,
                actor,
            );
            let done = statement.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(done.rows_affected() > 0)
        });
        self.run("accepting an API", accepting).await
    }

    /// Accepts an API by itself, in the name of this process: the first that there ever was, or with `unknown` any that
    /// was never accepted before. False where it is neither.
    pub async fn accept_by_itself(&self, api: &Api, unknown: bool) -> Result<bool, Error> {
        let accepting = Box::pin(async {
            let mut transaction = self.database.pool().begin().await?;
            take_turn(&mut transaction).await?;
            let statement = sqlx::query!(
                "/* geft-sweeper ledger.accept_by_itself */
                 INSERT INTO geft_sweeper.accepted_apis (origin, client_id, accepted_by)
                 SELECT $1, $2, $3
                  WHERE NOT EXISTS (SELECT FROM geft_sweeper.accepted_apis
                                     WHERE NOT $4 OR (origin = $1 AND client_id = $2))",
                api.origin,
                api.client_id,
                self.instance.name(),
                unknown,
            );
            let done = statement.execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(done.rows_affected() > 0)
        });
        self.run("accepting an API", accepting).await
    }

    /// Retires an accepted API, and tells which live processes sent to it; none where it is not accepted.
    pub async fn retire_api(&self, api: &Api, actor: &str) -> Result<Option<Vec<String>>, Error> {
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.retire_api */
               WITH retired AS (
                   UPDATE geft_sweeper.accepted_apis SET retired_at = clock_timestamp(), retired_by = $3
                    WHERE origin = $1 AND client_id = $2 AND retired_at IS NULL
                   RETURNING id)
               SELECT ARRAY(SELECT instance FROM geft_sweeper.processes
                             WHERE api = retired.id AND seen_at > now() - interval '1 minute' ORDER BY instance) AS "users!"
                 FROM retired"#,
            api.origin,
            api.client_id,
            actor,
        )
        .fetch_optional(self.database.pool());
        self.run("retiring an API", statement).await
    }
}

/// Locks: accepting, until the end of the transaction. Of two APIs that are both the first, only one then is.
async fn take_turn(transaction: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("/* geft-sweeper ledger.lock_apis */ SELECT pg_advisory_xact_lock(hashtext('geft_sweeper.apis'))")
        .execute(transaction)
        .await
        .map(drop)
}
