//! Instances of apps: real HTTP servers with the manners and bad manners tests need.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use slipway_domain::routing::Upstream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc};

/// A running instance.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// Requests seen.
    pub(crate) seen: Arc<AtomicUsize>,
    /// Lets one request to `/wait` go on.
    pub(crate) release: Arc<Notify>,
    /// Told when a request to `/wait` has come.
    pub(crate) waiting: Arc<Notify>,
    /// What `/events` sends.
    pub(crate) events: mpsc::Sender<Bytes>,
}

impl App {
    pub(crate) fn upstream(&self) -> Upstream {
        Upstream {
            instance: self.name.clone(),
            address: self.address,
        }
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// An address nobody listens on.
pub(crate) async fn nobody(name: &str) -> Upstream {
    let (listener, address) = listener().await;
    drop(listener);
    Upstream {
        instance: name.into(),
        address,
    }
}

/// An instance whose machine takes no further connection: packets to it get no answer. For as long as the rest lives.
pub(crate) async fn black_hole(name: &str) -> (Upstream, impl Sized) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let listener = socket.listen(1).expect("listens");
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    // Until its line is full.
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(stream);
    }
    let upstream = Upstream {
        instance: name.into(),
        address,
    };
    (upstream, (listener, waiting))
}

/// An instance that behaves.
pub(crate) async fn polite(name: &str) -> App {
    polite_at(name, ([127, 0, 0, 1], 0).into()).await
}

/// The same at an address that is free.
pub(crate) async fn polite_at(name: &str, address: SocketAddr) -> App {
    let listener = TcpListener::bind(address).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (events, receiver) = mpsc::channel(4);
    let app = App {
        name: name.into(),
        address,
        seen: Arc::default(),
        release: Arc::default(),
        waiting: Arc::default(),
        events,
    };
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let served = app.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (app, receiver) = (served.clone(), Arc::clone(&receiver));
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(app.clone(), Arc::clone(&receiver), request));
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    app
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn text(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

fn dump(headers: &HeaderMap) -> String {
    let lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
        .collect();
    lines.join("\n")
}

async fn answer(
    app: App,
    events: Arc<tokio::sync::Mutex<mpsc::Receiver<Bytes>>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    app.seen.fetch_add(1, Ordering::SeqCst);
    Ok(match request.uri().path() {
        "/headers" => text(dump(request.headers())),
        "/target" => text(request.uri().to_string()),
        "/digest" => {
            let mut hasher = Sha256::new();
            let mut len = 0;
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Ok(text("broken")) };
                if let Some(data) = frame.data_ref() {
                    len += data.len();
                    hasher.update(data);
                }
            }
            text(format!("{len} {:x?}", hasher.finalize().as_slice()))
        }
        "/echo" => Response::new(request.into_body().map_err(|_| unreachable_error()).boxed_unsync()),
        "/wait" => {
            app.waiting.notify_one();
            app.release.notified().await;
            text(format!("{} waited", app.name))
        }
        "/never" => std::future::pending().await,
        "/events" => {
            let stream = futures_util::stream::unfold(events, |events| async move {
                let event = events.lock().await.recv().await?;
                Some((Ok(Frame::data(event)), events))
            });
            let mut response = Response::new(StreamBody::new(stream).boxed_unsync());
            response
                .headers_mut()
                .insert("content-type", "text/event-stream".parse().expect("a value"));
            response
        }
        "/hop" => {
            let mut response = text("hop");
            response
                .headers_mut()
                .insert("connection", "x-internal".parse().expect("a value"));
            response
                .headers_mut()
                .insert("x-internal", "1".parse().expect("a value"));
            response.headers_mut().insert("x-kept", "1".parse().expect("a value"));
            response
        }
        _ => text(app.name.clone()),
    })
}

fn unreachable_error() -> Infallible {
    panic!("the request body broke")
}

/// An instance that echoes WebSocket messages.
pub(crate) async fn websocket(name: &str) -> Upstream {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Upstream {
        instance: name.into(),
        address,
    }
}

/// An instance that writes these bytes after the first request on a connection, then closes it. Counts connections.
pub(crate) async fn blunt(name: &str, says: &'static str) -> (Upstream, Arc<AtomicUsize>) {
    let (listener, address) = listener().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(says.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (
        Upstream {
            instance: name.into(),
            address,
        },
        connections,
    )
}
