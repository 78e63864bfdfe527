//! Listens in the database, on a connection of its own, and offers a wake for what it hears.
//!
//! It never reads what a notification carries. A connection that is lost, or that is half-open and silent, is noticed by a
//! question asked again and again, and replaced; it never fails for good.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::PgListener;
use tokio_util::task::AbortOnDropHandle;

use super::Wakes;
use crate::database::{Database, words};

/// What `deploy/notify.sql` sends to.
const CHANNEL: &str = "geft_sweeper";
/// How often the connection is asked whether it still listens; also what keeps it from being closed as idle.
const ASK: Duration = Duration::from_secs(5);
/// How long the answer may take, and so may beginning to listen.
const LIMIT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two tries to listen.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// Whether this connection listens. One that a pooler hands to a different server process each time does not.
const LISTENS: &str = "/* geft-sweeper wake.listens */ \
    SELECT EXISTS (SELECT FROM pg_listening_channels() AS channel WHERE channel = 'geft_sweeper')";

/// Why it does not listen.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}", words(.0))]
    Database(#[from] sqlx::Error),
    #[error("no answer within {} s", LIMIT.as_secs())]
    Silent,
    #[error("the connection was closed")]
    Closed,
    #[error("the connection listens no more: a pooler must be in session mode")]
    Forgotten,
}

/// Listens until what it returns is dropped.
pub fn listen(database: Database, wakes: Wakes) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut pause = PAUSE.0;
        let (mut said, mut ever_heard) = (false, false);
        loop {
            let error = match begin(&database).await {
                Ok(mut listener) => {
                    tracing::info!(event = "notify.listening", "the daemon listens for notifications");
                    if ever_heard {
                        // Something may have been said while nobody listened.
                        wakes.offer();
                    }
                    (pause, said) = (PAUSE.0, false);
                    hear(&mut listener, &wakes, &mut ever_heard).await
                }
                Err(error) => error,
            };
            if !std::mem::replace(&mut said, true) {
                tracing::warn!(event = "notify.lost", error.message = %error, "no notification is heard until the daemon listens again");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }))
}

/// Each time by a pool of its own, so that a connection that hangs when it is given back takes nobody's place.
async fn begin(database: &Database) -> Result<PgListener, Error> {
    let beginning = async {
        let mut listener = PgListener::connect_with(&database.single()).await?;
        // A loss is to be seen here, not mended behind our back.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    };
    tokio::time::timeout(LIMIT, beginning).await.unwrap_or(Err(Error::Silent))
}

/// Offers a wake for each notification until the connection is lost; gives the reason.
async fn hear(listener: &mut PgListener, wakes: &Wakes, ever_heard: &mut bool) -> Error {
    loop {
        match tokio::time::timeout(ASK, listener.try_recv()).await {
            Ok(Ok(Some(_))) => {
                *ever_heard = true;
                wakes.offer();
            }
            Ok(Ok(None)) => return Error::Closed,
            Ok(Err(error)) => return error.into(),
            Err(_) => match tokio::time::timeout(LIMIT, listener.fetch_one(LISTENS)).await {
                Ok(Ok(row)) if sqlx::Row::try_get(&row, 0).unwrap_or(false) => {}
                Ok(Ok(_)) => return Error::Forgotten,
                Ok(Err(error)) => return error.into(),
                Err(_) => return Error::Silent,
            },
        }
    }
}
