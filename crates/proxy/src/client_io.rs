//! The byte stream of one client connection, with its timers.
//!
//! Promises: a client that sends its request head too slowly, stays idle too long between requests, or does not take
//! the bytes it asked for is disconnected; progress resets every timer; no timer runs while an app is at work.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::body::{StreamProgress, Uptime};
use crate::framing::Framing;

/// What the byte stream, the requests and the task of one connection tell each other.
#[derive(Debug)]
pub(crate) struct Activity {
    /// Requests whose answer is not finished.
    active: AtomicUsize,
    /// Requests begun so far.
    begun: AtomicU64,
    /// When the last answer was finished, in the proxy's uptime.
    ended_ms: AtomicU64,
    uptime: Uptime,
    /// The first ambiguous head by number; `u64::MAX` for none.
    conflict: AtomicU64,
    /// HTTP/2 answers under way. Bounded by the stream limit of the connection.
    streams: Mutex<Vec<Arc<StreamProgress>>>,
}

impl Activity {
    pub(crate) const fn new(uptime: Uptime) -> Self {
        Self {
            active: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            ended_ms: AtomicU64::new(0),
            uptime,
            conflict: AtomicU64::new(u64::MAX),
            streams: Mutex::new(Vec::new()),
        }
    }

    /// A request begins; returns whether its head was ambiguous.
    pub(crate) fn begin(&self) -> bool {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed) == self.conflict.load(Ordering::Relaxed)
    }

    /// A request's answer is finished.
    pub(crate) fn end(&self) {
        self.ended_ms.store(self.uptime.now_ms(), Ordering::Relaxed);
        self.active.fetch_sub(1, Ordering::Release);
    }

    /// How many requests are under way.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    /// How many requests there were.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Registers an answer for [`Self::all_stalled`].
    pub(crate) fn watch_stream(&self, progress: Arc<StreamProgress>) {
        let mut streams = self.streams.lock();
        streams.retain(|stream| !stream.is_done());
        streams.push(progress);
    }

    /// Whether there are answers that wait for the client, and not one of all answers moved within `limit`.
    /// One paused download beside moving ones is the client's choice; nothing moving at all is an attack or a corpse.
    pub(crate) fn all_stalled(&self, now_ms: u64, limit: Duration) -> bool {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut streams = self.streams.lock();
        streams.retain(|stream| !stream.is_done());
        !streams.is_empty()
            && streams
                .iter()
                .all(|stream| stream.waits_for_client_since(now_ms) >= limit)
    }
}

/// The timers of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IoLimits {
    /// One request head.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// Between two bytes the client takes.
    pub(crate) write: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Head,
    Idle,
}

/// A client's stream with timers and, for HTTP/1.1, a look at the framing.
#[derive(Debug)]
pub(crate) struct ClientIo<T> {
    inner: T,
    framing: Framing,
    activity: Arc<Activity>,
    limits: IoLimits,
    /// When the client last did something that counts, in the proxy's uptime.
    heard_ms: u64,
    /// Kept from request to request: it may ring early, never late.
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<T> ClientIo<T> {
    pub(crate) fn new(inner: T, framing: Framing, activity: Arc<Activity>, limits: IoLimits) -> Self {
        let heard_ms = activity.uptime.now_ms();
        Self {
            inner,
            framing,
            activity,
            limits,
            heard_ms,
            read_timer: None,
            write_timer: None,
        }
    }

    /// What the silence of the client means right now, if it means anything.
    fn waiting(&self) -> Option<Waiting> {
        if self.framing.in_head() {
            return Some(Waiting::Head);
        }
        if !self.framing.between() || self.activity.active() > 0 {
            return None;
        }
        Some(if self.activity.begun() == 0 {
            Waiting::Head
        } else {
            Waiting::Idle
        })
    }

    /// How much longer the client may be silent. When its silence means nothing: when to look again, for nobody rings
    /// when an answer is finished.
    fn patience(&self) -> Duration {
        let now = self.activity.uptime.now_ms();
        let left =
            |limit: Duration, since_ms: u64| limit.saturating_sub(Duration::from_millis(now.saturating_sub(since_ms)));
        match self.waiting() {
            Some(Waiting::Head) => left(self.limits.head, self.heard_ms),
            Some(Waiting::Idle) => left(
                self.limits.idle,
                self.heard_ms.max(self.activity.ended_ms.load(Ordering::Relaxed)),
            ),
            None => self.limits.head.min(self.limits.idle),
        }
    }

    /// The end of the stream, once the client was silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let patience = self.patience();
            if patience.is_zero() {
                return Poll::Ready(Ok(()));
            }
            let due = Instant::now() + patience;
            let timer = self
                .read_timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.deadline() > due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            timer.as_mut().reset(due);
        }
    }

    fn after_write<R>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if result.is_ready() {
            self.write_timer = None;
            return result;
        }
        let limit = self.limits.write;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClientIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let was_in_head = self.framing.in_head();
                let this = &mut *self;
                let conflict = &this.activity.conflict;
                this.framing.feed(&buf.filled()[before..], |number| {
                    let _ = conflict.compare_exchange(u64::MAX, number, Ordering::Relaxed, Ordering::Relaxed);
                });
                // A head that trickles in must not get a fresh timer with each byte.
                if !(was_in_head && this.framing.in_head()) {
                    this.heard_ms = this.activity.uptime.now_ms();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_silence(cx),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ClientIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.after_write(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.after_write(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.after_write(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.after_write(cx, result)
    }
}
