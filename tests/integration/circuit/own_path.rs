//! One process whose own way to the API is broken, among healthy ones: it slows nobody, spends no budget, and joins in
//! when its way is mended.

use std::net::SocketAddr;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{LIMIT, quick, quiet};
use crate::support::{Program, Running, Shop, eventually};
use crate::tls::Door;

/// A proxy that carries one process's connections to the API, and can be broken.
struct Way {
    address: SocketAddr,
    broken: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Way {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let broken = watch::Sender::new(false);
        let task = tokio::spawn(serve(listener, server, broken.subscribe()));
        Self { address, broken, task }
    }

    /// Ends every connection, and those that are made from now on.
    fn break_down(&self) {
        self.broken.send_replace(true);
    }

    fn mend(&self) {
        self.broken.send_replace(false);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, broken: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        let mut broken = broken.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = broken.wait_for(|broken| *broken) => {}
                _ = carry(client, server) => {}
            }
        });
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    // The client says nothing more before its CONNECT is answered.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && client.read_buf(&mut head).await? > 0 {}
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await?;
    Ok(())
}

/// One API for two processes, of which one goes through a proxy.
struct Scene {
    shop: Shop,
    door: Door,
    way: Way,
}

impl Scene {
    async fn new() -> Self {
        let shop = Shop::new().await;
        shop.provider.set_faults(quiet()).unwrap();
        let door = Door::before(shop.provider.address(), "127.0.0.1").await;
        let way = Way::to(door.address).await;
        Self { shop, door, way }
    }

    fn healthy(&self) -> Program {
        quick(&self.shop)
            .with("api.base_url", self.door.url())
            .with("api.ca_file", self.door.authority.to_str().unwrap())
            .with("api.max_in_flight", 4)
            .with("retry.max_attempts", 3)
    }

    fn sick(&self) -> Program {
        self.healthy().with_variable("HTTPS_PROXY", &format!("http://{}", self.way.address))
    }

    async fn all_canceled(&self, number: i64) {
        eventually(LIMIT, async || self.shop.number("canceled").await == number).await;
    }

    /// Attempts that count against a session.
    async fn spent(&self) -> i64 {
        self.shop.value("SELECT coalesce(sum(counted_attempts), 0) FROM geft_sweeper.cancellations").await
    }
}

/// Why the circuit was opened in this process, each time.
fn opened(daemon: &Running) -> Vec<String> {
    let reason = |event: serde_json::Value| event["hold.reason"].as_str().unwrap().to_owned();
    daemon.events("circuit.opened").into_iter().map(reason).collect()
}

#[tokio::test]
async fn a_process_that_alone_cannot_reach_the_api_opens_the_circuit_for_all_once_and_joins_in_when_it_can() {
    let scene = Scene::new().await;
    let shop = &scene.shop;
    shop.abandon(1).await;
    let sick = scene.sick().start(["run"]);
    scene.all_canceled(1).await;
    scene.way.break_down();
    let healthy = scene.healthy().start(["run"]);
    healthy.logged("\"sweep.ended\"").await;

    // Long enough for the sick one to try alone, again and again.
    let mut slow = quiet();
    slow.cancel.latency_ms = 100;
    shop.provider.set_faults(slow).unwrap();
    shop.abandon(500).await;
    sick.logged("\"own_path\"").await;
    let spent = scene.spent().await;
    scene.all_canceled(501).await;
    assert_eq!(opened(&sick), ["api_down", "own_path"], "{}", sick.stderr());
    assert!(opened(&healthy).len() <= 1, "{}", healthy.stderr());
    let tries = "SELECT count(*) FROM geft_sweeper.cancel_attempts WHERE outcome = 'network_error'";
    assert!(shop.value::<i64>(tries).await > spent + 1, "it has tried alone more than once: {}", sick.stderr());
    assert_eq!(scene.spent().await, spent, "and not at the sessions' cost");
    shop.assert_no_gap().await;

    let means = "this process alone cannot reach the API, others can";
    let ready = sick.endpoints().await.json("/readyz").await.1;
    assert_eq!(
        (&ready["circuit"], &ready["held_back_by"][0]["reason"]),
        (&"open".into(), &"own_path".into()),
        "{ready}"
    );
    assert!(ready["held_back_by"][0]["means"].as_str().unwrap().starts_with(means), "{ready}");
    assert!(sick.events("circuit.opened")[1]["message"].as_str().unwrap().contains(means), "{}", sick.stderr());
    eventually(LIMIT, async || scene.healthy().run(["status"]).await.stdout.contains(means)).await;

    healthy.signal(Signal::SIGTERM);
    healthy.finished().await.expect_code(0);
    scene.way.mend();
    shop.abandon(20).await;
    scene.all_canceled(521).await;
    assert_eq!(sick.events("circuit.closed").len(), 2, "{}", sick.stderr());
}

#[tokio::test]
async fn a_process_that_alone_gets_no_token_holds_back_no_other_that_starts() {
    let scene = Scene::new().await;
    scene.way.break_down();
    scene.shop.abandon(50).await;
    let sick = scene.sick().start(["run"]);
    sick.logged("\"no_token\"").await;
    let healthy = scene.healthy().start(["run"]);
    scene.all_canceled(50).await;
    scene.shop.abandon(1).await;
    scene.all_canceled(51).await;
    // It needs something to send, so that it can find out that it is alone.
    healthy.signal(Signal::SIGTERM);
    healthy.finished().await.expect_code(0);
    scene.shop.abandon(50).await;
    sick.logged("\"own_path\"").await;
    let swept = scene.healthy().run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!(swept.json()["canceled"], 50, "{}", swept.stderr);
    assert!(!swept.stderr.contains("circuit.opened"), "{}", swept.stderr);
    assert_eq!(opened(&sick), ["no_token", "own_path"], "{}", sick.stderr());
    assert_eq!(scene.spent().await, 0);
}
