//! The byte stream of one connection to an app.
//!
//! Promises: an app that answers before it has read the whole request and hangs up is still heard. Its kernel resets
//! the connection because unread bytes are thrown away (RFC 9112 section 9.6); our next write fails, but what it said
//! before is there to be read. So a broken write is no error here: the bytes go nowhere, and the end is told by the
//! read, after the answer or in place of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream to an app.
#[derive(Debug)]
pub(crate) struct AppIo<T> {
    inner: T,
    /// The other side takes nothing any more.
    hung_up: bool,
}

impl<T> AppIo<T> {
    pub(crate) const fn new(inner: T) -> Self {
        Self { inner, hung_up: false }
    }

    /// What a write came to, `swallowed` in place of a hang-up.
    fn or_swallowed<R>(&mut self, written: io::Result<R>, swallowed: R) -> io::Result<R> {
        match written {
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                self.hung_up = true;
                Ok(swallowed)
            }
            written => written,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for AppIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for AppIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.hung_up {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf));
        Poll::Ready(self.or_swallowed(written, buf.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs.iter().map(|buf| buf.len()).sum();
        if self.hung_up {
            return Poll::Ready(Ok(len));
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs));
        Poll::Ready(self.or_swallowed(written, len))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        Poll::Ready(self.or_swallowed(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
