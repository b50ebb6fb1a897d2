//! The pid file: held with a lock for as long as the platform runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::ServerError;

/// Held while the platform runs.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

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
            pid.trim(),
            data_dir.display()
        )));
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(fail())?;
    writeln!(file, "{}", std::process::id()).map_err(fail())?;
    Ok(Lock(file))
}

/// The process that holds the lock, if one does.
pub(crate) fn holder(data_dir: &Path) -> Option<i32> {
    let mut file = File::open(path(data_dir)).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut pid = String::new();
    file.read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}
