//! What this role may do: nothing is tried, the catalog is asked. Once before anything is begun, and again after a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Error, Ledger};

/// What the program does with each of its tables.
const NEEDED: [(&str, &str); 15] = [
    ("_sqlx_migrations", "SELECT"),
    ("schema_compatibility", "SELECT"),
    ("processes", "SELECT, INSERT, UPDATE, DELETE"),
    ("sweeps", "SELECT, INSERT, UPDATE"),
    ("cancellations", "SELECT, INSERT, UPDATE"),
    ("claims", "SELECT, INSERT, UPDATE, DELETE"),
    ("cancel_attempts", "SELECT, INSERT"),
    ("paid_after_abandonment", "SELECT"),
    ("discovery", "SELECT, INSERT, UPDATE"),
    ("request_slots", "SELECT, UPDATE"),
    ("holds", "SELECT, INSERT, UPDATE, DELETE"),
    ("brakes", "SELECT, INSERT, UPDATE, DELETE"),
    ("intakes", "SELECT, INSERT, DELETE"),
    ("allowances", "SELECT, INSERT, UPDATE"),
    ("accepted_apis", "SELECT, INSERT, UPDATE"),
];

/// Whether this role was found to have all rights, and was refused nothing since.
#[derive(Clone, Debug, Default)]
pub(super) struct Proved(Arc<AtomicBool>);

impl Ledger {
    /// Fails with what this role lacks. The catalog is asked at the first call, and again after a refusal until all is there.
    ///
    /// The schema must be there.
    pub async fn prove_rights(&self) -> Result<(), Error> {
        if self.proved.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let missing = self.missing_rights().await?;
        if !missing.is_empty() {
            return Err(Error::Rights(missing));
        }
        self.proved.0.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// To be told that the database refused a statement for want of a right: fails with what is lacking, where that is ours.
    pub async fn refused(&self) -> Result<(), Error> {
        self.proved.0.store(false, Ordering::Relaxed);
        self.prove_rights().await
    }

    /// The rights on our tables that this role lacks, each as the GRANT that gives it. Empty where none is missing.
    ///
    /// The schema must be there.
    pub async fn missing_rights(&self) -> Result<Vec<String>, Error> {
        let (tables, rights): (Vec<String>, Vec<String>) = NEEDED
            .iter()
            .flat_map(|(table, rights)| rights.split(", ").map(|right| ((*table).to_owned(), right.to_owned())))
            .unzip();
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.missing_rights */
               SELECT format('GRANT USAGE ON SCHEMA geft_sweeper TO %I;', current_user) AS "grant!"
                WHERE NOT has_schema_privilege('geft_sweeper', 'USAGE')
                UNION ALL
               (SELECT format('GRANT %s ON geft_sweeper.%I TO %I;', string_agg(needed.privilege, ', ' ORDER BY needed.place), c.relname, current_user)
                  FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS needed(relation, privilege, place)
                  JOIN pg_class c ON c.relname = needed.relation AND c.relnamespace = to_regnamespace('geft_sweeper')
                 WHERE NOT has_table_privilege(c.oid, needed.privilege)
                 GROUP BY c.relname ORDER BY c.relname)"#,
            &tables,
            &rights,
        )
        .fetch_all(self.database.pool());
        // Not by `run`, which asks for this where it is refused.
        self.database.limited(statement).await.map_err(self.failed("asking for this role's rights"))
    }

    /// What this role lacks to bring the schema up to date, as the statement that gives it; none where it lacks nothing.
    ///
    /// It creates the schema where it is missing, else things in it.
    pub async fn missing_to_migrate(&self) -> Result<Option<String>, Error> {
        sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.missing_to_migrate */
               SELECT CASE WHEN to_regnamespace('geft_sweeper') IS NULL
                           THEN CASE WHEN NOT has_database_privilege(current_database(), 'CREATE')
                                     THEN format('GRANT CREATE ON DATABASE %I TO %I;', current_database(), current_user) END
                           WHEN NOT has_schema_privilege('geft_sweeper', 'USAGE')
                             OR NOT has_schema_privilege('geft_sweeper', 'CREATE')
                           THEN format('GRANT USAGE, CREATE ON SCHEMA geft_sweeper TO %I;', current_user)
                           ELSE (SELECT format('GRANT %I TO %I;', pg_get_userbyid(relowner), current_user) FROM pg_class
                                  WHERE relnamespace = to_regnamespace('geft_sweeper') AND relkind IN ('r', 'v')
                                    AND NOT pg_has_role(relowner, 'USAGE') LIMIT 1)
                      END"#
        )
        .fetch_one(self.database.pool())
        .await
        .map_err(self.failed("asking whether this role may migrate"))
    }

    /// The server's version as a number (150018 is 15.18) and as text.
    pub async fn server_version(&self) -> Result<(i32, String), Error> {
        let statement = sqlx::query!(
            r#"/* geft-sweeper ledger.server_version */
               SELECT current_setting('server_version_num')::int AS "number!", current_setting('server_version') AS "text!""#
        )
        .fetch_one(self.database.pool());
        self.run("asking for the server's version", statement).await.map(|row| (row.number, row.text))
    }
}
