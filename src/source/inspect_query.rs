//! Holds a source query against what it must give: prepared by the server, never run here.

use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, Column as _, Executor as _, PgConnection, SqlSafeStr as _, Statement as _};

use super::catalog;
use super::error::{Error, NO_RIGHT, complaint};
use super::key::Key;
use super::statement::{Query, subselect};

/// Looks at the columns of the query.
pub(super) async fn query(text: &str, connection: &mut PgConnection) -> Result<Query, Error> {
    let columns = columns(text, connection).await?;
    let mut faults = Vec::new();
    for wanted in ["session_id", "reference_id", "reason"] {
        if !columns.iter().any(|(name, _)| name == wanted) {
            let given: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
            faults.push(format!(
                "`[source] query` gives no column {wanted}, only {}: add it, or rename one with AS {wanted}.",
                given.join(", ")
            ));
        }
    }
    let Some((_, Some(oid))) = columns.iter().find(|(name, _)| name == "session_id") else {
        return Err(Error::Settings(faults));
    };
    let column = catalog::of_type(connection, *oid).await?;
    match Key::of("merchant.session_id".to_owned(), &column) {
        Some(key) if faults.is_empty() => Ok(Query { text: text.to_owned(), key }),
        Some(_) => Err(Error::Settings(faults)),
        None => {
            faults.push(format!(
                "`[source] query` gives session_id as {}: give the session's UUID, of type uuid or text.",
                column.type_name
            ));
            Err(Error::Settings(faults))
        }
    }
}

async fn columns(text: &str, connection: &mut PgConnection) -> Result<Vec<(String, Option<Oid>)>, Error> {
    // Prepared to learn the columns' names, and never run: hence every column.
    let probe = format!("/* geft-sweeper source.describe */\nSELECT merchant.* FROM {}", subselect(text));
    match connection.prepare(AssertSqlSafe(probe).into_sql_str()).await {
        Ok(statement) => {
            let columns = statement.columns().iter();
            Ok(columns.map(|column| (column.name().to_owned(), column.type_info().oid())).collect())
        }
        Err(error) => Err(refused(error)),
    }
}

/// What the server has against the query, as a fault of the settings.
pub(super) fn refused(error: sqlx::Error) -> Error {
    let Some(said) = complaint(&error) else {
        return Error::when("look at the source query")(error);
    };
    let mend = if said.code() == NO_RIGHT {
        "grant it to the role in `[database] url` with GRANT SELECT ON … TO …"
    } else {
        "it must be one SELECT that gives session_id, reference_id and reason"
    };
    Error::Settings(vec![format!("`[source] query` is refused by the database ({}): {mend}.", said.message())])
}
