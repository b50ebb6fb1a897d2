//! HTTP/1.1: connections that are kept between requests, and what a client may do when one of them was closed.
//!
//! Promises: the connection used last is used first; a GET that failed on a kept connection before any byte of an
//! answer is sent once more, on a new connection; nothing else is.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::whole;
use super::dial::{Dialer, Protocol};
use super::ledger::Ledger;
use super::trouble::{Trouble, chain};

/// Connections that are kept while they have nothing to do.
const IDLE_MAX: usize = 64;

/// A connection, and how much has come over it.
pub(crate) struct Connection<B> {
    sender: SendRequest<B>,
    received_bytes: Arc<AtomicU64>,
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    pub(crate) async fn open(dialer: &Dialer) -> Result<Self, Trouble> {
        let stream = dialer.dial(Protocol::Http1).await?;
        let received_bytes = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            stream,
            received_bytes: Arc::clone(&received_bytes),
        };
        let shaken = Builder::new().handshake(TokioIo::new(counted)).await;
        let (sender, connection) = shaken.map_err(|error| Trouble::NoConnection(chain(&error)))?;
        // Whoever waits for an answer on this connection gets the error; here it has no one to tell.
        dialer.drive(async move { drop(connection.await) });
        Ok(Self { sender, received_bytes })
    }

    pub(crate) async fn send(&mut self, request: Request<B>) -> Result<Response<Incoming>, Trouble> {
        let sent = self.sender.send_request(request).await;
        sent.map_err(|error| Trouble::NoAnswer(chain(&error)))
    }

    fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }
}

/// A GET of this path.
pub(crate) fn get(dialer: &Dialer, path: &str) -> Result<Request<Empty<Bytes>>, Trouble> {
    let request = Request::get(path).header(HOST, dialer.header()).body(Empty::new())?;
    Ok(request)
}

pub(crate) struct Http1 {
    dialer: Arc<Dialer>,
    idle: Mutex<Vec<Connection<Empty<Bytes>>>>,
}

impl Http1 {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            idle: Mutex::default(),
        }
    }

    /// The body of a right answer to a GET.
    pub(crate) async fn get(&self, ledger: &Ledger, path: &str) -> Result<Bytes, Trouble> {
        if let Some(mut connection) = self.take() {
            let before = connection.received_bytes();
            match connection.send(get(&self.dialer, path)?).await {
                Ok(response) => return self.finish(connection, response).await,
                Err(trouble) if connection.received_bytes() != before => return Err(trouble),
                Err(_) => ledger.resent(),
            }
        }
        let mut connection = Connection::open(&self.dialer).await?;
        let response = connection.send(get(&self.dialer, path)?).await?;
        self.finish(connection, response).await
    }

    async fn finish(
        &self,
        connection: Connection<Empty<Bytes>>,
        response: Response<Incoming>,
    ) -> Result<Bytes, Trouble> {
        let body = whole(response).await?;
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX && !connection.sender.is_closed() {
            idle.push(connection);
        }
        Ok(body)
    }

    fn take(&self) -> Option<Connection<Empty<Bytes>>> {
        let mut idle = self.idle.lock();
        idle.retain(|connection| !connection.sender.is_closed());
        // One whose answer was read just now may need a moment before it can take a request.
        let at = idle.iter().rposition(|connection| connection.sender.is_ready())?;
        Some(idle.remove(at))
    }
}

/// Counts what is read.
struct Counted<S> {
    stream: S,
    received_bytes: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let more = buffer.filled().len() - before;
        self.received_bytes.fetch_add(more as u64, Ordering::Relaxed);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
