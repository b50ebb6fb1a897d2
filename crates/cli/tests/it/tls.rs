//! HTTPS with an authority of one's own.

use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::api::{Server, list};
use crate::world::World;

/// A server at `localhost` with a certificate of a new authority: its address and the authority's PEM.
async fn start() -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["console.localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!(
        "https://console.localhost:{}",
        listener.local_addr().expect("an address").port()
    );
    let app = Router::new().fallback(any(|| async { "{\"items\":[],\"next_cursor\":null}" }));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("accepts");
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = TowerToHyperService::new(app);
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (url, authority.pem())
}

#[tokio::test]
async fn an_unknown_authority_is_refused_until_it_is_named() {
    let (url, pem) = start().await;
    let world = World::at(&url);
    world
        .run(&["apps", "list"])
        .await
        .refused(1, &["an authority that this machine does not know", "--cacert"]);
    world.file("root.pem", &pem);
    world.run(&["apps", "list", "--cacert", "root.pem"]).await.succeeded();
    let world = world.with("SLIPWAY_CACERT", "root.pem");
    world.run(&["apps", "list"]).await.succeeded();
    let other = url.replace("console.localhost", "other.localhost");
    world
        .run(&["apps", "list", "--url", &other])
        .await
        .refused(1, &["is for another name"]);
}

#[tokio::test]
async fn the_authority_is_stored_with_the_login() {
    let (url, pem) = start().await;
    let world = World::bare().stdin(&crate::world::token());
    world.file("root.pem", &pem);
    world
        .run(&["login", &url, "--token-stdin", "--cacert", "root.pem"])
        .await
        .succeeded();
    world.run(&["apps", "list"]).await.succeeded();
}

#[tokio::test]
async fn a_file_that_is_no_authority_is_usage() {
    let world = World::at("https://127.0.0.1:1");
    world
        .run(&["apps", "list", "--cacert", "missing.pem"])
        .await
        .refused(2, &["missing.pem"]);
    world.file("empty.pem", "hello\n");
    world
        .run(&["apps", "list", "--cacert", "empty.pem"])
        .await
        .refused(2, &["it holds no certificate"]);
}

#[tokio::test]
async fn a_port_that_speaks_the_other_protocol_is_recognised() {
    let server = Server::start(|_| list(&[])).await;
    let hint = format!("use `{}`", server.url);
    World::at(&server.url.replace("http://", "https://"))
        .run(&["apps", "list"])
        .await
        .refused(1, &["the port speaks plain HTTP", &hint]);
    let (url, _) = start().await;
    let hint = format!("use `{url}`");
    World::at(&url.replace("https://", "http://"))
        .run(&["apps", "list"])
        .await
        .refused(1, &["the port speaks HTTPS", &hint]);
}
