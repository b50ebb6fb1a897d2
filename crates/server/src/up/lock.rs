//! The pid file: held with a lock for as long as the platform runs. Its first line is the process, a second one tells of
//! a child that refuses to start.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::ServerError;

/// Held while the platform runs.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Writes the process and the child that refuses to start, if one does. That this fails is no reason to stop.
    pub(crate) fn tell(&self, refusing: Option<&str>) {
        let text = format!(
            "{}\n{}",
            std::process::id(),
            refusing.map_or(String::new(), |r| format!("{r}\n"))
        );
        let written = self.0.set_len(0).and_then(|()| self.0.write_all_at(text.as_bytes(), 0));
        if let Err(error) = written {
            tracing::debug!(%error, "up.pid_file");
        }
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("slipway.pid")
}

/// Takes the lock and writes this process into the file.
pub(crate) fn take(data_dir: &Path) -> Result<Lock, ServerError> {
    let path = path(data_dir);
    let fail = || ServerError::io(format!("{} cannot be opened", path.display()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(fail())?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        file.read_to_string(&mut pid).map_err(fail())?;
        return Err(ServerError::Setup(format!(
            "the platform runs already, with pid {} on {}: stop it with `slipway down`, or choose another SLIPWAY_DATA_DIR",
            pid.lines().next().unwrap_or_default(),
            data_dir.display()
        )));
    }
    let lock = Lock(file);
    lock.tell(None);
    Ok(lock)
}

/// Removes the file, where nobody holds it.
pub(crate) fn forget(data_dir: &Path) {
    if held(data_dir).is_none() {
        // It may never have been there.
        let _ = std::fs::remove_file(path(data_dir));
    }
}

/// The process that holds the lock, if one does.
pub(crate) fn holder(data_dir: &Path) -> Option<i32> {
    held(data_dir)?.lines().next()?.parse().ok()
}

/// The child that refuses to start, if one does.
pub(crate) fn refusing(data_dir: &Path) -> Option<String> {
    held(data_dir)?.lines().nth(1).map(str::to_owned)
}

/// What the file says while somebody holds it.
fn held(data_dir: &Path) -> Option<String> {
    let mut file = File::open(path(data_dir)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Some(text)
}
