//! The laboratory's proxy breaks connections as it says, and otherwise leaves them alone.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::proxy::{Flow, Proxy, Target, Way};

/// Long enough for what must not come.
const WHILE: Duration = Duration::from_millis(100);

/// A connection through a proxy: the proxy, the client's side and the server's.
async fn connected() -> (Proxy, TcpStream, TcpStream) {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(Target::Tcp(server.local_addr().unwrap())).await;
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    let (server, _) = server.accept().await.unwrap();
    (proxy, client, server)
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 16];
    stream.read(&mut bytes).await.map(|length| bytes[..length].to_vec())
}

#[tokio::test]
async fn bytes_pass_both_ways_and_the_end_too() {
    let (_proxy, mut client, mut server) = connected().await;
    client.write_all(b"ping").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), b"ping");
    server.write_all(b"pong").await.unwrap();
    assert_eq!(read(&mut client).await.unwrap(), b"pong");
    drop(client);
    assert_eq!(read(&mut server).await.unwrap(), b"");
}

#[tokio::test]
async fn a_stall_keeps_bytes_and_the_end_back_until_it_is_over() {
    let (proxy, mut client, mut server) = connected().await;
    let stalled = proxy.renew();
    stalled.set(Way::ToServer, Flow::Stall);
    client.write_all(b"late").await.unwrap();
    drop(client);
    assert!(timeout(WHILE, read(&mut server)).await.is_err());
    stalled.set(Way::ToServer, Flow::Pass);
    assert_eq!(read(&mut server).await.unwrap(), b"late");
    assert_eq!(read(&mut server).await.unwrap(), b"");
}

#[tokio::test]
async fn a_delay_takes_its_time() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.cohort().set(Way::ToServer, Flow::Delay(WHILE));
    let began = std::time::Instant::now();
    client.write_all(b"slow").await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), b"slow");
    assert!(began.elapsed() >= WHILE);
}

#[tokio::test]
async fn swallowed_bytes_are_gone_and_later_ones_pass() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.cohort().set(Way::ToClient, Flow::Swallow);
    server.write_all(b"gone").await.unwrap();
    assert!(timeout(WHILE, read(&mut client)).await.is_err());
    proxy.cohort().set(Way::ToClient, Flow::Pass);
    server.write_all(b"here").await.unwrap();
    assert_eq!(read(&mut client).await.unwrap(), b"here");
}

#[tokio::test]
async fn a_cut_resets_both_sides() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.renew().cut();
    assert_eq!(read(&mut client).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(read(&mut server).await.is_ok_and(|bytes| bytes.is_empty()));
}

#[tokio::test]
async fn a_half_closed_connection_still_carries_the_other_way() {
    let (proxy, mut client, mut server) = connected().await;
    proxy.renew().half_close(Way::ToServer);
    assert_eq!(read(&mut server).await.unwrap(), b"");
    server.write_all(b"still").await.unwrap();
    assert_eq!(read(&mut client).await.unwrap(), b"still");
}

#[tokio::test]
async fn a_proxy_that_refuses_resets_new_connections_until_it_serves_again() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(Target::Tcp(server.local_addr().unwrap())).await;
    proxy.refuse();
    let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(read(&mut refused).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    proxy.serve();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"again").await.unwrap();
    let (mut server, _) = server.accept().await.unwrap();
    assert_eq!(read(&mut server).await.unwrap(), b"again");
}
