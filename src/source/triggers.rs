//! Whether the merchant's table says at once what becomes abandoned: the triggers of `deploy/notify.sql`, held against the
//! settings.
//!
//! Reads the catalog alone, for people: nothing is decided by it.

use sqlx::PgConnection;

use super::statement::Table;

/// The triggers as they stand to the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Triggers {
    /// There are none, or there cannot be any: sessions are found at the next tick.
    Absent,
    /// They say what they should.
    Right,
    /// They do not: why, as a sentence.
    Wrong(String),
}

/// A trigger that runs our function: whether it fires, on INSERT, on UPDATE, and its arguments.
#[derive(Clone, Debug, sqlx::FromRow)]
struct Trigger {
    fires: bool,
    on_insert: bool,
    on_update: bool,
    /// The column and the statuses, each with a zero byte behind it.
    arguments: Vec<u8>,
}

const TRIGGERS: &str = "/* geft-sweeper source.triggers */
SELECT t.tgenabled IN ('O', 'A') AS fires, t.tgtype & 4 <> 0 AS on_insert, t.tgtype & 16 <> 0 AS on_update,
       t.tgargs AS arguments
  FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
 WHERE t.tgrelid = pg_catalog.to_regclass($1) AND p.proname = 'geft_sweeper_notify'";

/// Looks at the triggers on the table, whose column of statuses has this name.
pub(super) async fn look(table: &Table, status: &str, connection: &mut PgConnection) -> Result<Triggers, sqlx::Error> {
    let triggers: Vec<Trigger> = sqlx::query_as(TRIGGERS).bind(&table.relation).fetch_all(&mut *connection).await?;
    let prepares = "/* geft-sweeper source.prepares */ SELECT current_setting('max_prepared_transactions') <> '0'";
    let prepares = sqlx::query_scalar(prepares).fetch_one(connection).await?;
    Ok(judge(&triggers, status, &table.abandoned, prepares))
}

fn judge(triggers: &[Trigger], status: &str, abandoned: &[String], prepares: bool) -> Triggers {
    if triggers.is_empty() {
        return Triggers::Absent;
    }
    let fires = |event: fn(&Trigger) -> bool| triggers.iter().any(|trigger| trigger.fires && event(trigger));
    let sentence = if !fires(|trigger| trigger.on_insert) || !fires(|trigger| trigger.on_update) {
        "one of the two triggers of deploy/notify.sql is missing or disabled".to_owned()
    } else if let Some(other) = triggers.iter().map(Trigger::words).find(|words| !agree(words, status, abandoned)) {
        format!(
            "the triggers of deploy/notify.sql are for {other:?}, but source.columns.status is {status:?} and \
             source.abandoned_statuses is {abandoned:?}"
        )
    } else if prepares {
        "the triggers of deploy/notify.sql say nothing while max_prepared_transactions is above 0".to_owned()
    } else {
        return Triggers::Right;
    };
    Triggers::Wrong(sentence)
}

/// The column and the statuses that a trigger is for; statuses compare letter case aside and in any order.
fn agree(words: &[String], status: &str, abandoned: &[String]) -> bool {
    let sorted = |statuses: &[String]| {
        let mut sorted: Vec<_> = statuses.iter().map(|status| status.to_lowercase()).collect();
        sorted.sort();
        sorted.dedup();
        sorted
    };
    matches!(words, [column, statuses @ ..] if column == status && sorted(statuses) == sorted(abandoned))
}

impl Trigger {
    fn words(&self) -> Vec<String> {
        let words = self.arguments.strip_suffix(&[0]).unwrap_or(&self.arguments).split(|byte| *byte == 0);
        words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trigger(on_insert: bool, arguments: &str) -> Trigger {
        Trigger { fires: true, on_insert, on_update: !on_insert, arguments: arguments.as_bytes().to_vec() }
    }

    fn both(arguments: &str) -> Vec<Trigger> {
        vec![trigger(true, arguments), trigger(false, arguments)]
    }

    fn judged(triggers: &[Trigger]) -> Triggers {
        judge(triggers, "state", &["abandoned".to_owned(), "Left".to_owned()], false)
    }

    #[test]
    fn statuses_compare_letter_case_aside_and_in_any_order() {
        assert_eq!(judged(&both("state\0left\0ABANDONED\0")), Triggers::Right);
        for other in ["state\0abandoned\0", "status\0left\0abandoned\0", "state\0left\0abandoned\0paid\0", ""] {
            assert!(matches!(judged(&both(other)), Triggers::Wrong(_)), "{other:?}");
        }
    }

    #[test]
    fn both_must_be_there_and_fire() {
        let mut triggers = both("state\0left\0abandoned\0");
        assert!(matches!(judged(&triggers[..1]), Triggers::Wrong(_)));
        triggers[1].fires = false;
        assert!(matches!(judged(&triggers), Triggers::Wrong(_)));
        assert_eq!(judged(&[]), Triggers::Absent);
    }
}
