//! Backups: where in a server's log they stand, what they are called in object storage, and what makes one whole.

mod layout;
mod lsn;
mod set;
mod state;

pub use layout::{Home, Object};
pub use lsn::{Lsn, LsnError, Segment, SegmentSize, Timeline};
pub use set::{BaseSet, SetError, StoredObject};
pub use state::{BackupKind, BackupState, StreamState};
