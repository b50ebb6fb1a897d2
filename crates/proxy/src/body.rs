//! Bodies on their way through: counted, bounded, never collected.
//!
//! Promises: a frame is passed on as it comes; a body that stops moving for `body_idle_ms_max` is given up; a request
//! body longer than the app allows ends with [`Verdict::TooLarge`]; an answer's connection goes back to its pool only
//! after its last byte was read.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

use crate::access_log::Exchange;
use crate::upstream::Lease;

/// How much of a refused body is still read, so that the client gets to see the answer.
const LINGER_BYTES_MAX: u64 = 16 * 1024 * 1024;
const LINGER_MS_MAX: u64 = 2_000;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the request body is longer than the app allows")]
    TooLarge,
    #[error("the body stopped moving")]
    Stalled,
    #[error(transparent)]
    Transport(#[from] hyper::Error),
}

/// What became of a request body, as seen from the other end of the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    TooLarge,
    Stalled,
    Gone,
}

/// Milliseconds since the proxy began: a clock that fits in an atomic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uptime(Instant);

impl Uptime {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Shared between a request body and whoever waits for the answer to it.
#[derive(Debug)]
pub(crate) struct BodyWatch {
    uptime: Uptime,
    progress_ms: AtomicU64,
    bytes: AtomicU64,
    verdict: AtomicU8,
    tracker: TaskTracker,
}

impl BodyWatch {
    pub(crate) fn new(uptime: Uptime, tracker: TaskTracker) -> Self {
        Self {
            uptime,
            progress_ms: AtomicU64::new(uptime.now_ms()),
            bytes: AtomicU64::new(0),
            verdict: AtomicU8::new(0),
            tracker,
        }
    }

    /// Milliseconds since the last byte of the request went through.
    pub(crate) fn quiet_ms(&self) -> u64 {
        self.uptime
            .now_ms()
            .saturating_sub(self.progress_ms.load(Ordering::Relaxed))
    }

    /// Bytes of the request body so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Relaxed) {
            1 => Verdict::TooLarge,
            2 => Verdict::Stalled,
            3 => Verdict::Gone,
            _ => Verdict::Fine,
        }
    }

    fn judge(&self, verdict: Verdict) {
        let code = match verdict {
            Verdict::Fine => 0,
            Verdict::TooLarge => 1,
            Verdict::Stalled => 2,
            Verdict::Gone => 3,
        };
        self.verdict.store(code, Ordering::Relaxed);
    }
}

/// Reads on for a moment after a refusal: closing a socket with unread bytes in it resets the connection, and the
/// client never sees the answer (RFC 9112 section 9.6).
pub(crate) fn linger(mut body: Incoming, tracker: &TaskTracker) {
    if body.is_end_stream() {
        return;
    }
    tracker.spawn(async move {
        let drain = async {
            let mut seen = 0;
            while let Some(Ok(frame)) = body.frame().await {
                seen += frame
                    .data_ref()
                    .map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                if seen > LINGER_BYTES_MAX {
                    break;
                }
            }
        };
        // Either way the body is dropped here, and with it the rest of the request.
        let _ = tokio::time::timeout(Duration::from_millis(LINGER_MS_MAX), drain).await;
    });
}

/// A client's body on its way to an app.
#[derive(Debug)]
pub(crate) struct RequestBody {
    inner: Option<Incoming>,
    watch: Arc<BodyWatch>,
    bytes_max: u64,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming, watch: Arc<BodyWatch>, bytes_max: u64, idle: Duration) -> Self {
        let inner = (!inner.is_end_stream()).then_some(inner);
        Self {
            inner,
            watch,
            bytes_max,
            idle,
            timer: None,
        }
    }

    /// No body at all.
    pub(crate) fn empty(watch: Arc<BodyWatch>) -> Self {
        Self {
            inner: None,
            watch,
            bytes_max: 0,
            idle: Duration::ZERO,
            timer: None,
        }
    }

    /// The client's body back, when nothing was done with it.
    pub(crate) fn into_unread(mut self) -> Option<Incoming> {
        self.inner.take()
    }

    fn give_up(&mut self, verdict: Verdict, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.watch.judge(verdict);
        if let Some(inner) = self.inner.take() {
            linger(inner, &self.watch.tracker);
        }
        Poll::Ready(Some(Err(error)))
    }
}

impl Drop for RequestBody {
    /// The app answered without reading to the end, or went away.
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            linger(inner, &self.watch.tracker);
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(None);
        };
        match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.timer = None;
                let len = frame
                    .data_ref()
                    .map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                let seen = this.watch.bytes.fetch_add(len, Ordering::Relaxed).saturating_add(len);
                if seen > this.bytes_max {
                    return this.give_up(Verdict::TooLarge, BodyError::TooLarge);
                }
                this.watch
                    .progress_ms
                    .store(this.watch.uptime.now_ms(), Ordering::Relaxed);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.watch.judge(Verdict::Gone);
                this.inner = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.inner = None;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let idle = this.idle;
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                if timer.as_mut().poll(cx).is_ready() {
                    return this.give_up(Verdict::Stalled, BodyError::Stalled);
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// How an answer on an HTTP/2 connection moves, for the reaper of stalled connections.
#[derive(Debug)]
pub(crate) struct StreamProgress {
    /// When a frame was last handed to the client's side; `u64::MAX` while the app is the one to wait for.
    handed_ms: AtomicU64,
    done: AtomicBool,
}

impl StreamProgress {
    pub(crate) const fn new() -> Self {
        Self {
            handed_ms: AtomicU64::new(u64::MAX),
            done: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn waits_for_client_since(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.handed_ms.load(Ordering::Relaxed))
    }
}

/// An app's answer on its way to the client.
#[derive(Debug)]
pub(crate) struct Streamed {
    inner: Incoming,
    lease: Option<Lease>,
    /// `None` for event streams, which are silent for as long as nothing happens.
    idle: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    ended: bool,
    uptime: Uptime,
    progress: Option<Arc<StreamProgress>>,
    exchange: Box<Exchange>,
}

/// The body of any answer.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// Written by the proxy itself.
    Page {
        text: Option<Bytes>,
        exchange: Option<Box<Exchange>>,
    },
    /// Comes from an app.
    Streamed(Box<Streamed>),
}

impl ResponseBody {
    pub(crate) fn page(text: impl Into<Bytes>, exchange: Option<Box<Exchange>>) -> Self {
        let text = text.into();
        Self::Page {
            text: (!text.is_empty()).then_some(text),
            exchange,
        }
    }

    pub(crate) fn streamed(inner: Incoming, lease: Lease, idle: Option<Duration>, exchange: Box<Exchange>) -> Self {
        let uptime = exchange.uptime();
        let progress = exchange.watch_stream();
        let ended = inner.is_end_stream();
        Self::Streamed(Box::new(Streamed {
            inner,
            lease: Some(lease),
            idle,
            timer: None,
            ended,
            uptime,
            progress,
            exchange,
        }))
    }
}

impl Streamed {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                if let Some(data) = frame.data_ref() {
                    self.exchange.sent(data.len());
                }
                self.note(self.uptime.now_ms());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.exchange.broke_off("app_broke_body");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                self.note(u64::MAX);
                let Some(idle) = self.idle else { return Poll::Pending };
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
                if timer.as_mut().poll(cx).is_ready() {
                    self.exchange.broke_off("app_stalled_body");
                    return Poll::Ready(Some(Err(BodyError::Stalled)));
                }
                Poll::Pending
            }
        }
    }

    fn note(&self, handed_ms: u64) {
        if let Some(progress) = &self.progress {
            progress.handed_ms.store(handed_ms, Ordering::Relaxed);
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.done.store(true, Ordering::Relaxed);
        }
        let whole = self.ended || self.inner.is_end_stream();
        if !whole {
            self.exchange.broke_off("client_gone");
        }
        if let Some(lease) = self.lease.take().filter(|_| whole) {
            lease.give_back();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.get_mut() {
            Self::Page { text, exchange } => {
                let text = text.take();
                if let (Some(text), Some(exchange)) = (&text, exchange) {
                    exchange.sent(text.len());
                }
                Poll::Ready(text.map(|text| Ok(Frame::data(text))))
            }
            Self::Streamed(streamed) => streamed.poll_next(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page { text, .. } => text.is_none(),
            Self::Streamed(streamed) => streamed.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page { text, .. } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| u64::try_from(text.len()).unwrap_or(0)))
            }
            Self::Streamed(streamed) => streamed.inner.size_hint(),
        }
    }
}
