//! The version of the schema: read before anything is written, brought up to date by one process at a time.
//!
//! Where the schema is current nothing is written, so that a role without rights to create things can run.

use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};

use super::{Error, Ledger};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How the schema in the database stands to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// There is none.
    Missing,
    /// It is older than this program needs.
    Behind {
        /// The newest migration applied.
        applied: i64,
    },
    /// It is the one that this program was written for.
    Current,
    /// It is newer, and declares that this program can work with it.
    NewerCompatible {
        /// The newest migration applied.
        applied: i64,
    },
    /// It is newer, and this program is too old for it.
    TooNew {
        /// The newest migration applied.
        applied: i64,
        /// The oldest program version that can work with it.
        oldest: i64,
    },
}

impl Schema {
    /// The schema version that this program was written for.
    #[must_use]
    pub fn needed() -> i64 {
        MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
    }

    /// Whether this program can work with it as it is.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Current | Self::NewerCompatible { .. })
    }

    /// What to do where it is not usable.
    #[must_use]
    pub fn mend(self) -> String {
        match self {
            Self::Missing => {
                "the schema geft_sweeper is missing: run `geft-sweeper migrate`, or set database.auto_migrate \
                              = true for a role that may create it"
                    .to_owned()
            }
            Self::Behind { applied } => format!(
                "the schema geft_sweeper is at version {applied} and version {} is needed: run `geft-sweeper migrate`",
                Self::needed()
            ),
            Self::Current => format!("the schema geft_sweeper is current, at version {}", Self::needed()),
            Self::NewerCompatible { applied } => format!(
                "the schema geft_sweeper is at version {applied}, newer than this program's {}, and declares itself compatible",
                Self::needed()
            ),
            Self::TooNew { applied, oldest } => format!(
                "the schema geft_sweeper is at version {applied}, which needs a program of schema version {oldest} or later \
                 and this one has {}: install a newer geft-sweeper",
                Self::needed()
            ),
        }
    }
}

/// What migrating did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version found; none where there was no schema.
    pub from: Option<i64>,
    /// The version now.
    pub to: i64,
}

impl Ledger {
    /// Reads how the schema stands. Writes nothing.
    pub async fn schema(&self) -> Result<Schema, Error> {
        let mut connection = self.database.connect().await?;
        let schema = self.run("reading the schema's version", read(&mut connection)).await;
        // The connection has served; a failure to say goodbye changes nothing.
        connection.close().await.ok();
        schema
    }

    /// Brings the schema up to date. Waits for another process that does the same, and then finds its work done.
    pub async fn migrate(&self) -> Result<Migrated, Error> {
        let mut connection = self.database.connect().await?;
        let doing = "bringing the schema up to date";
        let before = read(&mut connection).await.map_err(self.failed(doing))?;
        if before.is_usable() || matches!(before, Schema::TooNew { .. }) {
            return Ok(Migrated { from: Some(version(before)), to: version(before) });
        }
        // Locks: for the whole connection; another process's migration may take longer than any statement of ours.
        for statement in [
            // On its own: a statement does not lift the limit that it runs under itself.
            "SELECT set_config('statement_timeout', '0', false)",
            "SELECT pg_advisory_lock(hashtext('geft_sweeper.migrate'))",
        ] {
            sqlx::query(statement).execute(&mut connection).await.map_err(self.failed(doing))?;
        }
        let found = read(&mut connection).await.map_err(self.failed(doing))?;
        if !found.is_usable() {
            apply(&mut connection).await.map_err(Error::Migrate)?;
        }
        let now = read(&mut connection).await.map_err(self.failed(doing))?;
        connection.close().await.ok();
        let from = (found != Schema::Missing).then(|| version(found));
        Ok(Migrated { from, to: version(now) })
    }
}

fn version(schema: Schema) -> i64 {
    match schema {
        Schema::Missing => 0,
        Schema::Current => Schema::needed(),
        Schema::Behind { applied } | Schema::NewerCompatible { applied } | Schema::TooNew { applied, .. } => applied,
    }
}

/// Creates the schema only where it is missing: to ask for it in any case needs rights that a good role does not have.
async fn apply(connection: &mut PgConnection) -> Result<(), sqlx::migrate::MigrateError> {
    let there: bool =
        sqlx::query_scalar("SELECT to_regnamespace('geft_sweeper') IS NOT NULL").fetch_one(&mut *connection).await?;
    if !there {
        sqlx::query("CREATE SCHEMA geft_sweeper").execute(&mut *connection).await?;
    }
    MIGRATIONS.run_direct(None, connection, false).await
}

async fn read(connection: &mut PgConnection) -> Result<Schema, sqlx::Error> {
    // The table is sqlx's own and may not be there yet, so this is not checked when compiling.
    let there: bool = sqlx::query_scalar("SELECT to_regclass('geft_sweeper._sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(Schema::Missing);
    }
    let applied: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM geft_sweeper._sqlx_migrations WHERE success")
            .fetch_one(&mut *connection)
            .await?;
    let Some(applied) = applied else { return Ok(Schema::Missing) };
    let needed = Schema::needed();
    if applied <= needed {
        return Ok(if applied == needed { Schema::Current } else { Schema::Behind { applied } });
    }
    let oldest = sqlx::query_scalar!(
        "/* geft-sweeper ledger.schema */ SELECT oldest_program_schema FROM geft_sweeper.schema_compatibility"
    )
    .fetch_one(connection)
    .await?;
    Ok(if oldest <= needed { Schema::NewerCompatible { applied } } else { Schema::TooNew { applied, oldest } })
}
