//! An HTTP server on a Unix socket, as far as it is like a container engine, and a client for it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use slipway_chaos::faults::Script;
use slipway_chaos::faults::http::HttpProxy;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The engine, the proxy before it, and the directory of both.
pub(crate) struct World {
    pub(crate) proxy: HttpProxy,
    pub(crate) events: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
    _cut: DropGuard,
    _dir: tempfile::TempDir,
}

struct Shared {
    seen: Mutex<Vec<String>>,
    events: tokio::sync::Mutex<mpsc::Receiver<Bytes>>,
    tasks: TaskTracker,
}

impl World {
    pub(crate) fn start(script: Script) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let engine = dir.path().join("engine.sock");
        let listener = UnixListener::bind(&engine).expect("a socket");
        let (events, receiver) = mpsc::channel(4);
        let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            events: tokio::sync::Mutex::new(receiver),
            tasks: tasks.clone(),
        });
        let accept = accept(listener, Arc::clone(&shared), cut.clone());
        tasks.spawn(cut.clone().run_until_cancelled_owned(accept));
        let proxy = HttpProxy::start(&dir.path().join("proxy.sock"), &engine, script).expect("a proxy");
        Self {
            proxy,
            events,
            shared,
            tasks,
            _cut: cut.drop_guard(),
            _dir: dir,
        }
    }

    /// What came to the engine, and with which body.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().clone()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.proxy.socket().to_owned()
    }

    /// A connection to the proxy.
    pub(crate) async fn client(&self) -> SendRequest<Full<Bytes>> {
        connect(&self.socket(), &self.tasks).await
    }

    /// One call on a connection of its own: the status and the body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), hyper::Error> {
        let mut client = self.client().await;
        let response = client.send_request(request(method, path, body)).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

pub(crate) fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", "engine");
    request.body(Full::new(body.to_owned().into())).expect("a request")
}

async fn connect(socket: &Path, tasks: &TaskTracker) -> SendRequest<Full<Bytes>> {
    let stream = UnixStream::connect(socket).await.expect("a connection");
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/1.1");
    tasks.spawn(connection.with_upgrades());
    sender
}

async fn accept(listener: UnixListener, shared: Arc<Shared>, cut: CancellationToken) {
    while let Ok((stream, _)) = listener.accept().await {
        let for_service = Arc::clone(&shared);
        let serving = async move {
            let service = service_fn(move |request| answer(Arc::clone(&for_service), request));
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let _ = serving.await;
        };
        shared.tasks.spawn(cut.clone().run_until_cancelled_owned(serving));
    }
}

async fn answer(shared: Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    if path.ends_with("/attach") {
        shared.seen.lock().push(format!("{method} {path}"));
        let upgrade = hyper::upgrade::on(&mut request);
        shared.tasks.spawn(async move {
            let Ok(upgraded) = upgrade.await else { return };
            let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
        });
        let mut switching = Response::new(Full::default().boxed_unsync());
        *switching.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [("connection", "Upgrade"), ("upgrade", "tcp")] {
            switching.headers_mut().insert(name, value.parse().expect("a value"));
        }
        return Ok(switching);
    }
    let body = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    let body = body.unwrap_or_else(|_| Bytes::from_static(b"(broken)"));
    let text = String::from_utf8_lossy(&body).into_owned();
    shared
        .seen
        .lock()
        .push(format!("{method} {path} {text}").trim_end().to_owned());
    if path.ends_with("/events") {
        let stream = futures_util::stream::unfold(shared, |shared| async move {
            let event = shared.events.lock().await.recv().await?;
            Some((Ok(Frame::data(event)), shared))
        });
        return Ok(Response::new(StreamBody::new(stream).boxed_unsync()));
    }
    Ok(Response::new(
        Full::new(format!("did {path} {text}").into()).boxed_unsync(),
    ))
}
