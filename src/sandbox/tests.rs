//! Drives the sandbox over real HTTP.

mod api;
mod control;
mod faults;

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, redirect::Policy};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// What reqwest's own `json` does: the program is built without it.
trait ReadJson {
    async fn json<T: DeserializeOwned>(self) -> serde_json::Result<T>;
}

impl ReadJson for Response {
    async fn json<T: DeserializeOwned>(self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.bytes().await.unwrap())
    }
}

trait SendJson {
    fn json(self, body: &Value) -> Self;
}

impl SendJson for RequestBuilder {
    fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }
}

/// A client that neither follows redirects nor waits long.
fn client() -> Client {
    // Another test of this process may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().redirect(Policy::none()).timeout(Duration::from_secs(10)).build().unwrap()
}

struct Setup {
    sandbox: Sandbox,
    client: Client,
}

impl Setup {
    async fn with(faults: Faults) -> Self {
        let sandbox = Sandbox::start(Options { faults, ..Options::default() }).await.unwrap();
        Self { sandbox, client: client() }
    }

    fn url(&self, path: &str) -> String {
        self.sandbox.base_url() + path
    }

    fn session(&self) -> Uuid {
        self.sandbox.seed(vec![NewSession::default()]).unwrap()[0]
    }

    async fn authorize(&self, secret: &str) -> reqwest::Result<Response> {
        let form = [("grant_type", "client_credentials")];
        self.client.post(self.url("/api/v1/authorize")).basic_auth("demo", Some(secret)).form(&form).send().await
    }

    async fn token(&self) -> String {
        let answer: Value = self.authorize("demo-secret").await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn cancel(&self, id: Uuid, token: &str) -> reqwest::Result<Response> {
        self.client.post(self.url(&format!("/api/v2/sessions/{id}/cancel"))).bearer_auth(token).send().await
    }

    async fn status(&self, id: Uuid) -> reqwest::Result<Response> {
        self.client.get(self.url(&format!("/api/v2/sessions/{id}/status"))).send().await
    }

    async fn status_now(&self, id: Uuid) -> Value {
        self.status(id).await.unwrap().json().await.unwrap()
    }
}

fn cancel_faults(fault: &str) -> Faults {
    Faults { cancel: EndpointFaults::always(fault.parse::<Fault>().unwrap()), ..Faults::default() }
}

fn status_of(sandbox: &Sandbox, id: Uuid) -> String {
    sandbox.session(id).unwrap().status
}

async fn control(setup: &Setup, method: reqwest::Method, path: &str, body: Value) -> Response {
    setup.client.request(method, setup.url(path)).json(&body).send().await.unwrap()
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let listen = ([0, 0, 0, 0], 0).into();
    let refused = Sandbox::start(Options { listen, ..Options::default() }).await;
    assert!(matches!(refused, Err(Error::NotLoopback(_))));
}

#[tokio::test]
async fn stopping_ends_requests_that_hang() {
    let setup = Setup::with(cancel_faults("timeout")).await;
    let (id, token) = (setup.session(), setup.token().await);
    let Setup { sandbox, client } = setup;
    let url = format!("{}/api/v2/sessions/{id}/cancel", sandbox.base_url());
    let hanging = tokio::spawn(client.post(url).bearer_auth(token).send());
    sandbox.wait_for_requests(|counts| counts.arrived(Endpoint::Cancel) == 1).await;
    let address = sandbox.address();
    tokio::time::timeout(Duration::from_secs(5), sandbox.stop()).await.unwrap();
    assert!(hanging.await.unwrap().is_err());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn dropping_it_stops_it() {
    let setup = Setup::with(cancel_faults("timeout")).await;
    let (id, token) = (setup.session(), setup.token().await);
    let Setup { sandbox, client } = setup;
    let url = format!("{}/api/v2/sessions/{id}/cancel", sandbox.base_url());
    let hanging = tokio::spawn(client.post(url).bearer_auth(token).send());
    sandbox.wait_for_requests(|counts| counts.arrived(Endpoint::Cancel) == 1).await;
    drop(sandbox);
    assert!(hanging.await.unwrap().is_err());
}
