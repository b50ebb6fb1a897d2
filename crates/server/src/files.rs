//! Small files that hold secrets: written whole or not at all, readable by the owner only.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::ServerError;

/// The text of a small file; `None` when there is none.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>, ServerError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ServerError::io(format!("{} cannot be read", path.display()))(error)),
    }
}

/// Writes a file of mode 0600 in one step.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), ServerError> {
    let fail = || ServerError::io(format!("{} cannot be written", path.display()));
    let next = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)
        .map_err(fail())?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail())?;
    std::fs::rename(&next, path).map_err(fail())
}

/// Makes a directory that only the owner can read.
pub(crate) fn private_directory(path: &Path, setting: &str) -> Result<(), ServerError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotADirectory => ServerError::Setup(format!(
                "{} cannot be a directory, because it or one above it is a file: choose another place with {setting}",
                path.display()
            )),
            std::io::ErrorKind::NotFound => ServerError::Setup(format!(
                "the directory {} cannot be made there, because its file system takes none: choose another place \
                 with {setting}",
                path.display()
            )),
            _ => ServerError::io(format!(
                "the directory {} cannot be made: choose another one with {setting}, or give this user the right to it",
                path.display()
            ))(error),
        })?;
    let probe = path.join(".writable");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(ServerError::io(format!(
        "the directory {} cannot be written to: choose another one with {setting}, or give this user the right to it",
        path.display()
    )))
}
