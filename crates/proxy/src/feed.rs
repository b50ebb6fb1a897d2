//! The line to the control plane: snapshots in, acknowledgements out, over HTTP/1.1 on its Unix socket.
//!
//! Promises: reconnects for ever, first after 100 ms, at most 5 s apart; a line that is silent for three keep-alives is
//! taken for dead; a line has a maximum length; an acknowledgement is sent after each change of the version in force
//! or of the list of draining instances, and again after each reconnect, and only the newest one matters.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use slipway_domain::generation::RouteVersion;
use slipway_domain::ids::{CertificateId, ProxyId};
use slipway_domain::name::HostName;
use slipway_domain::routing::{Ack, CertificateMaterial, NameAnswer, NameWish, Snapshot, Wake};
use slipway_domain::traffic::TrafficReport;
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;

use crate::config::{CERTIFICATE_BYTES_MAX, SNAPSHOT_BYTES_MAX};
use crate::proxy::Proxy;
use crate::sync::Routes;

/// So long after our own start the control plane may take for its own.
const START_MS_MAX: u64 = 10_000;
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// The control plane sends an empty line every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Between two looks at what is in flight.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// A report of what was counted after so many looks.
const SAMPLES_PER_REPORT: u32 = 10;
/// After the control plane could not be told that something is to wake.
const WAKE_RETRY: Duration = Duration::from_millis(200);
const CALL_MAX: Duration = Duration::from_secs(10);
/// An app that sleeps is woken before it is asked about a name.
const NAME_MAX: Duration = Duration::from_secs(20);
const CERTIFICATE_RETRY: Duration = Duration::from_secs(5);

/// Why the line broke.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the control plane answered {0}")]
    Status(StatusCode),
    #[error("it was silent for too long")]
    Silent,
    #[error("a line is longer than {SNAPSHOT_BYTES_MAX} bytes")]
    TooLong,
    #[error("the control plane ended the stream")]
    Ended,
    #[error("a request could not be made: {0}")]
    Request(#[from] http::Error),
    #[error("what it sent cannot be read: {0}")]
    Unreadable(String),
}

/// Where the control plane is, and who owns the connections to it.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    socket: Arc<Path>,
    wires: TaskTracker,
}

impl Control {
    pub(crate) fn new(socket: &Path, wires: TaskTracker) -> Self {
        Self {
            socket: socket.into(),
            wires,
        }
    }
}

/// One call on a connection of its own.
async fn call(control: &Control, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, FeedError> {
    let stream = UnixStream::connect(&control.socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends by itself when the answer was read or dropped.
    control.wires.spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "control")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(FeedError::Status(response.status()))
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, FeedError>>) -> Result<T, FeedError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(FeedError::Silent))
}

async fn certificate(control: &Control, id: CertificateId) -> Result<CertificateMaterial, FeedError> {
    let path = format!("/internal/v1/certificates/{id}");
    read(call(control, Method::GET, &path, Bytes::new()).await?).await
}

async fn read<T: serde::de::DeserializeOwned>(response: Response<Incoming>) -> Result<T, FeedError> {
    let body = Limited::new(response.into_body(), CERTIFICATE_BYTES_MAX)
        .collect()
        .await;
    let bytes = body
        .map_err(|error| FeedError::Unreadable(error.to_string()))?
        .to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| FeedError::Unreadable(error.to_string()))
}

async fn fetch(control: Control, id: CertificateId) -> Option<CertificateMaterial> {
    match within(CALL_MAX, certificate(&control, id)).await {
        Ok(material) => Some(material),
        Err(error) => {
            tracing::warn!(certificate = %id, %error, "proxy.certificate_not_fetched");
            None
        }
    }
}

/// Follows the control plane's snapshots until the proxy has drained.
pub(crate) async fn follow(proxy: Arc<Proxy>, control: Control, id: ProxyId, mut routes: Routes) {
    let mut back_off = BACK_OFF_FIRST;
    let mut told = false;
    loop {
        let mut received = false;
        let error = tokio::select! {
            error = stream(&proxy, &control, id, &mut routes, &mut received) => error,
            () = proxy.cut().cancelled() => return,
        };
        proxy.metrics().feed_connected.store(0, Ordering::Relaxed);
        if received {
            back_off = BACK_OFF_FIRST;
            told = false;
        }
        // Once per outage: while it lasts nothing new is known. At first the control plane may be starting beside us.
        let is_starting = !received && proxy.uptime().now_ms() < START_MS_MAX;
        // It ends before we do when the whole platform is stopped.
        let is_expected = is_starting || proxy.stopping().is_cancelled();
        if !told && !is_expected {
            tracing::warn!(socket = %control.socket.display(), %error, "proxy.control_plane_away");
            told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(back_off) => {}
            () = proxy.cut().cancelled() => return,
        }
        back_off = (back_off * 2).min(BACK_OFF_MAX);
        proxy.metrics().feed_reconnects.fetch_add(1, Ordering::Relaxed);
    }
}

async fn stream(
    proxy: &Arc<Proxy>,
    control: &Control,
    id: ProxyId,
    routes: &mut Routes,
    received: &mut bool,
) -> FeedError {
    let path = format!("/internal/v1/snapshots?proxy={id}");
    let response = match within(CALL_MAX, call(control, Method::GET, &path, Bytes::new())).await {
        Ok(response) => response,
        Err(error) => return error,
    };
    proxy.metrics().feed_connected.store(1, Ordering::Relaxed);
    let mut lines = Lines {
        body: response.into_body(),
        buffer: BytesMut::new(),
        searched: 0,
    };
    let mut retry = tokio::time::interval_at(tokio::time::Instant::now() + CERTIFICATE_RETRY, CERTIFICATE_RETRY);
    loop {
        let line = tokio::select! {
            line = within(SILENCE_MAX, lines.next()) => line,
            _ = retry.tick(), if routes.lacks_certificates() => {
                routes.retry_certificates(|id| fetch(control.clone(), id)).await;
                continue;
            }
        };
        let line = match line {
            Ok(line) => line,
            Err(error) => return error,
        };
        if line.is_empty() {
            continue;
        }
        let snapshot = match serde_json::from_slice::<Snapshot>(&line) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                proxy.metrics().snapshots_refused.add("unreadable");
                return FeedError::Unreadable(error.to_string());
            }
        };
        drop(line);
        if !*received {
            tracing::info!(version = snapshot.version.0, "proxy.control_plane_reached");
            *received = true;
        }
        routes.take(snapshot, |id| fetch(control.clone(), id)).await;
        // After it was kept on disk: an acknowledged version must survive a restart. Also when nothing changed, for a
        // control plane that restarted has to hear it anew.
        proxy.draining().changed().notify_one();
    }
}

/// Lines of a body, of bounded length.
struct Lines {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes at the front of the buffer known to hold no end of line.
    searched: usize,
}

impl Lines {
    /// The next line without its end. Safe to drop and call again: nothing read is lost.
    async fn next(&mut self) -> Result<Bytes, FeedError> {
        loop {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                if self.buffer.is_empty() {
                    // A large snapshot must not leave its buffer behind.
                    self.buffer = BytesMut::new();
                }
                return Ok(Bytes::copy_from_slice(line.trim_ascii()));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > SNAPSHOT_BYTES_MAX {
                return Err(FeedError::TooLong);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error.into()),
                None => return Err(FeedError::Ended),
            }
        }
    }
}

fn acknowledgement(proxy: &Proxy, id: ProxyId) -> Ack {
    let table = proxy.table();
    Ack {
        proxy: id,
        applied: RouteVersion(table.version.0),
        draining: proxy.draining().names(&table),
    }
}

/// Whether a certificate for a name is on its way.
pub(crate) async fn ask_for_name(control: &Control, host: &HostName) -> Result<bool, impl std::error::Error + use<>> {
    let wish = NameWish { host: host.clone() };
    let asked = async {
        let body = serde_json::to_vec(&wish).map_err(|error| FeedError::Unreadable(error.to_string()))?;
        let response = call(control, Method::POST, "/internal/v1/names", body.into()).await?;
        let answer: NameAnswer = read(response).await?;
        Ok(answer.wanted)
    };
    within(NAME_MAX, asked).await
}

async fn post(control: &Control, path: &str, said: &impl serde::Serialize) -> Result<(), FeedError> {
    let body = serde_json::to_vec(said).map_err(|error| FeedError::Unreadable(error.to_string()))?;
    let response = call(control, Method::POST, path, body.into()).await?;
    // Read to the end, so that the connection closes cleanly.
    let _ = Limited::new(response.into_body(), CERTIFICATE_BYTES_MAX)
        .collect()
        .await;
    Ok(())
}

/// Tells what was counted where releases are compared or the number of instances follows the requests, every second,
/// until the proxy has drained.
pub(crate) async fn report(proxy: Arc<Proxy>, control: Control, id: ProxyId) {
    let mut tick = tokio::time::interval(SAMPLE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looks = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = proxy.cut().cancelled() => return,
        }
        let table = proxy.table();
        table.counted().for_each(|(_, load)| load.sample());
        looks += 1;
        if looks < SAMPLES_PER_REPORT {
            continue;
        }
        looks = 0;
        let now_ms = proxy.uptime().now_ms();
        let report = TrafficReport {
            proxy: id,
            environments: table.compared(),
            load: table.counted().map(|(id, load)| (id, load.take(now_ms))).collect(),
        };
        drop(table);
        if report.environments.is_empty() && report.load.is_empty() {
            continue;
        }
        if let Err(error) = within(CALL_MAX, post(&control, "/internal/v1/traffic", &report)).await {
            // Nothing is lost: the next report counts on from the same numbers.
            tracing::debug!(%error, "proxy.traffic_not_told");
        }
    }
}

/// Tells for what requests wait, until the proxy has drained.
pub(crate) async fn ask_to_wake(proxy: Arc<Proxy>, control: Control) {
    loop {
        let environments = tokio::select! {
            environments = proxy.wakes().taken() => environments,
            () = proxy.cut().cancelled() => return,
        };
        let wake = Wake { environments };
        if let Err(error) = within(CALL_MAX, post(&control, "/internal/v1/wakes", &wake)).await {
            tracing::debug!(%error, "proxy.wake_not_told");
            wake.environments.iter().for_each(|id| proxy.wakes().ask(*id));
            tokio::time::sleep(WAKE_RETRY).await;
        }
    }
}

/// Acknowledges what is in force and what still drains, until the proxy has drained itself.
pub(crate) async fn acknowledge(proxy: Arc<Proxy>, control: Control, id: ProxyId) {
    let changed = Arc::clone(proxy.draining().changed());
    let mut back_off = BACK_OFF_FIRST;
    let mut failed = false;
    loop {
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(back_off), if failed => back_off = (back_off * 2).min(BACK_OFF_MAX),
            () = proxy.cut().cancelled() => return,
        }
        let ack = acknowledgement(&proxy, id);
        if ack.applied.0 == 0 {
            continue;
        }
        match within(CALL_MAX, post(&control, "/internal/v1/acks", &ack)).await {
            Ok(()) => {
                failed = false;
                back_off = BACK_OFF_FIRST;
            }
            Err(error) => {
                tracing::debug!(%error, "proxy.ack_not_taken");
                failed = true;
            }
        }
    }
}
