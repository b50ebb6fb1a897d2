//! One client connection: handshake, protocol, requests, end.
//!
//! Promises: the handshake has a deadline; HTTP/2 only when agreed by ALPN; on shutdown the client is told
//! (`Connection: close`, GOAWAY) and what is under way goes on until the drain deadline.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::client_io::{Activity, ClientIo, IoLimits};
use crate::config::{CONNECTION_BUFFER_BYTES_MAX, HEAD_BYTES_MAX, ms};
use crate::framing::Framing;
use crate::listen::Ticket;
use crate::on_demand;
use crate::phases;
use crate::proxy::Proxy;
use crate::tls::{Certificate, HandshakeError, Hello, Secured, Visitor};

const H2_STREAMS_MAX: u32 = 128;
const H2_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const H2_CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const H2_SEND_BUFFER_BYTES_MAX: usize = 256 * 1024;
const H2_RESETS_PENDING_MAX: usize = 20;
const H2_PING_EVERY: Duration = Duration::from_secs(20);
/// How often an HTTP/2 connection is looked at for idleness and stalls.
const H2_LOOK_EVERY: Duration = Duration::from_secs(10);
/// After GOAWAY to an idle connection.
const H2_GOODBYE: Duration = Duration::from_secs(5);

/// Which listener a connection came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// What all requests of a connection share.
#[derive(Debug)]
pub(crate) struct Connection {
    peer: IpAddr,
    trusted: bool,
    /// `None` on plain HTTP.
    certificate: Option<Arc<Certificate>>,
    visitor: Option<Visitor>,
    is_h2: bool,
    activity: Arc<Activity>,
}

impl Connection {
    pub(crate) const fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Whether the operator trusts what this peer says about its clients.
    pub(crate) const fn trusted(&self) -> bool {
        self.trusted
    }

    pub(crate) const fn certificate(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref()
    }

    /// Who came, where that was asked.
    pub(crate) const fn visitor(&self) -> Option<&Visitor> {
        self.visitor.as_ref()
    }

    pub(crate) const fn is_h2(&self) -> bool {
        self.is_h2
    }

    pub(crate) const fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }

    pub(crate) const fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

/// Serves one connection to its end.
pub(crate) async fn connection(proxy: Arc<Proxy>, stream: TcpStream, peer: IpAddr, scheme: Scheme, ticket: Ticket) {
    let _ticket = ticket;
    let trusted = proxy.trusts(peer);
    let plain = Connection {
        peer,
        trusted,
        certificate: None,
        visitor: None,
        is_h2: false,
        activity: Arc::new(Activity::new(proxy.uptime())),
    };
    if scheme == Scheme::Http {
        return serve_h1(&proxy, stream, Arc::new(plain)).await;
    }
    let handshake = tokio::select! {
        handshake = handshake(&proxy, stream, peer) => handshake,
        () = proxy.cut().cancelled() => return,
    };
    match handshake {
        Ok(secured) => {
            proxy.metrics().handshakes.fetch_add(1, Ordering::Relaxed);
            let is_h2 = secured.is_h2;
            let connection = Arc::new(Connection {
                certificate: Some(secured.certificate),
                visitor: secured.visitor,
                is_h2,
                ..plain
            });
            if is_h2 {
                serve_h2(&proxy, secured.stream, connection).await;
            } else {
                serve_h1(&proxy, secured.stream, connection).await;
            }
        }
        Err(error) => {
            proxy.metrics().handshake_failures.add(error.reason());
            tracing::debug!(%peer, %error, "proxy.handshake_failed");
        }
    }
}

/// Does the handshake within its time; in between an unknown name may wait for its certificate.
async fn handshake(proxy: &Proxy, stream: TcpStream, peer: IpAddr) -> Result<Secured<TcpStream>, HandshakeError> {
    let limit = ms(proxy.limits().handshake_ms_max);
    let hello = timeout(limit, Hello::read(stream))
        .await
        .map_err(|_| HandshakeError::TimedOut)??;
    if let Some(name) = hello.visited().filter(|name| !proxy.tls().knows(name)) {
        // Whatever comes of it: the name is looked up again.
        let _ = on_demand::obtain(proxy, name, peer).await;
    }
    timeout(limit, proxy.tls().accept(hello))
        .await
        .map_err(|_| HandshakeError::TimedOut)?
}

fn io_limits(proxy: &Proxy) -> IoLimits {
    let limits = proxy.limits();
    IoLimits {
        head: ms(limits.head_ms_max),
        idle: ms(limits.keep_alive_ms_max),
        write: ms(limits.body_idle_ms_max),
    }
}

async fn serve_h1<T>(proxy: &Arc<Proxy>, stream: T, connection: Arc<Connection>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(connection.activity());
    let io = TokioIo::new(ClientIo::new(stream, Framing::new(), activity, io_limits(proxy)));
    let service = {
        let proxy = Arc::clone(proxy);
        service_fn(move |request: Request<Incoming>| {
            let (proxy, connection) = (Arc::clone(&proxy), Arc::clone(&connection));
            async move { Ok::<_, Infallible>(phases::handle(proxy, connection, request).await) }
        })
    };
    let serving = http1::Builder::new()
        // The byte stream has the timers: hyper's own counts idleness between requests as a slow head.
        .header_read_timeout(None)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
        .serve_connection(io, service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let mut told = false;
    loop {
        tokio::select! {
            // A client that broke the protocol or went away is its own affair; requests were logged by then.
            _ = serving.as_mut() => return,
            () = proxy.stopping().cancelled(), if !told => {
                serving.as_mut().graceful_shutdown();
                told = true;
            }
            () = proxy.cut().cancelled() => return,
        }
    }
}

/// Runs the streams of HTTP/2 connections as tasks of the proxy.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

fn h2_builder(proxy: &Proxy) -> http2::Builder<Tracked> {
    let mut builder = http2::Builder::new(Tracked(proxy.tracker().clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .adaptive_window(false)
        .max_send_buf_size(H2_SEND_BUFFER_BYTES_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(H2_RESETS_PENDING_MAX)
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_EVERY);
    builder
}

async fn serve_h2<T>(proxy: &Arc<Proxy>, stream: T, connection: Arc<Connection>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::clone(connection.activity());
    let io = TokioIo::new(ClientIo::new(
        stream,
        Framing::silent(),
        Arc::clone(&activity),
        io_limits(proxy),
    ));
    let service = {
        let proxy = Arc::clone(proxy);
        service_fn(move |request: Request<Incoming>| {
            let (proxy, connection) = (Arc::clone(&proxy), Arc::clone(&connection));
            async move { Ok::<_, Infallible>(phases::handle(proxy, connection, request).await) }
        })
    };
    let mut serving = pin!(h2_builder(proxy).serve_connection(io, service));
    let mut told = false;
    let mut used = Instant::now();
    let mut seen = 0;
    let mut look = tokio::time::interval_at(Instant::now() + H2_LOOK_EVERY, H2_LOOK_EVERY);
    loop {
        tokio::select! {
            _ = serving.as_mut() => return,
            () = proxy.stopping().cancelled(), if !told => {
                serving.as_mut().graceful_shutdown();
                told = true;
            }
            () = proxy.cut().cancelled() => return,
            _ = look.tick() => {
                if activity.active() > 0 || activity.begun() != seen {
                    seen = activity.begun();
                    used = Instant::now();
                }
                if used.elapsed() >= ms(proxy.limits().keep_alive_h2_ms_max) {
                    serving.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(H2_GOODBYE, serving.as_mut()).await;
                    return;
                }
                if activity.all_stalled(proxy.uptime().now_ms(), ms(proxy.limits().body_idle_ms_max)) {
                    tracing::debug!(streams = activity.active(), "proxy.stalled_connection_cut");
                    return;
                }
            }
        }
    }
}
