//! What a process in the background says of itself: its log events, and its endpoints for health and metrics.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Running;

impl Running {
    /// The log events of this name so far.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        events(&self.stderr(), name)
    }

    /// Waits until it listens on 127.0.0.1, and gives its endpoints, whatever form its log has.
    pub(crate) async fn endpoints(&self) -> Endpoints {
        self.logged("\"server.listening\"").await;
        let log = self.stderr();
        let line = log.lines().find(|line| line.contains("\"server.listening\"")).unwrap();
        let (_, port) = line.split_once("127.0.0.1:").unwrap();
        Endpoints { address: format!("127.0.0.1:{}", port.split(|c: char| !c.is_ascii_digit()).next().unwrap()) }
    }
}

/// The log events of this name on a standard error of JSON lines; the last line may not be complete yet.
pub(crate) fn events(stderr: &str, name: &str) -> Vec<Value> {
    let lines = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == name).collect()
}

/// `/healthz`, `/readyz` and `/metrics` of one process.
pub(crate) struct Endpoints {
    address: String,
}

impl Endpoints {
    /// The status and the body of an answer.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The same with a body of JSON.
    pub(crate) async fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Whether `/readyz` says ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.get("/readyz").await.0 == 200
    }

    /// The value of a metric, written as `/metrics` shows it, labels included.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}
