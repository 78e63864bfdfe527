//! What this role may do, for proving a set-up: nothing is tried, the catalog is asked.

use super::{Error, Ledger};

/// What the program does with each of its tables.
const NEEDED: [(&str, &str); 9] = [
    ("_sqlx_migrations", "SELECT"),
    ("schema_compatibility", "SELECT"),
    ("processes", "SELECT, INSERT, UPDATE, DELETE"),
    ("sweeps", "SELECT, INSERT, UPDATE"),
    ("cancellations", "SELECT, INSERT, UPDATE"),
    ("cancel_attempts", "SELECT, INSERT"),
    ("paid_after_abandonment", "SELECT"),
    ("discovery", "SELECT, INSERT, UPDATE"),
    ("request_slots", "SELECT, UPDATE"),
];

impl Ledger {
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
               (SELECT format('GRANT %s ON geft_sweeper.%I TO %I;', string_agg(needed.privilege, ', '), c.relname, current_user)
                  FROM UNNEST($1::text[], $2::text[]) AS needed(relation, privilege)
                  JOIN pg_class c ON c.relname = needed.relation AND c.relnamespace = to_regnamespace('geft_sweeper')
                 WHERE NOT has_table_privilege(c.oid, needed.privilege)
                 GROUP BY c.relname ORDER BY c.relname)"#,
            &tables,
            &rights,
        )
        .fetch_all(self.database.pool());
        self.run("asking for this role's rights", statement).await
    }

    /// Whether this role may bring the schema up to date: create it where it is missing, else create things in it.
    pub async fn may_migrate(&self) -> Result<bool, Error> {
        let statement = sqlx::query_scalar!(
            r#"/* geft-sweeper ledger.may_migrate */
               SELECT CASE WHEN to_regnamespace('geft_sweeper') IS NULL
                           THEN has_database_privilege(current_database(), 'CREATE')
                           ELSE has_schema_privilege('geft_sweeper', 'CREATE')
                                AND NOT EXISTS (SELECT FROM pg_class
                                                 WHERE relnamespace = to_regnamespace('geft_sweeper') AND relkind IN ('r', 'v')
                                                   AND NOT pg_has_role(relowner, 'USAGE'))
                      END AS "may!""#
        )
        .fetch_one(self.database.pool());
        self.run("asking whether this role may migrate", statement).await
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
