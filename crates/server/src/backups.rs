//! What the backup worker is given: its storage, and the keys that backups are encrypted to.

use std::path::{Path, PathBuf};

use slipway_backup_worker::{Destination, Identities, Recipients, Settings, draw_identity};
use slipway_domain::secret::Secret;
use slipway_scheduler::DiskFloor;
use uuid::Uuid;

use crate::config::Backups;
use crate::error::ServerError;
use crate::files;

/// Opens the storage and the keys; makes a pair at the first start, where nobody gave public ones.
pub(crate) fn settings(
    backups: &Backups,
    (data_dir, floor): (&Path, DiskFloor),
    (installation, holder): (String, Uuid),
) -> Result<Settings, ServerError> {
    let variables = backups.variables.iter();
    let opened = backups
        .location
        .open(variables.map(|(name, value)| (name.as_str(), value.as_str())));
    let destination = opened.map_err(|error| {
        ServerError::Setup(format!(
            "SLIPWAY_BACKUP_URL {} cannot be used: {error}",
            backups.location
        ))
    })?;
    let destination = match backups.location.as_directory() {
        Some(path) => with_floor(destination, path.to_owned(), floor),
        None => destination,
    };
    let spool = data_dir.join("spool");
    files::private_directory(&spool, "SLIPWAY_DATA_DIR")?;
    let mut identities = identities(backups)?;
    let recipients = match (&identities, backups.recipients.as_slice()) {
        (Some(identities), []) => identities.public(),
        (None, []) => {
            let made = made(backups)?;
            let public = made.public();
            identities = Some(made);
            public
        }
        (_, given) => given.to_vec(),
    };
    let recipients = Recipients::parse(recipients.iter().map(String::as_str));
    Ok(Settings {
        destination,
        recipients: recipients.map_err(|error| ServerError::Setup(error.to_string()))?,
        identities,
        spool,
        installation,
        holder,
    })
}

/// A directory is filled no further than the disk may be.
fn with_floor(destination: Destination, path: PathBuf, floor: DiskFloor) -> Destination {
    destination.with_room(move || {
        let Ok(disk) = rustix::fs::statvfs(&path) else {
            // What is wrong with it is told when it is written to.
            return Ok(());
        };
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let (free, total) = (bytes(disk.f_bavail), bytes(disk.f_blocks));
        if floor.allows(free, total) {
            return Ok(());
        }
        Err(format!(
            "{free} of {total} bytes are free at {}, which is less than SLIPWAY_DISK_FREE_MIN allows ({floor})",
            path.display()
        ))
    })
}

/// The private keys that are here, if any are.
fn identities(backups: &Backups) -> Result<Option<Identities>, ServerError> {
    let path = &backups.identity_file;
    let Some(text) = files::read_secret(path)? else {
        return Ok(None);
    };
    let parsed = Identities::parse(&Secret::new(text));
    parsed
        .map(Some)
        .map_err(|error| ServerError::Setup(format!("the backup key {} cannot be used: {error}", path.display())))
}

fn made(backups: &Backups) -> Result<Identities, ServerError> {
    let path = &backups.identity_file;
    let (file, public_key) = draw_identity();
    files::write_secret(path, file.expose().as_bytes())?;
    tracing::warn!(
        file = %path.display(),
        public_key,
        "backup.key_made: copy this file to another place, for without it no backup can be opened"
    );
    Identities::parse(&file).map_err(|error| ServerError::Setup(error.to_string()))
}
