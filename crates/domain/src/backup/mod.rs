//! Backups: where in a server's log they stand, what they are called in object storage, and what makes one whole.

mod choice;
mod layout;
mod lsn;
mod restoring;
mod retention;
mod set;
mod state;

pub use choice::{Choice, StoredCopy, Stretch, Target, choose, needed_to, windows};
pub use layout::{Home, Object};
pub use lsn::{Lsn, LsnError, Segment, SegmentSize, Timeline};
pub use restoring::RestorePhase;
pub use retention::{Kept, Retention, kept};
pub use set::{BaseSet, SetError, StoredObject};
pub use state::{BackupKind, BackupState, StreamState};
