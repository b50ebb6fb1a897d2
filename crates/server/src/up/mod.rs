//! `slipway up`: everything on this machine, each part its own child process, restarted when it dies.
//!
//! Promises: the parent owns the listening sockets and hands them to its children, so that a child's restart refuses
//! nobody; stopping leaves the apps running; a second `up` on the same directory says which process is in its way.

mod child;
mod detach;
pub(crate) mod in_force;
mod lock;
mod log;
pub(crate) mod stand_in;
mod supervise;

pub use detach::{DETACHED_FLAG, Stopped, detach, down, ready, screen};
pub(crate) use detach::{log_path, unready};
pub use log::{RotatingFile, SharedLog};
pub(crate) use supervise::bind;
pub use supervise::{UpConfig, run};

/// The process of the platform that runs on a data directory, if one does.
pub(crate) fn running(data_dir: &std::path::Path) -> Option<i32> {
    lock::holder(data_dir)
}

/// Which process started this one, as told by `slipway up` in [`PARENT_VARIABLE`].
pub const PARENT_VARIABLE: &str = "SLIPWAY_PARENT";

/// As whom the control plane takes the scheduler's lease: the same for each that one `slipway up` starts, one after the
/// other, so that the next need not wait until the lease of one that was killed runs out.
pub const HOLDER_VARIABLE: &str = "SLIPWAY_LEASE_HOLDER";

/// The exit code of a child that cannot do its work until somebody mends something (`EX_CONFIG` of `sysexits.h`).
pub const REFUSED: u8 = 78;

/// The programs of the private Postgres, told to the control plane.
pub const PROGRAMS_VARIABLE: &str = "SLIPWAY_POSTGRES_PROGRAMS";

/// Ends this process when the parent that started it ends, however it ended; nothing without a parent of ours.
///
/// `false` when the parent is gone already: then this process must not begin.
pub fn die_with(parent: Option<u32>) -> bool {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let Some(parent) = parent else { return true };
    // Only as good as the kernel: without it an orphan is found by its socket.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::debug!(%error, "up.no_death_signal");
    }
    // The parent may have ended before the line above.
    getppid().is_some_and(|now| u32::try_from(now.as_raw_nonzero().get()) == Ok(parent))
}
