//! The merchant's table as Postgres's catalog describes it.
//!
//! Reads the catalog alone, never the table, and judges nothing: `inspect` does.

use sqlx::PgConnection;
use sqlx::postgres::types::Oid;

use super::error::Error;
use super::identifier::quote;

/// A table, view, partitioned, materialised or foreign table.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Relation {
    pub(super) oid: Oid,
    pub(super) schema: String,
    pub(super) name: String,
    /// `pg_class.relkind`.
    pub(super) kind: String,
}

/// A column, with its type behind every domain.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type as it is written in SQL, without a length.
    pub(super) type_name: String,
    pub(super) type_oid: Oid,
    /// `pg_type.typtype`: `e` is an enum.
    pub(super) type_kind: String,
    /// `pg_type.typcategory`: `S` is text-like.
    pub(super) type_category: String,
    /// The schema of the type's own `=`, where it has one: it need not be in the search path.
    pub(super) equals_schema: String,
    /// Whether our role may read it.
    pub(super) readable: bool,
    /// Whether a plain B-tree index over all rows begins with it.
    pub(super) leads_index: bool,
}

const FIND: &str = "/* geft-sweeper source.find */
SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = pg_catalog.to_regclass($1)";

/// Finds the relation that a quoted name means by the search path.
pub(super) async fn find(connection: &mut PgConnection, quoted: &str) -> Result<Option<Relation>, sqlx::Error> {
    sqlx::query_as(FIND).bind(quoted).fetch_optional(connection).await
}

const NAMES: &str = "/* geft-sweeper source.names */
SELECT n.nspname::text, c.relname::text
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
   AND n.nspname <> 'information_schema' AND n.nspname <> 'geft_sweeper' AND left(n.nspname, 3) <> 'pg_'
 ORDER BY 1, 2 LIMIT 10000";

/// Schema and name of every relation that could be meant, to find the nearest to a wrong name.
pub(super) async fn names(connection: &mut PgConnection) -> Result<Vec<(String, String)>, Error> {
    sqlx::query_as(NAMES).fetch_all(connection).await.map_err(Error::when("list the tables"))
}

const COLUMNS: &str = "/* geft-sweeper source.columns */
WITH RECURSIVE behind AS (
     SELECT a.attnum, a.attname, a.attcollation, t.oid, t.typtype, t.typcategory, t.typbasetype
       FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
      WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
      UNION ALL
     SELECT b.attnum, b.attname, b.attcollation, t.oid, t.typtype, t.typcategory, t.typbasetype
       FROM behind b JOIN pg_catalog.pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd')
SELECT b.attname::text AS name, b.oid AS type_oid, pg_catalog.format_type(b.oid, -1) AS type_name,
       b.typtype::text AS type_kind, b.typcategory::text AS type_category,
       coalesce((SELECT n.nspname::text
                   FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
                  WHERE o.oprname = '=' AND o.oprleft = b.oid AND o.oprright = b.oid LIMIT 1),
                'pg_catalog') AS equals_schema,
       pg_catalog.has_column_privilege($1, b.attnum, 'SELECT') AS readable,
       EXISTS (SELECT FROM pg_catalog.pg_index i
                 JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                 JOIN pg_catalog.pg_am m ON m.oid = c.relam
                 JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]
                WHERE i.indrelid = $1 AND i.indkey[0] = b.attnum AND m.amname = 'btree' AND o.opcdefault
                  AND i.indisvalid AND i.indpred IS NULL AND i.indcollation[0] = b.attcollation) AS leads_index
  FROM behind b WHERE b.typtype <> 'd'
 ORDER BY b.attnum";

/// The relation's columns, in their order.
pub(super) async fn columns(connection: &mut PgConnection, relation: Oid) -> Result<Vec<Column>, Error> {
    sqlx::query_as(COLUMNS).bind(relation).fetch_all(connection).await.map_err(Error::when("read the table's columns"))
}

const TYPE: &str = "/* geft-sweeper source.type */
SELECT ''::text AS name, t.oid AS type_oid, pg_catalog.format_type(t.oid, -1) AS type_name,
       t.typtype::text AS type_kind, t.typcategory::text AS type_category,
       coalesce((SELECT n.nspname::text
                   FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
                  WHERE o.oprname = '=' AND o.oprleft = t.oid AND o.oprright = t.oid LIMIT 1),
                'pg_catalog') AS equals_schema,
       true AS readable, false AS leads_index
  FROM pg_catalog.pg_type t WHERE t.oid = $1";

/// A column of a query, which is of this type (the server names no domains there).
pub(super) async fn of_type(connection: &mut PgConnection, oid: Oid) -> Result<Column, Error> {
    sqlx::query_as(TYPE).bind(oid).fetch_one(connection).await.map_err(Error::when("look a type up"))
}

const LABELS: &str = "/* geft-sweeper source.labels */
SELECT e.enumlabel::text FROM pg_catalog.pg_enum e WHERE e.enumtypid = $1 ORDER BY e.enumsortorder";

/// The labels of an enum.
pub(super) async fn labels(connection: &mut PgConnection, oid: Oid) -> Result<Vec<String>, Error> {
    sqlx::query_scalar(LABELS).bind(oid).fetch_all(connection).await.map_err(Error::when("read the enum's labels"))
}

/// Every time zone that the database knows by name.
pub(super) async fn zones(connection: &mut PgConnection) -> Result<Vec<String>, Error> {
    sqlx::query_scalar("/* geft-sweeper source.zones */ SELECT name FROM pg_catalog.pg_timezone_names")
        .fetch_all(connection)
        .await
        .map_err(Error::when("list the time zones"))
}

/// The name of our role, to write a GRANT with.
pub(super) async fn role(connection: &mut PgConnection) -> Result<String, Error> {
    sqlx::query_scalar("/* geft-sweeper source.role */ SELECT current_user::text")
        .fetch_one(connection)
        .await
        .map_err(Error::when("read the role's name"))
}

/// The SHA-256 of a text, in hex.
pub(super) async fn digest(connection: &mut PgConnection, text: &str) -> Result<String, Error> {
    sqlx::query_scalar("/* geft-sweeper source.digest */ SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')")
        .bind(text)
        .fetch_one(connection)
        .await
        .map_err(Error::when("digest the settings of the source"))
}

impl Relation {
    /// The relation in SQL, independent of the search path.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }
}

impl Column {
    /// Whether its values are texts (`text`, `varchar`, `char(n)`, `citext`, `name`).
    pub(super) fn is_text(&self) -> bool {
        self.type_category == "S" && self.type_kind == "b"
    }
}
