//! Where backups go, and whom they are encrypted to.

use std::path::{Path, PathBuf};

use slipway_backup_worker::{Location, Recipients};

use super::{ConfigError, Faults, Values};

/// Where backups go, and whom they are encrypted to.
#[derive(Debug, Clone)]
pub struct Backups {
    /// Where they go.
    pub location: Location,
    /// Whether somebody said so.
    pub is_chosen: bool,
    /// The variables that the tools of storages use.
    pub variables: Vec<(String, String)>,
    /// The public keys they are encrypted to; without any, that of the pair that is made at the first start.
    pub recipients: Vec<String>,
    /// The private key, where restores are made.
    pub identity_file: PathBuf,
}

/// What the variables of storages begin with.
const PREFIXES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];

pub(super) fn read(v: &Values, data_dir: &Path, faults: &mut Faults) -> Option<Backups> {
    let given: Option<Option<Location>> = faults.keep(v.parse("backup_url", ""));
    let recipients = faults.keep(recipients(v));
    let is_chosen = given.as_ref().is_some_and(Option::is_some);
    let all = v.sources.variables.iter();
    let about_storages = all.filter(|(name, _)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
    Some(Backups {
        location: given?.or_else(|| Location::directory(&data_dir.join("backups")))?,
        is_chosen,
        variables: about_storages
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        recipients: recipients?,
        identity_file: v
            .get("backup_identity_file")
            .map_or_else(|| data_dir.join("backup.key"), |(file, _)| file.into()),
    })
}

fn recipients(v: &Values) -> Result<Vec<String>, ConfigError> {
    let Some((text, origin)) = v.get("backup_recipients") else {
        return Ok(Vec::new());
    };
    let keys: Vec<String> = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|key| !key.is_empty())
        .map(str::to_owned)
        .collect();
    match Recipients::parse(keys.iter().map(String::as_str)) {
        Ok(_) => Ok(keys),
        Err(error) => Err(ConfigError::Value {
            origin,
            value: "the value".into(),
            expected: error.to_string(),
        }),
    }
}
