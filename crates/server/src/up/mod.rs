//! `slipway up`: everything on this machine, each part its own child process, restarted when it dies.
//!
//! Promises: the parent owns the listening sockets and hands them to its children, so that a child's restart refuses
//! nobody; stopping leaves the apps running; a second `up` on the same directory says which process is in its way.

mod child;
mod detach;
mod lock;
mod supervise;

pub use detach::{detach, down, screen};
pub use supervise::{UpConfig, run};

/// Ends this process when the parent that started it ends, however it ended; nothing without a parent of ours.
pub fn die_with_parent_if(has_parent: bool) {
    if !has_parent {
        return;
    }
    use rustix::process::{Signal, set_parent_process_death_signal};
    // Only on Linux, and only as good as the kernel: without it an orphan is found by its lock or its socket.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        tracing::debug!(%error, "up.no_death_signal");
    }
}
