//! A WebSocket whose app has gone ends with a close frame: 1012, the service restarts (RFC 6455 section 7.4 and its
//! registry of codes), so that clients come again at once instead of taking it for an error.
//!
//! Promises: bytes pass unchanged; the frame is added only between two frames of the app, and not after the app's own.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A close frame with the code 1012, unmasked as a server's frames are.
pub(crate) const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];
const OPCODE_CLOSE: u8 = 0x8;

/// Where in a stream of frames one is.
#[derive(Debug, Default)]
struct Frames {
    /// The head of a frame that is still to be completed.
    head: [u8; 14],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    left: u64,
    /// Whether a close frame has begun.
    closed: bool,
}

impl Frames {
    /// How long the head is, as far as it is known: two bytes, the extended length, the mask.
    fn head_len(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let extended = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        2 + extended + mask
    }

    fn payload_len(&self) -> u64 {
        match self.head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.head[2], self.head[3]])),
            127 => self.head[2..10].iter().fold(0, |n, byte| n << 8 | u64::from(*byte)),
            short => u64::from(short),
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= u64::try_from(taken).unwrap_or(0);
                bytes = &bytes[taken..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have >= 2 && self.have == self.head_len() {
                self.closed |= self.head[0] & 0x0f == OPCODE_CLOSE;
                self.left = self.payload_len();
                self.have = 0;
            }
        }
    }

    /// Whether a close frame may follow here.
    fn may_close(&self) -> bool {
        !self.closed && self.have == 0 && self.left == 0
    }
}

/// The app's side of a tunnel: at its end comes a close frame, if one may follow there.
#[derive(Debug)]
pub(crate) struct Polite<S> {
    inner: S,
    frames: Frames,
    ended: bool,
}

impl<S> Polite<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            frames: Frames::default(),
            ended: false,
        }
    }

    /// The close frame that is still owed, if one is.
    pub(crate) fn owed(&mut self) -> &'static [u8] {
        let owed = !std::mem::replace(&mut self.ended, true) && self.frames.may_close();
        if owed { &CLOSE } else { &[] }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Polite<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        let new = &buf.filled()[before..];
        if read.is_ok() && !new.is_empty() {
            self.frames.feed(new);
        } else if buf.remaining() >= CLOSE.len() {
            // The end, or an app that was killed: to the client both are the end.
            let owed = self.owed();
            buf.put_slice(owed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Polite<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    async fn after(app: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        let mut polite = Polite::new(io::Cursor::new(app.to_vec()));
        polite.read_to_end(&mut all).await.expect("memory");
        all.split_off(app.len())
    }

    #[tokio::test]
    async fn the_close_frame_comes_between_frames_and_once() {
        let long = [&[0x82, 126, 0x01, 0x00][..], &[7; 256]].concat();
        let longer = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &vec![7; 65_536]].concat();
        let masked = [0x81, 0x81, 1, 2, 3, 4, 9];
        for whole in [
            &[][..],
            &[0x81, 0x02, b'h', b'i'],
            &[0x8a, 0x00],
            &long,
            &longer,
            &masked,
        ] {
            assert_eq!(after(whole).await, CLOSE, "after {} bytes", whole.len());
        }
        for within in [&[0x81][..], &[0x81, 0x02, b'h'], &[0x82, 126, 0x01], &long[..200]] {
            assert_eq!(after(within).await, [0; 0], "within {} bytes", within.len());
        }
        assert_eq!(
            after(&[0x88, 0x02, 0x03, 0xe8]).await,
            [0; 0],
            "the app said goodbye itself"
        );
    }
}
