//! The sandbox as a process of its own, so that what it costs is nobody else's.
//!
//! It is killed when the value is dropped.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::figures::Answers;
use crate::usage;

/// Sessions put in with one call.
const AT_ONCE: usize = 50_000;

/// A running sandbox.
pub(crate) struct Provider {
    child: Child,
    /// Held open: it writes more than its address.
    _output: BufReader<ChildStdout>,
    url: String,
    http: reqwest::Client,
}

impl Provider {
    /// Starts one that answers so, after this wait.
    pub(crate) fn start(program: &Path, answers: Answers, latency_ms: u64) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--latency", &latency_ms.to_string()]);
        if answers == Answers::Mixed {
            command.args(["--fault", "cancel:500_before_effect=0.02"]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting the sandbox")?;
        let mut output = BufReader::new(child.stdout.take().context("the sandbox has no output")?);
        let mut url = String::new();
        output.read_line(&mut url)?;
        ensure!(url.starts_with("http://"), "the sandbox did not say where it listens: {url}");
        // Not through a proxy of the developer's.
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        Ok(Self { child, _output: output, url: url.trim_end().to_owned(), http })
    }

    /// Where it listens, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Puts these sessions in. With mixed answers a tenth have expired, and one in a hundred is not known.
    pub(crate) async fn seed(&self, ids: &[Uuid], answers: Answers) -> Result<()> {
        let session = |(number, id): (usize, &Uuid)| match (answers, number % 100) {
            (Answers::Mixed, 0) => None,
            (Answers::Mixed, other) if other % 10 == 5 => Some(json!({"sessionId": id, "status": "Expired"})),
            _ => Some(json!({"sessionId": id})),
        };
        let sessions: Vec<Value> = ids.iter().enumerate().filter_map(session).collect();
        for part in sessions.chunks(AT_ONCE) {
            let request = self.http.post(format!("{}/sandbox/sessions", self.url));
            let answer = request.body(serde_json::to_vec(part)?).header("content-type", "application/json").send();
            answer.await?.error_for_status()?;
        }
        Ok(())
    }

    /// A token for cancel requests.
    pub(crate) async fn token(&self) -> Result<String> {
        let request = self.http.post(format!("{}/api/v1/authorize", self.url)).basic_auth("demo", Some("demo-secret"));
        let answer = request.form(&[("grant_type", "client_credentials")]).send().await?.bytes().await?;
        let grant: Value = serde_json::from_slice(&answer)?;
        grant["access_token"].as_str().map(str::to_owned).context("the sandbox gave no token")
    }

    /// How many cancel requests arrived.
    pub(crate) async fn cancels(&self) -> Result<u64> {
        let answer = self.http.get(format!("{}/sandbox/counts", self.url)).send().await?.bytes().await?;
        let counts: Value = serde_json::from_slice(&answer)?;
        counts["arrived"]["cancel"].as_u64().context("the sandbox counted no cancel request")
    }

    /// Its processor time so far.
    pub(crate) fn spent(&self) -> Result<Duration> {
        usage::running(self.child.id())
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // What is gone already need not be killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
