//! Between a client and an HTTP server on Unix sockets, such as the API of a container engine.
//!
//! Promises: bodies stream both ways, endless ones too; connections that switch to another protocol are joined; each
//! call has a connection to the engine of its own. A call that is held before it is forwarded is dropped when its
//! client goes away. If the engine cannot be reached, the client's connection is closed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::control::Control;
use super::script::{Fault, Script};

/// Connections of clients at once; others wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Of an answer that is read before it is passed on or thrown away. What is beyond is streamed.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The same in time.
pub const ANSWER_SECONDS_MAX: u64 = 60;
/// Of a request that is held before it is forwarded.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of a call in the log.
const TOLD_CHARS_MAX: usize = 300;
/// After a connection could not be accepted.
const ACCEPT_AGAIN_MS: u64 = 50;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A proxy on a Unix socket. Dropping it closes every connection through it.
#[derive(Debug)]
pub struct HttpProxy {
    socket: PathBuf,
    control: Control,
    _cut: DropGuard,
}

impl HttpProxy {
    /// Listens at `socket`, where nothing may be yet, for what goes to the server at `engine`.
    ///
    /// Must run inside a Tokio runtime with time and I/O enabled.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path, engine: &Path, script: Script) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let control = Control::new(script);
        let cut = CancellationToken::new();
        let shared = Arc::new(Shared {
            engine: engine.to_owned(),
            control: control.clone(),
            cut: cut.clone(),
        });
        shared.run(Arc::clone(&shared).accept(listener));
        Ok(Self {
            socket: socket.to_owned(),
            control,
            _cut: cut.drop_guard(),
        })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its script, its log, and how to hold calls.
    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.control.end();
        // The place may be gone already.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The client's connection is to be closed.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the script or the test says so")]
    Scripted,
    #[error("one of the sides: {0}")]
    Side(#[from] hyper::Error),
    #[error("the engine's socket: {0}")]
    Socket(#[from] io::Error),
    #[error("a request of more than {REQUEST_BYTES_MAX} bytes cannot be held")]
    TooLarge,
}

struct Shared {
    engine: PathBuf,
    control: Control,
    cut: CancellationToken,
}

impl Shared {
    /// Runs a task until it ends or the proxy is dropped.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.cut.clone().run_until_cancelled_owned(task));
    }

    async fn accept(self: Arc<Self>, listener: UnixListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match listener.accept().await {
                Ok((client, _)) => self.run(Arc::clone(&self).serve(client, slot)),
                Err(_) => tokio::time::sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await,
            }
        }
    }

    async fn serve(self: Arc<Self>, client: UnixStream, slot: OwnedSemaphorePermit) {
        let _slot = slot;
        let service = service_fn(move |request| Arc::clone(&self).call(request));
        let serving = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(client), service)
            .with_upgrades();
        // A cut ends in an error by design, and a client that went away is its own affair.
        drop(serving.await);
    }

    async fn call(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Cut> {
        let endless = is_endless(&request);
        let mut arrived = self.control.arrive(told(&request));
        let mut request = request.map(BodyExt::boxed_unsync);
        if arrived.is_held_before() {
            // As long as there is something to read, hyper does not see that the client goes away.
            let (parts, body) = request.into_parts();
            request = Request::from_parts(parts, read_request(body).await?);
        }
        match arrived.before().await {
            None | Some(Fault::CutAfter) => {}
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::Hang) => return hang(request.into_body()).await,
            Some(Fault::CutBefore) => return Err(Cut::Scripted),
            Some(Fault::Status(status)) => return Ok(answer(status, arrived.call().number)),
        }
        let client_side = hyper::upgrade::on(&mut request);
        let mut response = self.forward(request).await?;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switched {
            // If the client is cut off below, its side fails, and this ends.
            self.run(join(client_side, hyper::upgrade::on(&mut response)));
        }
        let mut response = response.map(BodyExt::boxed_unsync);
        if arrived.is_watched() && !switched && !endless {
            response = read_answer(response).await;
        }
        let number = arrived.call().number;
        match arrived.after().await {
            None => Ok(response),
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Ok(response)
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::CutBefore | Fault::CutAfter) => Err(Cut::Scripted),
            Some(Fault::Status(status)) => Ok(answer(status, number)),
        }
    }

    async fn forward(&self, request: Request<Body>) -> Result<Response<Incoming>, Cut> {
        let stream = UnixStream::connect(&self.engine).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Whoever waits for the answer gets the error; here it has no one to tell.
        self.run(async move { drop(connection.with_upgrades().await) });
        Ok(sender.send_request(request).await?)
    }
}

async fn join(client_side: OnUpgrade, engine_side: OnUpgrade) {
    let Ok((client, engine)) = tokio::try_join!(client_side, engine_side) else {
        return;
    };
    let (mut client, mut engine) = (TokioIo::new(client), TokioIo::new(engine));
    // Either side may end it in any way.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut engine).await;
}

/// Reads the request, so that the client is seen to go away, and says nothing.
async fn hang(mut body: Body) -> Result<Response<Body>, Cut> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    std::future::pending().await
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

async fn read_request(mut body: Body) -> Result<Body, Cut> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        if let Some(data) = frame.data_ref() {
            bytes.extend_from_slice(data);
        }
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(Cut::TooLarge);
        }
    }
    Ok(full(bytes))
}

/// The same answer, read to its end if that comes within the limits.
async fn read_answer(response: Response<Body>) -> Response<Body> {
    let (parts, mut body) = response.into_parts();
    let (mut frames, mut ended) = (Vec::new(), false);
    let reading = async {
        let mut bytes = 0;
        while bytes <= ANSWER_BYTES_MAX {
            let Some(frame) = body.frame().await else {
                ended = true;
                return;
            };
            if let Ok(frame) = &frame
                && let Some(data) = frame.data_ref()
            {
                bytes += data.len();
            }
            ended = frame.is_err();
            frames.push(frame);
            if ended {
                return;
            }
        }
    };
    let limit = Duration::from_secs(ANSWER_SECONDS_MAX);
    // What is not there in time is streamed.
    let _ = tokio::time::timeout(limit, reading).await;
    let body = if ended && frames.is_empty() {
        Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
    } else {
        let rest = stream::iter((!ended).then(|| BodyStream::new(body))).flatten();
        StreamBody::new(stream::iter(frames).chain(rest)).boxed_unsync()
    };
    Response::from_parts(parts, body)
}

/// An answer like the engine's own.
fn answer(status: u16, call: u64) -> Response<Body> {
    let text = format!("{{\"message\":\"a fault at call {call}\"}}");
    let mut response = Response::new(full(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn target<B>(request: &Request<B>) -> &str {
    request.uri().path_and_query().map_or("/", PathAndQuery::as_str)
}

fn told<B>(request: &Request<B>) -> String {
    let all = format!("{} {}", request.method(), target(request));
    all.chars().take(TOLD_CHARS_MAX).collect()
}

/// Whether the answer may never end, so that its head is all that can be waited for.
fn is_endless<B>(request: &Request<B>) -> bool {
    let target = target(request);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let has = |parameter: &str| query.split('&').any(|part| part == parameter);
    match path.rsplit('/').next() {
        Some("events" | "attach") => true,
        Some("logs") => has("follow=1") || has("follow=true"),
        Some("stats") => !(has("stream=0") || has("stream=false")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(target: &str) -> bool {
        is_endless(&Request::get(target).body(()).expect("a request"))
    }

    #[test]
    fn streams_are_known_by_what_is_asked_for() {
        assert!(is("/v1.43/events?filters=x") && is("/containers/a/attach?stream=1") && is("/containers/a/stats"));
        assert!(is("/containers/a/logs?stdout=1&follow=true"));
        assert!(!is("/containers/a/logs?stdout=1&follow=false") && !is("/containers/a/stats?stream=false"));
        assert!(!is("/images/create?fromImage=x") && !is("/containers/events/json") && !is("/_ping"));
    }

    #[test]
    fn a_status_that_is_none_is_an_internal_error() {
        assert_eq!(answer(503, 1).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer(7, 1).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
