//! How much the sandbox takes: requests written ahead on a few connections, answers only counted.
//!
//! It costs next to nothing itself, so that what it reaches is the sandbox's own limit.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::figures::SandboxLimit;
use crate::per_session;
use crate::provider::Provider;

const CONNECTIONS: usize = 16;
/// Requests on the way on each connection.
const AHEAD: usize = 16;
/// How each answer begins.
const BEGINNING: &[u8] = b"HTTP/1.1 ";

/// Cancels these sessions.
pub(crate) async fn run(provider: &Provider, ids: Vec<Uuid>) -> Result<SandboxLimit> {
    let address = provider.url().strip_prefix("http://").context("an address without a scheme")?.to_owned();
    let fixed = format!("host: {address}\r\nauthorization: Bearer {}\r\ncontent-length: 0", provider.token().await?);
    let (ids, fixed) = (Arc::new(ids), Arc::new(fixed));
    let (spent, began) = (provider.spent()?, Instant::now());
    let mut tasks = JoinSet::new();
    for part in 0..CONNECTIONS {
        let (ids, fixed, address) = (Arc::clone(&ids), Arc::clone(&fixed), address.clone());
        tasks.spawn(async move {
            let connection = TcpStream::connect(&address).await?;
            connection.set_nodelay(true)?;
            let own: Vec<Uuid> = ids.iter().skip(part).step_by(CONNECTIONS).copied().collect();
            send(connection, &fixed, &own).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    #[expect(clippy::cast_precision_loss, reason = "far from 2^52 requests")]
    let requests_per_second = ids.len() as f64 / began.elapsed().as_secs_f64();
    Ok(SandboxLimit { requests_per_second, cpu_us: per_session(provider.spent()?.saturating_sub(spent), ids.len()) })
}

async fn send(mut connection: TcpStream, fixed: &str, ids: &[Uuid]) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    for group in ids.chunks(AHEAD) {
        let request = |id: &Uuid| format!("POST /api/v2/sessions/{id}/cancel HTTP/1.1\r\n{fixed}\r\n\r\n");
        connection.write_all(group.iter().map(request).collect::<String>().as_bytes()).await?;
        let (mut answers, mut kept) = (0, 0);
        while answers < group.len() {
            let read = connection.read(&mut buffer[kept..]).await?;
            ensure!(read > 0, "the sandbox closed a connection");
            let text = &buffer[..kept + read];
            answers += text.windows(BEGINNING.len()).filter(|part| *part == BEGINNING).count();
            // The beginning of an answer may be cut in two.
            let rest = text.len().min(BEGINNING.len() - 1);
            let from = text.len() - rest;
            buffer.copy_within(from..from + rest, 0);
            kept = rest;
        }
    }
    Ok(())
}
