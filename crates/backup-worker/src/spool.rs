//! The segment of a log that is still being written: on this machine's disk until all of it is stored.
//!
//! Promises: it holds what the server sent and nothing else; it needs not outlive the process, for the server keeps
//! what is not stored yet.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use slipway_domain::backup::{Lsn, Segment, SegmentSize};

/// A segment that is being received.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    /// Which.
    pub(crate) segment: Segment,
    file: Arc<File>,
    size: SegmentSize,
    /// The first byte that was not received.
    pub(crate) filled: u64,
    /// The first byte that is in no part that is stored.
    pub(crate) stored: u64,
}

impl OpenSegment {
    /// An empty one, of which some is stored already.
    pub(crate) fn create(directory: &Path, segment: Segment, size: SegmentSize, stored: Lsn) -> std::io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        Ok(Self {
            segment,
            file: Arc::new(file),
            size,
            filled: 0,
            stored: stored.since(segment.start(size)).min(size.bytes()),
        })
    }

    /// Takes as much of a piece as belongs into it, and says how much that was.
    pub(crate) fn take(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        let room = usize::try_from(self.size.bytes() - self.filled).unwrap_or(usize::MAX);
        let taken = piece.get(..room).unwrap_or(piece);
        self.file.write_all_at(taken, self.filled)?;
        self.filled += u64::try_from(taken.len()).unwrap_or_default();
        Ok(taken.len())
    }

    /// Whether all of it was received.
    pub(crate) fn is_whole(&self) -> bool {
        self.filled == self.size.bytes()
    }

    /// Reads what lies between two offsets.
    pub(crate) fn reader(&self) -> impl FnOnce(u64, u64) -> std::io::Result<Vec<u8>> + Send + use<> {
        let file = Arc::clone(&self.file);
        move |from, to| {
            let mut content = vec![0_u8; usize::try_from(to.saturating_sub(from)).unwrap_or_default()];
            file.read_exact_at(&mut content, from)?;
            Ok(content)
        }
    }
}
