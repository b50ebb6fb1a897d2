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
    keep_private(path);
    let probe = path.join(".writable");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(ServerError::io(format!(
        "the directory {} cannot be written to: choose another one with {setting}, or give this user the right to it",
        path.display()
    )))
}

/// Takes from others what they could do in a directory of this user's that was there before. One that everybody may
/// write to on purpose, such as `/tmp`, is left as it is; so is one where that does not work.
fn keep_private(path: &Path) {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    const STICKY: u32 = 0o1000;
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.mode() & 0o7777;
    let own = metadata.uid() == rustix::process::geteuid().as_raw();
    // The group may be let through by name, as that of the private Postgres is.
    let private = mode & 0o710;
    if own && mode & STICKY == 0 && mode != private {
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(private));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::private_directory;

    #[test]
    fn a_directory_that_was_there_is_closed_to_others_unless_it_is_everybodys() {
        for (before, after) in [(0o755, 0o710), (0o700, 0o700), (0o711, 0o710), (0o1777, 0o1777)] {
            let dir = tempfile::tempdir().expect("a directory");
            let set = std::fs::Permissions::from_mode(before);
            std::fs::set_permissions(dir.path(), set).expect("our own");
            private_directory(dir.path(), "SLIPWAY_DATA_DIR").expect("usable");
            let mode = std::fs::metadata(dir.path()).expect("there").permissions().mode() & 0o7777;
            assert_eq!(mode, after, "{before:o}");
        }
    }
}
