//! The master key file: a line `v<version> <base64 of 32 bytes>` for each version, mode 0600.
//!
//! Promises: it is made once and written whole; a file that others can read, or that does not parse, is refused with
//! what to do about it.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_domain::Entropy;
use zeroize::Zeroizing;

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;

/// Why the master key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It cannot be read or written.
    #[error("the master key file {path}: {error}")]
    Io {
        /// Where it should be.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// Others can read it.
    #[error("the master key file {0} can be read by others: `chmod 600 {0}`, and consider it known")]
    Exposed(String),
    /// A line does not parse.
    #[error(
        "the master key file {path}, line {line}: write `v<version> <base64 of 32 bytes>`, or restore the file from your copy"
    )]
    Malformed {
        /// Where it is.
        path: String,
        /// Which line.
        line: usize,
    },
    /// It has no key.
    #[error("the master key file {0} holds no key: restore it from your copy, or remove it if nothing was ever sealed")]
    Empty(String),
}

/// All versions of the master key.
pub(crate) struct MasterKeys(BTreeMap<i32, Zeroizing<[u8; KEY_BYTES]>>);

impl MasterKeys {
    pub(crate) fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<Self, VaultError> {
        let shown = path.display().to_string();
        let io = |error| VaultError::Io {
            path: shown.clone(),
            error,
        };
        match std::fs::metadata(path) {
            Ok(meta) if meta.mode() & 0o077 != 0 => return Err(VaultError::Exposed(shown)),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path, entropy).map_err(io)?,
            Err(error) => return Err(io(error)),
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
        Self::parse(&text, &shown)
    }

    fn parse(text: &str, path: &str) -> Result<Self, VaultError> {
        let mut keys = BTreeMap::new();
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let bad = || VaultError::Malformed {
                path: path.to_owned(),
                line: i + 1,
            };
            let (version, key) = line
                .trim()
                .strip_prefix('v')
                .and_then(|l| l.split_once(' '))
                .ok_or_else(bad)?;
            let version: i32 = version.parse().ok().filter(|v| *v > 0).ok_or_else(bad)?;
            let bytes = Zeroizing::new(STANDARD.decode(key.trim()).map_err(|_| bad())?);
            let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| bad())?;
            if keys.insert(version, Zeroizing::new(key)).is_some() {
                return Err(bad());
            }
        }
        if keys.is_empty() {
            Err(VaultError::Empty(path.to_owned()))
        } else {
            Ok(Self(keys))
        }
    }

    pub(crate) fn newest(&self) -> (i32, &[u8; KEY_BYTES]) {
        // There is at least one: `parse` refuses an empty file.
        self.0
            .last_key_value()
            .map_or((0, &[0; KEY_BYTES]), |(v, k)| (*v, &**k))
    }

    pub(crate) fn oldest(&self) -> &[u8; KEY_BYTES] {
        self.0.first_key_value().map_or(&[0; KEY_BYTES], |(_, k)| &**k)
    }

    pub(crate) fn version(&self, version: i32) -> Option<&[u8; KEY_BYTES]> {
        self.0.get(&version).map(|k| &**k)
    }
}

/// Never over a key that is there: of two that start at once, the first one's key is everybody's.
fn create(path: &Path, entropy: &dyn Entropy) -> std::io::Result<()> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    entropy.fill(key.as_mut());
    let line = Zeroizing::new(format!("v1 {}\n", STANDARD.encode(key.as_ref())));
    let next = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&next, path);
    std::fs::remove_file(&next)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // The name must survive a power cut as the bytes do: what is sealed with a lost key is lost too.
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => std::fs::File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::FixedEntropy;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_is_private_and_made_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("master.key");
        let first = MasterKeys::load_or_create(&path, &FixedEntropy(1)).expect("made");
        assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
        let second = MasterKeys::load_or_create(&path, &FixedEntropy(2)).expect("read");
        assert_eq!(first.newest(), second.newest());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("ours");
        assert!(matches!(
            MasterKeys::load_or_create(&path, &FixedEntropy(1)),
            Err(VaultError::Exposed(_))
        ));
    }

    #[test]
    fn a_key_that_is_there_is_never_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("master.key");
        let first = MasterKeys::load_or_create(&path, &FixedEntropy(1)).expect("made");
        create(&path, &FixedEntropy(2)).expect("the other one found a key");
        let now = MasterKeys::load_or_create(&path, &FixedEntropy(3)).expect("read");
        assert_eq!(first.newest(), now.newest());
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("read").count(),
            1,
            "nothing else is left"
        );
    }

    #[test]
    fn a_file_that_does_not_parse_is_refused_with_its_line() {
        let good = format!("v1 {}", STANDARD.encode([1; 32]));
        let newer = format!("v2 {}", STANDARD.encode([2; 32]));
        let keys = MasterKeys::parse(&format!("{good}\n\n{newer}\n"), "k").expect("two keys");
        assert_eq!((keys.newest().0, keys.oldest()), (2, &[1; 32]));
        for bad in ["1 x", "v0 AAAA", "v1", "v1 short", &format!("{good}\n{good}")] {
            assert!(
                matches!(MasterKeys::parse(bad, "k"), Err(VaultError::Malformed { .. })),
                "{bad}"
            );
        }
        assert!(matches!(MasterKeys::parse("\n", "k"), Err(VaultError::Empty(_))));
    }
}
