//! Holds the settings of a table against the catalog, and finds every fault in one run.
//!
//! Reads the catalog alone. Each fault is one sentence that names the setting and the mend.

use std::time::Duration;

use sqlx::PgConnection;

use super::catalog::{self, Column, Relation};
use super::error::{Error, NO_RIGHT, complaint};
use super::identifier::{TableName, quote};
use super::key::Key;
use super::moment::Moment;
use super::statement::{Found, Spellings, Table};
use crate::config;

/// `timestamp` and `timestamptz` as the catalog writes them.
const WITHOUT_ZONE: &str = "timestamp without time zone";
const WITH_ZONE: &str = "timestamp with time zone";

/// What is known of the table while it is being inspected.
struct Inspection<'a> {
    settings: &'a config::Table,
    relation: Relation,
    columns: Vec<Column>,
    faults: Vec<String>,
}

/// Looks the table up; gives it with the relation's OID.
pub(super) async fn table(
    settings: &config::Table,
    lookback: Duration,
    connection: &mut PgConnection,
) -> Result<(Table, u32), Error> {
    let role = catalog::role(connection).await?;
    let relation = relation(settings, &role, connection).await?;
    let columns = catalog::columns(connection, relation.oid).await?;
    let mut inspection = Inspection { settings, relation, columns, faults: Vec::new() };
    let oid = inspection.relation.oid.0;
    inspection.check_rights(&role);
    let names = &settings.columns;
    let key = inspection.key();
    let reference_id = inspection.column("reference_id", &names.reference_id);
    let status = inspection.status();
    let spellings = match &status {
        Some(status) => inspection.spellings(status, connection).await?,
        None => Spellings::Unknown,
    };
    let zone = inspection.zone(connection).await?;
    let created_at = inspection.moment("created_at", &names.created_at, zone.as_ref());
    let updated_at = names.updated_at.as_ref().map(|name| inspection.moment("updated_at", name, zone.as_ref()));
    match (key, reference_id, status, created_at, updated_at) {
        (Some(key), Some(reference_id), Some(status), Some(created_at), updated_at) if inspection.faults.is_empty() => {
            let table = Table {
                relation: inspection.relation.quoted(),
                is_partitioned: inspection.relation.kind == "p",
                can_have_index: !["v", "f"].contains(&inspection.relation.kind.as_str()),
                key,
                reference_id: qualified(&reference_id.name),
                status: status_expression(&status),
                spellings,
                created_at,
                updated_at: updated_at.flatten(),
                abandoned: settings.abandoned_statuses.clone(),
                open: settings.open_statuses.clone(),
                max_age: settings.max_age,
                lookback,
            };
            Ok((table, oid))
        }
        _ => Err(Error::Settings(inspection.faults)),
    }
}

/// Finds the relation, or says what is nearest to it.
async fn relation(settings: &config::Table, role: &str, connection: &mut PgConnection) -> Result<Relation, Error> {
    let written = &settings.table;
    let refuse = |why: String| Err(Error::Settings(vec![why]));
    let name = match TableName::parse(written) {
        Ok(name) => name,
        Err(why) => {
            return refuse(format!(
                "`[source] table` is {written:?}, which is no name in SQL ({why}): write it as in a query, like \
                 public.payment_sessions or \"My Schema\".\"Payment Sessions\"."
            ));
        }
    };
    match catalog::find(connection, &name.quoted()).await {
        Ok(Some(relation)) if ["r", "p", "v", "m", "f"].contains(&relation.kind.as_str()) => Ok(relation),
        Ok(Some(_)) => refuse(format!("`[source] table` is {written:?}, which is no table or view: name one.")),
        Ok(None) => {
            let names = catalog::names(connection).await?;
            let nearest = nearest_table(&name, &names);
            refuse(format!("`[source] table` is {written:?}, and there is no such table in this database{nearest}."))
        }
        Err(error) if complaint(&error).is_some_and(|said| said.code() == NO_RIGHT) => {
            let schema = quote(name.schema.as_deref().unwrap_or("public"));
            refuse(format!(
                "`[source] table` is {written:?}, and role {role} may not look into its schema: the schema's owner can \
                 mend that with GRANT USAGE ON SCHEMA {schema} TO {};",
                quote(role)
            ))
        }
        Err(error) => Err(Error::when("look the table up")(error)),
    }
}

impl Inspection<'_> {
    /// One fault for all columns that our role may not read; it needs no others of the table.
    fn check_rights(&mut self, role: &str) {
        let names = &self.settings.columns;
        let mapped = [&names.session_id, &names.reference_id, &names.status, &names.created_at];
        let mapped: Vec<_> = mapped.into_iter().chain(&names.updated_at).collect();
        let hidden = self.columns.iter().filter(|column| !column.readable && mapped.contains(&&column.name));
        let hidden: Vec<_> = hidden.map(|column| quote(&column.name)).collect();
        if !hidden.is_empty() {
            self.faults.push(format!(
                "`[source] table` is {:?}, and role {role} may not read it: its owner can mend that with \
                 GRANT SELECT ({}) ON {} TO {};",
                self.settings.table,
                hidden.join(", "),
                self.relation.quoted(),
                quote(role)
            ));
        }
    }

    fn column(&mut self, setting: &str, name: &str) -> Option<Column> {
        let found = self.columns.iter().find(|column| column.name == name).cloned();
        if found.is_none() {
            let names = self.columns.iter().map(|column| column.name.as_str());
            let nearest = match nearest(name, names) {
                Some(nearest) => format!("the nearest is {nearest:?}"),
                None => "it has no columns".to_owned(),
            };
            self.faults.push(format!(
                "`[source] columns.{setting}` is {name:?}, and {} has no such column: {nearest}.",
                self.relation.quoted()
            ));
        }
        found
    }

    fn key(&mut self) -> Option<Key> {
        let name = &self.settings.columns.session_id;
        let column = self.column("session_id", name)?;
        let key = Key::of(qualified(name), &column);
        if key.is_none() {
            self.faults.push(format!(
                "`[source] columns.session_id` is {name:?}, which is of type {}: name the column that holds the \
                 session's UUID, of type uuid or text.",
                column.type_name
            ));
        }
        key
    }

    fn status(&mut self) -> Option<Column> {
        let name = &self.settings.columns.status;
        let column = self.column("status", name)?;
        if column.is_text() || column.type_kind == "e" {
            return Some(column);
        }
        self.faults.push(format!(
            "`[source] columns.status` is {name:?}, which is of type {}: name a column of a text type or an enum, or \
             use `[source] query`.",
            column.type_name
        ));
        None
    }

    /// How the statuses are spelled; an enum that has none of them is a fault.
    async fn spellings(&mut self, status: &Column, connection: &mut PgConnection) -> Result<Spellings, Error> {
        if status.type_kind != "e" {
            return Ok(if status.leads_index { Spellings::AskIndex } else { Spellings::Unknown });
        }
        let labels = catalog::labels(connection, status.type_oid).await?;
        let among = |statuses: &[String]| -> Vec<String> {
            let is_meant = |label: &&String| statuses.iter().any(|s| s.to_lowercase() == label.to_lowercase());
            labels.iter().filter(is_meant).cloned().collect()
        };
        let open = if self.settings.max_age.is_some() { among(&self.settings.open_statuses) } else { Vec::new() };
        let found = Found { abandoned: among(&self.settings.abandoned_statuses), open };
        if found.abandoned.is_empty() && found.open.is_empty() {
            self.faults.push(format!(
                "None of `[source] abandoned_statuses` and `open_statuses` is a label of the enum in column {:?}: \
                 choose among {}.",
                status.name,
                labels.join(", ")
            ));
        }
        Ok(Spellings::Labels(found))
    }

    /// The zone as the database spells it. It must be a name: the server would also take `-05:00`, and read it as five
    /// hours *east*.
    async fn zone(&mut self, connection: &mut PgConnection) -> Result<Option<String>, Error> {
        let names = &self.settings.columns;
        let is_bare = |name: &String| self.columns.iter().any(|c| &c.name == name && c.type_name == WITHOUT_ZONE);
        let bare =
            [Some(&names.created_at), names.updated_at.as_ref()].into_iter().flatten().find(|name| is_bare(name));
        match (&self.settings.time_zone, bare) {
            (None, None) => Ok(None),
            (None, Some(column)) => {
                self.faults.push(format!(
                    "`[source] time_zone` is missing: column {column:?} is timestamp without time zone, so name the \
                     zone that it is written in, like \"America/Toronto\" or \"UTC\"."
                ));
                Ok(None)
            }
            (Some(zone), None) => {
                self.faults.push(format!(
                    "`[source] time_zone` is {zone:?}, but no mapped column is timestamp without time zone: take the \
                     setting out."
                ));
                Ok(None)
            }
            (Some(zone), Some(_)) => {
                let known = catalog::zones(connection).await?;
                if let Some(known) = known.iter().find(|known| known.eq_ignore_ascii_case(zone)) {
                    return Ok(Some(known.clone()));
                }
                let nearest = nearest(zone, known.iter().map(String::as_str)).unwrap_or("UTC");
                self.faults.push(format!(
                    "`[source] time_zone` is {zone:?}, which the database does not know: the nearest is {nearest:?}."
                ));
                Ok(None)
            }
        }
    }

    fn moment(&mut self, setting: &str, name: &str, zone: Option<&String>) -> Option<Moment> {
        let column = self.column(setting, name)?;
        match column.type_name.as_str() {
            WITH_ZONE => Some(Moment { column: qualified(name), zone: None }),
            WITHOUT_ZONE => Some(Moment { column: qualified(name), zone: zone.cloned() }),
            other => {
                self.faults.push(format!(
                    "`[source] columns.{setting}` is {name:?}, which is of type {other}: name a column of type \
                     timestamptz or timestamp."
                ));
                None
            }
        }
    }
}

/// A column of ours in SQL.
pub(super) fn qualified(column: &str) -> String {
    format!("merchant.{}", quote(column))
}

/// The status in SQL. A domain over an enum has no operators of its own, so it is read as the enum behind it.
fn status_expression(status: &Column) -> String {
    let column = qualified(&status.name);
    if status.type_kind == "e" { format!("({column}::{})", status.type_name) } else { column }
}

/// The name most like the wrong one.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    names
        .map(|name| (strsim::jaro_winkler(&wrong, &name.to_lowercase()), name))
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, name)| name)
}

fn nearest_table(wrong: &TableName, names: &[(String, String)]) -> String {
    let likeness = |(schema, table): &(String, String)| {
        let same_schema = wrong.schema.as_deref().is_none_or(|wrong| wrong == schema);
        strsim::jaro_winkler(&wrong.table.to_lowercase(), &table.to_lowercase())
            + f64::from(u8::from(same_schema)) / 10.0
    };
    match names.iter().max_by(|one, other| likeness(one).total_cmp(&likeness(other))) {
        Some((schema, table)) => format!("; the nearest is {}.{}", quote(schema), quote(table)),
        None => ": there are none that this role could read".to_owned(),
    }
}
