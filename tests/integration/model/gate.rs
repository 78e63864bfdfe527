//! A gate at which the database waits with a commit, so that its answer can be lost on either side of it.

use std::time::Duration;

use geft_sweeper::ledger::Error;
use sqlx::{Connection, PgConnection};

use super::history::Answer;

/// At each commit that changed a session the server asks for this lock, which is free but when an answer is to be lost.
/// Who waits for it in this database, and not in that of another test, is in the view.
const GATE: &str = "
    CREATE VIEW waiting AS SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    CREATE FUNCTION wait_at_the_gate() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER gate AFTER INSERT OR UPDATE ON geft_sweeper.cancellations
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_the_gate()";

pub(super) struct Gate(PgConnection);

/// What a process knows of a statement of its own.
pub(super) enum Passed<T> {
    Answered(T),
    Lost,
}

impl Gate {
    pub(super) async fn build(url: &str) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(GATE).execute(&mut connection).await.unwrap();
        Self(connection)
    }

    /// Lets a statement through. One whose answer is lost is waited for no longer once it is in its commit; then the
    /// commit goes on, or the connection dies before it. A statement that changes no session has no such commit, and
    /// is answered.
    pub(super) async fn pass<T>(
        &mut self,
        answer: Answer,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Passed<T> {
        let Answer::Lost { written } = answer else { return Passed::Answered(statement.await.unwrap()) };
        self.execute("SELECT pg_advisory_lock(1)").await;
        let passed = tokio::select! {
            biased;
            done = statement => Passed::Answered(done.unwrap()),
            () = self.has_come() => Passed::Lost,
        };
        if matches!(passed, Passed::Lost) && !written {
            self.execute("SELECT pg_terminate_backend(pid, 30000) FROM waiting").await;
        }
        self.execute("SELECT pg_advisory_unlock(1)").await;
        // Who waited has the lock until its commit is done.
        self.execute("SELECT pg_advisory_lock(1), pg_advisory_unlock(1)").await;
        passed
    }

    /// Waits until a commit has come to the gate.
    async fn has_come(&mut self) {
        let waiting = "SELECT EXISTS (SELECT FROM waiting)";
        while !sqlx::query_scalar::<_, bool>(waiting).fetch_one(&mut self.0).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn execute(&mut self, statement: &'static str) {
        sqlx::query(statement).execute(&mut self.0).await.unwrap();
    }
}
