//! A control plane reduced to its socket: serves the snapshot and certificates it is given, keeps the acks it gets.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use slipway_domain::routing::{Ack, CertificateMaterial, NameAnswer, NameWish, Snapshot};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::world::within;

/// What the control plane says and hears; outlives its socket.
struct Shared {
    snapshot: watch::Sender<Option<Snapshot>>,
    certificates: Mutex<BTreeMap<String, CertificateMaterial>>,
    acks: watch::Sender<Vec<Ack>>,
    /// Names that are wanted, and all that were asked for.
    wanted: Mutex<Vec<String>>,
    asked: watch::Sender<Vec<String>>,
}

/// The control plane.
pub(crate) struct Control {
    socket: PathBuf,
    shared: Arc<Shared>,
    up: Option<CancellationToken>,
}

impl Control {
    pub(crate) fn at(socket: &Path) -> Self {
        let shared = Arc::new(Shared {
            snapshot: watch::Sender::new(None),
            certificates: Mutex::default(),
            acks: watch::Sender::new(Vec::new()),
            wanted: Mutex::default(),
            asked: watch::Sender::new(Vec::new()),
        });
        Self {
            socket: socket.to_owned(),
            shared,
            up: None,
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn start(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).expect("a control socket");
        let up = CancellationToken::new();
        self.up = Some(up.clone());
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.expect("accept"),
                    () = up.cancelled() => return,
                };
                let (shared, up) = (Arc::clone(&shared), up.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
                    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    tokio::select! {
                        _ = serving => {}
                        () = up.cancelled() => {}
                    }
                });
            }
        });
    }

    /// Goes away with all its connections.
    pub(crate) fn stop(&mut self) {
        if let Some(up) = self.up.take() {
            up.cancel();
        }
        let _ = std::fs::remove_file(&self.socket);
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.shared.snapshot.send_replace(Some(snapshot));
    }

    pub(crate) fn has_certificate(&self, material: CertificateMaterial) {
        self.shared
            .certificates
            .lock()
            .insert(material.id.to_string(), material);
    }

    /// From now on a certificate for this name is on its way.
    pub(crate) fn wants(&self, name: &str) {
        self.shared.wanted.lock().push(name.to_owned());
    }

    /// Names that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.borrow().clone()
    }

    /// Waits until a name was asked for.
    pub(crate) async fn is_asked_for(&self, name: &str) {
        let mut asked = self.shared.asked.subscribe();
        let found = within(name, asked.wait_for(|asked| asked.iter().any(|one| one == name))).await;
        found.expect("open");
    }

    pub(crate) fn forget_acks(&self) {
        self.shared.acks.send_replace(Vec::new());
    }

    /// Waits until an acknowledgement like this has come.
    pub(crate) async fn acknowledged(&self, what: &str, wanted: impl Fn(&Ack) -> bool) -> Ack {
        let mut acks = self.shared.acks.subscribe();
        let found = within(what, acks.wait_for(|acks| acks.iter().any(&wanted)))
            .await
            .expect("open");
        found.iter().find(|ack| wanted(ack)).expect("just seen").clone()
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()).boxed_unsync());
    *response.status_mut() = status;
    response
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    Ok(match (request.method(), path.as_str()) {
        (&Method::GET, "/internal/v1/snapshots") => {
            assert!(
                request
                    .uri()
                    .query()
                    .is_some_and(|query| query.starts_with("proxy=prx_"))
            );
            let snapshots = lines_of(shared.snapshot.subscribe());
            Response::new(StreamBody::new(snapshots).boxed_unsync())
        }
        (&Method::POST, "/internal/v1/acks") => {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let ack: Ack = serde_json::from_slice(&body).expect("an ack");
            shared.acks.send_modify(|acks| acks.push(ack));
            text(StatusCode::NO_CONTENT, "")
        }
        (&Method::POST, "/internal/v1/names") => {
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let wish: NameWish = serde_json::from_slice(&body).expect("a wish");
            let wanted = shared.wanted.lock().contains(&wish.host.to_string());
            shared.asked.send_modify(|asked| asked.push(wish.host.to_string()));
            text(
                StatusCode::OK,
                serde_json::to_vec(&NameAnswer { wanted }).expect("JSON"),
            )
        }
        (&Method::GET, path) if path.starts_with("/internal/v1/certificates/") => {
            let id = path.rsplit('/').next().unwrap_or_default();
            match shared.certificates.lock().get(id) {
                Some(material) => text(StatusCode::OK, serde_json::to_vec(material).expect("JSON")),
                None => text(StatusCode::NOT_FOUND, ""),
            }
        }
        _ => text(StatusCode::NOT_FOUND, ""),
    })
}

fn lines_of(
    snapshots: watch::Receiver<Option<Snapshot>>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static {
    let (lines, received) = tokio::sync::mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        let mut snapshots = snapshots;
        snapshots.mark_changed();
        while snapshots.changed().await.is_ok() {
            let line = snapshots
                .borrow_and_update()
                .as_ref()
                .map(|s| serde_json::to_vec(s).expect("JSON"));
            let Some(mut line) = line else { continue };
            line.push(b'\n');
            if lines.send(line.into()).await.is_err() {
                return;
            }
        }
    });
    futures_util::stream::unfold(received, |mut received| async move {
        Some((received.recv().await?, received))
    })
    .map(|line| Ok(Frame::data(line)))
}
