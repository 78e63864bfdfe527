//! The server's own account of what it did: log written, transactions, fsyncs, processor time.
//!
//! It asks from a connection to another database than the one that is measured.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::stage::{Shop, Stage};
use crate::usage;

/// How long the server's processes may take to leave.
const LIMIT: Duration = Duration::from_secs(30);

/// How far the server's counters stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) wal_bytes: i64,
    pub(crate) transactions: i64,
    pub(crate) fsyncs: i64,
    pub(crate) cpu: Duration,
}

impl Account {
    /// Reads the counters, once nobody is connected to the shop's database: who leaves tells what it did.
    pub(crate) async fn of(stage: &Stage, shop: &Shop) -> Result<Self> {
        let left = async {
            let connected =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'";
            while sqlx::query_scalar::<_, i64>(connected).bind(&shop.name).fetch_one(stage.admin()).await? > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok::<_, sqlx::Error>(())
        };
        tokio::time::timeout(LIMIT, left).await.context("somebody stays connected")??;
        let counters = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, xact_commit + xact_rollback
            FROM pg_stat_database WHERE datname = $1";
        let (wal_bytes, transactions) = sqlx::query_as(counters).bind(&shop.name).fetch_one(stage.admin()).await?;
        let fsyncs = fsyncs(stage).await?;
        Ok(Self { wal_bytes, transactions, fsyncs, cpu: usage::server(stage.postmaster()?)? })
    }

    /// What was done since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            wal_bytes: self.wal_bytes - before.wal_bytes,
            transactions: self.transactions - before.transactions,
            fsyncs: self.fsyncs - before.fsyncs,
            cpu: self.cpu.saturating_sub(before.cpu),
        }
    }
}

/// PostgreSQL 18 counts them elsewhere.
async fn fsyncs(stage: &Stage) -> Result<i64> {
    let version = "SELECT current_setting('server_version_num')::int";
    let version: i32 = sqlx::query_scalar(version).fetch_one(stage.admin()).await?;
    let statement = if version < 180_000 {
        "SELECT wal_sync FROM pg_stat_wal"
    } else {
        "SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal'"
    };
    Ok(sqlx::query_scalar(statement).fetch_one(stage.admin()).await?)
}
