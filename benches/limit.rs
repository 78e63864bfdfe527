//! The limit: the program's own HTTP client with as many requests in flight, and nothing else.
//!
//! It sends what has to be sent, reads each answer to its end, and keeps nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use geft_sweeper::config;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::figures::Limit;
use crate::provider::Provider;
use crate::{per_session, usage};

/// Cancels these sessions, `in_flight` at a time.
pub(crate) async fn run(api: &config::Api, in_flight: usize, provider: &Provider, ids: Vec<Uuid>) -> Result<Limit> {
    let client = Arc::new(Client::new(api, provider).await?);
    let (ids, next) = (Arc::new(ids), Arc::new(AtomicUsize::new(0)));
    let (own, sandbox, began) = (usage::own()?, provider.spent()?, Instant::now());
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (client, ids, next) = (Arc::clone(&client), Arc::clone(&ids), Arc::clone(&next));
        tasks.spawn(async move {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                client.cancel(*id).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(Limit {
        seconds: began.elapsed().as_secs_f64(),
        own_cpu_us: per_session(usage::own()?.saturating_sub(own), ids.len()),
        sandbox_cpu_us: per_session(provider.spent()?.saturating_sub(sandbox), ids.len()),
    })
}

struct Client {
    http: reqwest::Client,
    base: String,
    authorization: HeaderValue,
}

impl Client {
    async fn new(api: &config::Api, provider: &Provider) -> Result<Self> {
        Ok(Self {
            http: geft_sweeper::geft::http_client(api)?,
            base: provider.url().to_owned(),
            authorization: HeaderValue::try_from(format!("Bearer {}", provider.token().await?))?,
        })
    }

    /// One cancel request, and status where the answer says that the session cannot be canceled: what any client must send.
    async fn cancel(&self, id: Uuid) -> Result<()> {
        let url = format!("{}/api/v2/sessions/{id}/cancel", self.base);
        let request = self.http.post(url).header(CONTENT_LENGTH, 0).header(AUTHORIZATION, self.authorization.clone());
        let answer = request.send().await?;
        let in_doubt = matches!(answer.status().as_u16(), 400 | 404);
        answer.bytes().await?;
        if in_doubt {
            self.http.get(format!("{}/api/v2/sessions/{id}/status", self.base)).send().await?.bytes().await?;
        }
        Ok(())
    }
}
