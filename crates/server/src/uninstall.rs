//! `slipway uninstall`: what was made on the engine goes; the data stays or goes, as asked.

use std::io::ErrorKind;
use std::path::Path;

use slipway_engine::docker::DockerEngine;

use crate::bootstrap;
use crate::config::Config;
use crate::error::ServerError;
use crate::up;

/// Everything that a platform has in its data directory; what shows that it is one comes last.
const OWN: [&str; 14] = [
    "slipway.pid",
    "control.sock",
    up::in_force::FILE,
    "spool",
    "log",
    "proxy",
    "postgres",
    "dumps",
    "backups",
    "backup.key",
    "ca",
    "admin.token",
    "master.key",
    bootstrap::INSTALLATION_FILE,
];
/// So many of them are of no use to a later start.
const TRANSIENT_COUNT: usize = 4;

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removed {
    /// Containers and networks, and volumes if the data was to go.
    pub(crate) things: usize,
    /// What became of the data directory.
    pub(crate) directory: Directory,
}

/// What became of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directory {
    /// It is as it was.
    Kept,
    /// It is gone.
    Gone,
    /// Only what was not the platform's is left in it, or the empty directory where this user may not remove it.
    Emptied,
}

/// Stops the platform and removes its containers and networks; its volumes and data only if asked. As long as the engine
/// still holds something, the data stays: it says what belongs to this installation. What is in the data directory and is
/// not the platform's stays in any case.
pub(crate) async fn run(config: &Config, delete_data: bool) -> Result<Removed, ServerError> {
    let dir = &config.data_dir;
    let Some(installation) = bootstrap::known_installation(dir)? else {
        return Err(ServerError::Setup(format!(
            "there is no installation in {} (it has no file `{}`), so nothing was removed: SLIPWAY_DATA_DIR says which one is meant",
            dir.display(),
            bootstrap::INSTALLATION_FILE
        )));
    };
    up::down(dir).await?;
    if control_plane_answers(config) {
        return Err(ServerError::Setup(format!(
            "nothing was removed: a control plane that was started by itself (`slipway serve`) still runs on {}. Stop it and its proxy first, for example `systemctl disable --now slipway-control slipway-proxy slipway-proxy.socket`, then run this again",
            dir.display()
        )));
    }
    let engine = DockerEngine::new(&config.docker_host);
    let things = engine
        .remove_installation(&installation, config.network_pool, delete_data)
        .await
        .map_err(|e| {
            ServerError::Setup(format!(
                "the platform was stopped, but not everything could be removed from the engine: {e}\nThe data in {} is untouched. Bring the engine back (`slipway doctor` tells what is wrong), then run this again. If it is gone for good, and with it all that it ran, remove {} by hand.",
                dir.display(),
                dir.display()
            ))
        })?;
    let own = if delete_data { &OWN[..] } else { &OWN[..TRANSIENT_COUNT] };
    for name in own {
        remove(&dir.join(name))?;
    }
    let directory = match delete_data {
        false => Directory::Kept,
        true if std::fs::remove_dir(dir).is_ok() => Directory::Gone,
        true => Directory::Emptied,
    };
    Ok(Removed { things, directory })
}

/// Whether somebody listens on the control socket.
pub(crate) fn control_plane_answers(config: &Config) -> bool {
    std::os::unix::net::UnixStream::connect(&config.control_socket).is_ok()
}

fn remove(path: &Path) -> Result<(), ServerError> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(ServerError::io(format!("{} cannot be removed", path.display()))(error))
        }
        _ => Ok(()),
    }
}
