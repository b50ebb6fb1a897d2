//! What the backup worker is given: its storage, and the keys that backups are encrypted to.

use slipway_backup_worker::{Identities, Recipients, Settings, draw_identity};
use slipway_domain::secret::Secret;
use uuid::Uuid;

use crate::config::Backups;
use crate::error::ServerError;
use crate::files;

/// Opens the storage; makes the pair of keys at the first start, where nobody gave public ones.
pub(crate) fn settings(backups: &Backups, data_dir: &std::path::Path, holder: Uuid) -> Result<Settings, ServerError> {
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
    let spool = data_dir.join("spool");
    files::private_directory(&spool, "SLIPWAY_DATA_DIR")?;
    Ok(Settings {
        destination,
        recipients: recipients(backups)?,
        spool,
        holder,
    })
}

fn recipients(backups: &Backups) -> Result<Recipients, ServerError> {
    let usable = |keys: &[String]| {
        Recipients::parse(keys.iter().map(String::as_str)).map_err(|error| ServerError::Setup(error.to_string()))
    };
    if !backups.recipients.is_empty() {
        return usable(&backups.recipients);
    }
    let path = &backups.identity_file;
    if let Some(text) = files::read_secret(path)? {
        let identities = Identities::parse(&Secret::new(text)).map_err(|error| {
            ServerError::Setup(format!("the backup key {} cannot be used: {error}", path.display()))
        })?;
        return usable(&identities.public());
    }
    let (file, public) = draw_identity();
    files::write_secret(path, file.expose().as_bytes())?;
    tracing::warn!(
        file = %path.display(),
        public_key = public,
        "backup.key_made: copy this file to another place, for without it no backup can be opened"
    );
    usable(&[public])
}
