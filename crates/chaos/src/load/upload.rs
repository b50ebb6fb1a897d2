//! Bodies of uploads: made as they are sent, known by their sum.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::check::Sum;
use super::{Kind, LoadError, Mix, UPLOAD_BYTES_MAX, scatter};

const CHUNK_BYTES: usize = 16 * 1024;

/// What uploads of one load are made of. Their sums are known from the start: to add them up takes time that the
/// exchanges do not have.
#[derive(Debug)]
pub(crate) struct Uploads {
    chunk: Bytes,
    sums: BTreeMap<u64, String>,
}

impl Uploads {
    pub(crate) fn new(mixes: &[Mix], seed: u64) -> Result<Self, LoadError> {
        let numbers = (0..CHUNK_BYTES as u64 / 8).flat_map(|n| scatter(seed.wrapping_add(n)).to_le_bytes());
        let chunk: Bytes = numbers.collect::<Vec<u8>>().into();
        let mut sums = BTreeMap::new();
        for mix in mixes {
            let Kind::Upload { bytes } = mix.kind else { continue };
            if bytes > UPLOAD_BYTES_MAX {
                return Err(LoadError::Upload(bytes));
            }
            sums.insert(bytes, sum_of(&chunk, bytes));
        }
        Ok(Self { chunk, sums })
    }

    /// The sum of an upload of this size, which is in one of the mixes.
    pub(crate) fn sum(&self, bytes: u64) -> &str {
        self.sums.get(&bytes).map_or("", String::as_str)
    }

    pub(crate) fn body(&self, bytes: u64) -> Repeated {
        Repeated {
            chunk: self.chunk.clone(),
            left_bytes: bytes,
        }
    }
}

fn sum_of(chunk: &[u8], bytes: u64) -> String {
    let mut sum = Sum::new();
    let mut left = bytes;
    while left > 0 {
        let part = part_of(chunk, left);
        sum.add(part);
        left -= part.len() as u64;
    }
    sum.hex()
}

fn part_of(chunk: &[u8], left: u64) -> &[u8] {
    let end = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
    &chunk[..end]
}

/// A body of a known length: the chunk over and over.
#[derive(Debug)]
pub(crate) struct Repeated {
    chunk: Bytes,
    left_bytes: u64,
}

impl Body for Repeated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left_bytes == 0 {
            return Poll::Ready(None);
        }
        let length = part_of(&self.chunk, self.left_bytes).len();
        self.left_bytes -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(self.chunk.slice(..length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left_bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_body_has_its_length_and_the_sum_that_was_said_before() {
        let bytes = 2 * CHUNK_BYTES as u64 + 17;
        let mix = Mix {
            kind: Kind::Upload { bytes },
            per_second: 1,
        };
        let uploads = Uploads::new(&[mix], 5).expect("small enough");
        let body = uploads.body(bytes).collect().await.expect("infallible").to_bytes();
        assert_eq!(body.len() as u64, bytes);
        let mut sum = Sum::new();
        sum.add(&body);
        assert_eq!(uploads.sum(bytes), sum.hex());
    }

    #[test]
    fn too_large_an_upload_is_refused_before_anything_is_sent() {
        let bytes = UPLOAD_BYTES_MAX + 1;
        let mix = Mix {
            kind: Kind::Upload { bytes },
            per_second: 1,
        };
        assert!(matches!(Uploads::new(&[mix], 5), Err(LoadError::Upload(b)) if b == bytes));
    }
}
