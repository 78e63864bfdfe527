//! The brakes that act against our own mistakes, as every process sees them.
//!
//! It keeps what acts and since when; whether a brake has to act is decided where the danger shows.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Error, Ledger};

/// What keeps sessions from being canceled by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Brake {
    /// So many sessions at once that the source or its mapping must be wrong: nothing new is taken on, anywhere.
    BlastRadius,
    /// The API is none that this database's sessions belong to: this process sends nothing.
    Environment,
    /// The API and the database do not agree on the time: this process cancels nothing for its age.
    Clocks,
}

impl Brake {
    /// Every brake.
    pub const ALL: [Self; 3] = [Self::BlastRadius, Self::Environment, Self::Clocks];

    /// The name in status, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlastRadius => "blast_radius",
            Self::Environment => "environment",
            Self::Clocks => "clocks",
        }
    }

    /// Whether it acts on every process, and not on the one alone that saw the danger.
    fn is_for_all(self) -> bool {
        self == Self::BlastRadius
    }
}

/// A brake that acts.
#[derive(Clone, Debug, Serialize)]
pub struct ActingBrake {
    /// Its name.
    pub name: String,
    /// The process that it acts on; none where it acts on all.
    pub instance: Option<String>,
    /// What is wrong and what to do.
    pub sentence: String,
    /// Since when, by the database's clock.
    pub acting_since: DateTime<Utc>,
}

impl Ledger {
    /// Notes that a brake acts; a sentence longer than 1,000 characters is cut.
    pub async fn apply_brake(&self, brake: Brake, sentence: &str) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.apply_brake */
             INSERT INTO geft_sweeper.brakes (name, instance, sentence) VALUES ($1, $2, left($3, 1000))
             ON CONFLICT (name, instance) DO UPDATE SET sentence = excluded.sentence",
            brake.as_str(),
            self.acting_on(brake),
            sentence,
        )
        .execute(self.database.pool());
        self.run("noting a brake", statement).await?;
        Ok(())
    }

    /// Notes that a brake acts no more.
    pub async fn lift_brake(&self, brake: Brake) -> Result<(), Error> {
        let statement = sqlx::query!(
            "/* geft-sweeper ledger.lift_brake */ DELETE FROM geft_sweeper.brakes WHERE name = $1 AND instance = $2",
            brake.as_str(),
            self.acting_on(brake),
        )
        .execute(self.database.pool());
        self.run("lifting a brake", statement).await?;
        Ok(())
    }

    /// The brakes that act: on all processes, or on one that is alive.
    pub async fn acting_brakes(&self) -> Result<Vec<ActingBrake>, Error> {
        let statement = sqlx::query_as!(
            ActingBrake,
            r#"/* geft-sweeper ledger.acting_brakes */
               SELECT name, nullif(instance, '') AS instance, sentence, acting_since
                 FROM geft_sweeper.brakes b
                WHERE instance = ''
                   OR EXISTS (SELECT FROM geft_sweeper.processes p
                               WHERE p.instance = b.instance AND p.seen_at > now() - interval '1 minute')
                ORDER BY acting_since, name, instance"#
        )
        .fetch_all(self.database.pool());
        self.run("reading the brakes", statement).await
    }

    fn acting_on(&self, brake: Brake) -> &str {
        if brake.is_for_all() { "" } else { self.instance.name() }
    }
}
