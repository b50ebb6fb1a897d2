//! Where the cluster, its socket and its user are: directories, owners and the way to them.
//!
//! As root the server runs as an unprivileged user, who must be able to pass through the data directory to its own
//! part of it: the data directory then belongs to that user's group with mode 0710, everything else in it stays
//! closed. Promises: no directory that another user could have prepared is taken over.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::PostgresError;

/// The system user of Debian's packages, who is there wherever they are.
const SYSTEM_USER: &str = "postgres";
/// The user made where there is none.
const OWN_USER: &str = "slipway-postgres";
/// A Unix socket's path may be so long (unix(7)), with room for the socket's own name.
const SOCKET_DIR_BYTES_MAX: usize = 107 - "/.s.PGSQL.5432.lock".len();

/// The unprivileged user the server runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its id.
    pub uid: u32,
    /// Its group's id.
    pub gid: u32,
}

/// The first of the users there is; one is made where there is none.
pub(super) fn unprivileged_user() -> Result<User, PostgresError> {
    let known = [SYSTEM_USER, OWN_USER].iter().find_map(|name| lookup(name));
    if let Some(user) = known {
        return Ok(user);
    }
    let mut useradd = Command::new("useradd");
    useradd.args([
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        OWN_USER,
    ]);
    super::run("useradd", useradd)?;
    lookup(OWN_USER).ok_or_else(|| PostgresError::Program {
        program: "useradd".into(),
        said: format!("the user {OWN_USER} is not there afterwards"),
    })
}

fn lookup(name: &str) -> Option<User> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|l| l.split(':').next() == Some(name))?;
    let mut words = line.split(':').skip(2);
    Some(User {
        name: name.to_owned(),
        uid: words.next()?.parse().ok()?,
        gid: words.next()?.parse().ok()?,
    })
}

/// Lets the user pass through the data directory, and checks that it can get that far.
pub(super) fn let_through(data_dir: &Path, user: &User) -> Result<(), PostgresError> {
    let fail = |error| PostgresError::Io {
        what: format!("{} cannot be prepared", data_dir.display()),
        error,
    };
    chown(data_dir, None, Some(user.gid)).map_err(fail)?;
    std::fs::set_permissions(data_dir, std::fs::Permissions::from_mode(0o710)).map_err(fail)?;
    let data_dir = std::fs::canonicalize(data_dir).map_err(fail)?;
    for dir in data_dir.ancestors() {
        let meta = std::fs::metadata(dir).map_err(fail)?;
        let bit = match (meta.uid() == user.uid, meta.gid() == user.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        if meta.mode() & bit == 0 {
            return Err(PostgresError::Unreachable {
                user: user.name.clone(),
                dir: dir.display().to_string(),
            });
        }
    }
    Ok(())
}

/// Makes a directory that belongs to the server's user alone.
pub(super) fn make_dir(dir: &Path, user: Option<&User>) -> Result<(), PostgresError> {
    let fail = |error| PostgresError::Io {
        what: format!("{} cannot be made", dir.display()),
        error,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(fail)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(fail)?;
    give(dir, user)
}

/// Makes the socket's directory: below the cluster, or where the path would be too long for a socket in `short_base`,
/// where other users may have been before us.
pub(super) fn socket_dir(cluster: &Path, short_base: &Path, user: Option<&User>) -> Result<PathBuf, PostgresError> {
    let near = cluster.join("run");
    if near.as_os_str().len() <= SOCKET_DIR_BYTES_MAX {
        make_dir(&near, user)?;
        return Ok(near);
    }
    let hash = Sha256::digest(cluster.as_os_str().as_encoded_bytes());
    let short = short_base.join(format!("slipway-{}", hex::encode(&hash[..8])));
    let fail = |error| PostgresError::Io {
        what: format!("{} cannot be made", short.display()),
        error,
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&short) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            // Not followed if it is a link: that would be somebody else's way to have any directory given away.
            let meta = std::fs::symlink_metadata(&short).map_err(fail)?;
            let owner = user.map_or_else(|| rustix::process::geteuid().as_raw(), |u| u.uid);
            if !meta.is_dir() || (meta.uid() != owner && meta.uid() != rustix::process::geteuid().as_raw()) {
                let error = std::io::Error::other(
                    "it belongs to somebody else: remove it, or choose a shorter SLIPWAY_DATA_DIR",
                );
                return Err(fail(error));
            }
        }
        made => {
            made.map_err(fail)?;
            tracing::info!(socket = %short.display(), "postgres.socket_elsewhere: the data directory's path is too long for one");
        }
    }
    std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o700)).map_err(fail)?;
    give(&short, user)?;
    Ok(short)
}

/// Where short-lived sockets belong: root's own directory, or the one for everybody.
pub(super) fn short_base(user: Option<&User>) -> PathBuf {
    if user.is_some() {
        PathBuf::from("/run")
    } else {
        std::env::temp_dir()
    }
}

/// Writes a file that belongs to the server's user.
pub(super) fn write(path: &Path, text: &str, user: Option<&User>) -> Result<(), PostgresError> {
    let fail = |error| PostgresError::Io {
        what: format!("{} cannot be written", path.display()),
        error,
    };
    std::fs::write(path, text).map_err(fail)?;
    give(path, user)
}

fn give(path: &Path, user: Option<&User>) -> Result<(), PostgresError> {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid)).map_err(|error| PostgresError::Io {
        what: format!("{} cannot be given to its user", path.display()),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_path_keeps_the_socket_below_the_cluster_and_a_long_one_does_not() {
        let base = tempfile::tempdir().expect("a directory");
        let near = socket_dir(&base.path().join("pg"), base.path(), None).expect("made");
        assert_eq!(near, base.path().join("pg/run"));
        let deep = base.path().join("d".repeat(120));
        let short = socket_dir(&deep, base.path(), None).expect("made");
        assert!(short.starts_with(base.path()) && short.as_os_str().len() <= SOCKET_DIR_BYTES_MAX);
        assert_eq!(socket_dir(&deep, base.path(), None).expect("found again"), short);
    }

    #[test]
    fn a_link_that_somebody_put_in_the_sockets_place_is_not_followed() {
        let base = tempfile::tempdir().expect("a directory");
        let deep = base.path().join("d".repeat(120));
        let short = socket_dir(&deep, base.path(), None).expect("made");
        std::fs::remove_dir(&short).expect("empty");
        let victim = base.path().join("victim");
        std::fs::create_dir(&victim).expect("made");
        std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o755)).expect("ours");
        std::os::unix::fs::symlink(&victim, &short).expect("made");
        let error = socket_dir(&deep, base.path(), None).expect_err("a link").to_string();
        assert!(error.contains("SLIPWAY_DATA_DIR"), "{error}");
        assert_eq!(
            std::fs::metadata(&victim).expect("there").mode() & 0o777,
            0o755,
            "untouched"
        );
    }

    #[test]
    fn a_closed_directory_on_the_way_is_named() {
        let base = tempfile::tempdir().expect("a directory");
        let data = base.path().join("data");
        std::fs::create_dir(&data).expect("made");
        let own = std::fs::metadata(&data).expect("there");
        // Nobody's user id, and the group that the directory has already, so that any user may run this.
        let user = User {
            name: "somebody".into(),
            uid: 4_000_000_000,
            gid: own.gid(),
        };
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
        let error = let_through(&data, &user).expect_err("closed").to_string();
        let closed = std::fs::canonicalize(base.path()).expect("there");
        assert!(
            error.contains(&*closed.to_string_lossy()) && error.contains("somebody"),
            "{error}"
        );
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o711)).expect("ours");
        let_through(&data, &user).expect("open");
        assert_eq!(std::fs::metadata(&data).expect("there").mode() & 0o777, 0o710);
    }
}
