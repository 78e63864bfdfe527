//! The provider behind HTTPS with a certificate of a private authority: believed only where it was named.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::commands::{MINUTE, Shop};

/// A door with TLS in front of a plain server.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// The authority's certificate in PEM.
    pub(crate) authority: PathBuf,
    _folder: TempDir,
    task: JoinHandle<()>,
}

impl Door {
    /// Opens one with a certificate for this name.
    pub(crate) async fn before(server: SocketAddr, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("authority.pem");
        std::fs::write(&file, authority.pem()).unwrap();

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), server));
        Self { address, authority: file, _folder: folder, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, server: SocketAddr) {
    while let Ok((outer, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // Who does not believe the certificate goes away here.
            let Ok(mut outer) = acceptor.accept(outer).await else { return };
            let mut inner = TcpStream::connect(server).await.unwrap();
            copy_bidirectional(&mut outer, &mut inner).await.ok();
        });
    }
}

#[tokio::test]
async fn with_the_authority_named_in_ca_file_sessions_are_canceled() {
    let shop = Shop::new().await;
    let door = Door::before(shop.sandbox.address(), "127.0.0.1").await;
    let id = shop.add("abandoned", MINUTE).await;
    let program = shop.program().with("api.base_url", door.url()).with("api.ca_file", door.authority.to_str().unwrap());
    program.run(["check"]).await.expect_code(0);
    assert_eq!(program.run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 1);
    assert_eq!(shop.sandbox.cancels(id), 1);
    shop.database.close().await;
}

#[tokio::test]
async fn an_unknown_authority_is_not_believed_and_no_session_is_lost() {
    let shop = Shop::new().await;
    let door = Door::before(shop.sandbox.address(), "127.0.0.1").await;
    shop.add("abandoned", MINUTE).await;
    let program = shop.program().with("api.base_url", door.url());
    let said = program.run(["check"]).await.expect_code(1);
    let line = said.stdout.lines().find(|line| line.starts_with("fail  api ")).expect("a line about the API");
    assert!(line.contains("certificate") && line.contains(&door.url()), "{line}");

    let said = program.run(["sweep", "--json"]).await;
    assert_eq!(said.json()["canceled"], 0);
    assert!(said.stderr.contains("certificate"), "{}", said.stderr);
    shop.expect_no_request();
    // No cancel request was begun, so there is no attempt; the session waits for better days.
    assert_eq!(shop.value::<String>("SELECT state || attempts FROM geft_sweeper.cancellations").await, "pending0");
    assert_eq!(shop.value::<i64>("SELECT count(*) FROM geft_sweeper.cancel_attempts").await, 0);

    let program = program.with("api.ca_file", door.authority.to_str().unwrap());
    assert_eq!(program.run(["sweep", "--wait", "1m", "--json"]).await.expect_code(0).json()["canceled"], 1);
    shop.database.close().await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_believed() {
    let shop = Shop::new().await;
    let door = Door::before(shop.sandbox.address(), "geft.example.com").await;
    let program = shop.program().with("api.base_url", door.url()).with("api.ca_file", door.authority.to_str().unwrap());
    let said = program.run(["check"]).await.expect_code(1);
    assert!(said.stdout.contains("certificate"), "{}", said.stdout);
    shop.expect_no_request();
    shop.database.close().await;
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_before_anything_is_sent() {
    let shop = Shop::new().await;
    let said = shop.program().with("api.base_url", "http://192.0.2.1:8080").run(["sweep"]).await.expect_code(2);
    assert_eq!(said.stdout, "");
    let sentence =
        "geft-sweeper: api.base_url is \"http://192.0.2.1:8080\", which would send the credentials in the clear: ";
    assert!(said.stderr.starts_with(sentence) && said.stderr.lines().count() == 1, "{}", said.stderr);
    shop.database.close().await;
}

#[tokio::test]
async fn a_ca_file_that_holds_no_certificate_is_refused() {
    let shop = Shop::new().await;
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (file, says) in [(empty.to_str().unwrap(), "holds no certificate"), ("/no/such.pem", "cannot be read")] {
        let said = shop.program().with("api.ca_file", file).run(["status"]).await.expect_code(2);
        assert!(said.stderr.contains("api.ca_file names ") && said.stderr.contains(says), "{}", said.stderr);
    }
    shop.database.close().await;
}
