//! TLS servers on free ports, each with its own certificate and its own manners.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use slipway_chaos::load::Target;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub(crate) const HOST: &str = "app.test";
pub(crate) const APP: &str = "web";

pub(crate) type Stream = TlsStream<TcpStream>;

/// A running server. Dropping it closes its connections.
pub(crate) struct Server {
    address: SocketAddr,
    root_pem: String,
    connections: Arc<AtomicUsize>,
    _cut: DropGuard,
}

impl Server {
    /// Serves each connection as told. Connections are numbered from 1.
    pub(crate) async fn start<S, F>(protocol: &str, serve: S) -> Self
    where
        S: Fn(Stream, usize) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let pair = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .expect("a pair");
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connections, cut, tasks) = (
            Arc::new(AtomicUsize::new(0)),
            CancellationToken::new(),
            TaskTracker::new(),
        );
        let counted = Arc::clone(&connections);
        let (serve, inner_cut, inner_tasks) = (Arc::new(serve), cut.clone(), tasks.clone());
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, serve) = (acceptor.clone(), Arc::clone(&serve));
                let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let serving = async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, number).await;
                    }
                };
                inner_tasks.spawn(inner_cut.clone().run_until_cancelled_owned(serving));
            }
        };
        tasks.spawn(cut.clone().run_until_cancelled_owned(accepting));
        Self {
            address,
            root_pem: pair.cert.pem(),
            connections,
            _cut: cut.drop_guard(),
        }
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            address: self.address,
            host: HOST.into(),
            root_pem: self.root_pem.clone().into_bytes(),
            app: APP.into(),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// What the app answers to `/echo`.
pub(crate) fn echo(id: &str, release: &str) -> String {
    format!("{{\"app\":\"{APP}\",\"release\":\"{release}\",\"id\":\"{id}\"}}")
}

fn fnv(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The app as it should be.
pub(crate) async fn app(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().unwrap_or("").to_owned();
    let text = match request.uri().path() {
        "/echo" => echo(query.strip_prefix("id=").unwrap_or(""), "1"),
        "/sse" => {
            let count: u32 = query.strip_prefix("n=").and_then(|n| n.parse().ok()).unwrap_or(0);
            let event = |n: u32| format!("id: {n}\ndata: event {n}\n\n");
            (0..count).map(event).collect::<Vec<_>>().concat()
        }
        "/upload" => {
            let body = request.into_body().collect().await.expect("a whole body").to_bytes();
            format!("{{\"length\":{},\"sum\":\"{:016x}\"}}", body.len(), fnv(&body))
        }
        _ => {
            let mut missing = Response::new(Full::default());
            *missing.status_mut() = StatusCode::NOT_FOUND;
            return Ok(missing);
        }
    };
    Ok(Response::new(Full::new(text.into())))
}

/// HTTP/1.1 by hand, for servers that do what no library does.
pub(crate) struct Raw(BufStream<Stream>);

impl Raw {
    pub(crate) fn new(stream: Stream) -> Self {
        Self(BufStream::new(stream))
    }

    /// The id in the next request's target, once its head is here. `None` at the end of the connection.
    pub(crate) async fn next_id(&mut self) -> Option<String> {
        let mut first = String::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            if first.is_empty() {
                first.clone_from(&line);
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let target = first.split_whitespace().nth(1).unwrap_or("");
        Some(target.split_once("id=").map_or("", |(_, id)| id).to_owned())
    }

    pub(crate) async fn write(&mut self, text: &str) {
        // A client that is gone is its own affair.
        let _ = self.0.write_all(text.as_bytes()).await;
        let _ = self.0.flush().await;
    }

    /// A whole answer, after which the connection stays open.
    pub(crate) async fn answer(&mut self, body: &str) {
        self.write(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    }

    /// Says goodbye, and reads what is still coming, so that the goodbye is not overtaken by a reset.
    pub(crate) async fn close(mut self) {
        let _ = self.0.shutdown().await;
        let _ = self.0.read_to_end(&mut Vec::new()).await;
    }
}
