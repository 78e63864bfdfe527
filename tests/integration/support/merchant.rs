//! The merchant's side: the table of payment sessions that the program reads.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

/// The merchant's table `public.payment_sessions`.
pub(crate) struct PaymentSessions {
    pool: PgPool,
}

impl PaymentSessions {
    /// Creates the table and the index that the program asks for.
    pub(crate) async fn create(pool: &PgPool) -> Self {
        let table = "CREATE TABLE payment_sessions (
            session_id uuid PRIMARY KEY, reference_id text, status text, created_at timestamptz NOT NULL);
            CREATE INDEX payment_sessions_created ON payment_sessions (created_at)";
        sqlx::raw_sql(table).execute(pool).await.unwrap();
        Self { pool: pool.clone() }
    }

    /// Adds a session of this status and age, by the database's clock; its reference is "order-" and its id.
    pub(crate) async fn add(&self, status: &str, age: Duration) -> Uuid {
        let id = Uuid::new_v4();
        self.add_as(id, status, age).await;
        id
    }

    /// Adds a session whose id is known before, for instance from the sandbox.
    pub(crate) async fn add_as(&self, id: Uuid, status: &str, age: Duration) {
        let insert = "INSERT INTO payment_sessions VALUES
            ($1, 'order-' || $1::text, $2, clock_timestamp() - make_interval(secs => $3))";
        sqlx::query(insert).bind(id).bind(status).bind(age.as_secs_f64()).execute(&self.pool).await.unwrap();
    }

    /// Adds many sessions, new ones or known before, in one statement.
    pub(crate) async fn add_all(&self, ids: &[Uuid], status: &str, age: Duration) {
        let insert = "INSERT INTO payment_sessions
            SELECT id, 'order-' || id::text, $2, clock_timestamp() - make_interval(secs => $3) FROM unnest($1::uuid[]) AS id";
        sqlx::query(insert).bind(ids).bind(status).bind(age.as_secs_f64()).execute(&self.pool).await.unwrap();
    }

    /// Changes a session's status, as when the customer comes back.
    pub(crate) async fn set_status(&self, id: Uuid, status: &str) {
        let update = "UPDATE payment_sessions SET status = $2 WHERE session_id = $1";
        let changed = sqlx::query(update).bind(id).bind(status).execute(&self.pool).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "there is no session {id}");
    }
}

#[tokio::test]
async fn sessions_are_as_old_as_the_test_says() {
    let database = super::TestDatabase::new().await;
    let sessions = PaymentSessions::create(database.pool()).await;
    let id = sessions.add("created", Duration::from_hours(1)).await;
    sessions.set_status(id, "abandoned").await;
    let found: (String, String, bool) = sqlx::query_as(
        "SELECT status, reference_id, now() - created_at BETWEEN '1 hour' AND '61 minutes' FROM payment_sessions",
    )
    .fetch_one(database.pool())
    .await
    .unwrap();
    assert_eq!(found, ("abandoned".to_owned(), format!("order-{id}"), true));
    database.close().await;
}
