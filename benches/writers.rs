//! What the triggers of `deploy/notify.sql` cost the merchant: commits that each mark one session abandoned, with and without.
//!
//! That is the worst that can be: commits that mark none are not touched. Somebody listens, as the daemon would.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use sqlx::postgres::PgListener;
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::figures::{Answers, Writers};
use crate::say;
use crate::stage::{Shop, Stage};

/// How long the writers write.
const TIME: Duration = Duration::from_secs(3);
/// Sessions that can be marked: more than they get done.
const OPEN: i64 = 200_000;

/// With 1, 8 and 32 writers.
pub(crate) async fn run(stage: &mut Stage) -> Result<Vec<Writers>> {
    let mut all = Vec::new();
    for at_once in [1, 8, 32] {
        say(&format!("{at_once} writers, without and with the notify triggers"));
        let commits_per_second = commits(stage, at_once, false).await?;
        let commits_per_second_with_trigger = commits(stage, at_once, true).await?;
        all.push(Writers { at_once, commits_per_second, commits_per_second_with_trigger });
    }
    Ok(all)
}

async fn commits(stage: &mut Stage, at_once: usize, with_triggers: bool) -> Result<f64> {
    let shop = stage.shop(Answers::Good, 0, 1).await?;
    let mut connection = shop.connect().await?;
    let open = "INSERT INTO payment_sessions
        SELECT gen_random_uuid(), 'order-' || n, 'created', now() FROM generate_series(1, $1) AS n RETURNING session_id";
    let ids: Vec<Uuid> = sqlx::query_scalar(open).bind(OPEN).fetch_all(&mut connection).await?;
    let mut listener = PgListener::connect(&shop.url).await?;
    listener.listen("geft_sweeper").await?;
    if with_triggers {
        install(&shop).await?;
    }
    let listening = tokio::spawn(async move { while listener.recv().await.is_ok() {} });
    stage.checkpoint().await?;
    let (mut writers, began) = (JoinSet::new(), Instant::now());
    for own in ids.chunks(ids.len() / at_once).take(at_once) {
        writers.spawn(write(shop.connect().await?, own.to_vec(), began + TIME));
    }
    let mut written = 0;
    while let Some(done) = writers.join_next().await {
        written += done??;
    }
    let seconds = began.elapsed().as_secs_f64();
    listening.abort();
    connection.close().await?;
    stage.close(shop).await?;
    Ok(f64::from(written) / seconds)
}

/// Marks one session after the other; gives how many until then.
async fn write(mut connection: PgConnection, ids: Vec<Uuid>, until: Instant) -> Result<u32> {
    let mut written = 0;
    let mut ids = ids.into_iter();
    while Instant::now() < until {
        let id = ids.next().with_context(|| format!("a writer's sessions did not last for {TIME:?}"))?;
        let mark = "UPDATE payment_sessions SET status = 'abandoned' WHERE session_id = $1";
        sqlx::query(mark).bind(id).execute(&mut connection).await?;
        written += 1;
    }
    connection.close().await?;
    Ok(written)
}

/// As the merchant does.
async fn install(shop: &Shop) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/notify.sql");
    let mut psql = Command::new("psql");
    psql.args(["--quiet", "--no-psqlrc", "--file"]).arg(file).arg(&shop.url);
    let done = psql.output().await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}
