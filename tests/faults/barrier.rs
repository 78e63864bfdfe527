//! Points in the database at which the program's statements wait, so that a moment of the protocol can be arranged.
//!
//! A trigger waits for an advisory lock that is held here. What waits has done its work and has not committed it.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::harness::support::eventually;

const LIMIT: Duration = Duration::from_secs(30);

/// Which statement waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The commit of a claim.
    Claim,
    /// A record, when the audit rows and the new states are written.
    Record,
    /// Any change of a session, before it has begun.
    Change,
}

impl At {
    /// What makes statements wait from the moment at which the lock is held.
    fn trigger(self) -> &'static str {
        match self {
            Self::Claim => {
                "CREATE CONSTRAINT TRIGGER barrier AFTER INSERT ON geft_sweeper.claims DEFERRABLE INITIALLY DEFERRED
                    FOR EACH ROW EXECUTE FUNCTION public.barrier()"
            }
            Self::Record => {
                "CREATE TRIGGER barrier AFTER INSERT ON geft_sweeper.cancel_attempts FOR EACH STATEMENT
                    EXECUTE FUNCTION public.barrier()"
            }
            Self::Change => {
                "CREATE TRIGGER barrier BEFORE UPDATE ON geft_sweeper.cancellations FOR EACH STATEMENT
                    EXECUTE FUNCTION public.barrier()"
            }
        }
    }
}

/// A barrier that is closed. It opens when it is told to, or when its connection ends.
pub(crate) struct Barrier {
    connection: PgConnection,
}

impl Barrier {
    /// Closes the one barrier of a database, whose schema must be there.
    pub(crate) async fn close(url: &str, at: At) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let function = "CREATE FUNCTION public.barrier() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END $$";
        let statements = ["SELECT pg_advisory_lock(1)", function, at.trigger()].join(";");
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut connection).await.unwrap();
        Self { connection }
    }

    /// Waits until this many statements wait here.
    pub(crate) async fn reached(&mut self, number: i64) {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        eventually(LIMIT, async || {
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut self.connection).await.unwrap() >= number
        })
        .await;
    }

    /// Ends the statements that wait, so that they are rolled back.
    pub(crate) async fn break_off(&mut self) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        sqlx::query(end).execute(&mut self.connection).await.unwrap();
    }

    /// Lets everything pass, from now on.
    pub(crate) async fn open(self) {
        self.connection.close().await.unwrap();
    }
}
