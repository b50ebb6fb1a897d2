//! The file that `slipway login` keeps: `~/.config/slipway/config.toml`, or where `SLIPWAY_CONFIG` points.
//!
//! Promises: only its owner may read it (0600, its folder 0700); a change replaces the file as a whole, so that a crash
//! leaves the old or the new one; one server is current, the others keep their tokens.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::env::{Env, INPUT_BYTES_MAX};
use crate::error::CliError;

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The address that commands go to when none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// What is known about each address.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) servers: BTreeMap<String, Server>,
}

/// One server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    /// The token's text.
    pub(crate) token: String,
    /// A certificate authority to trust for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cacert: Option<PathBuf>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("token", &"****")
            .field("cacert", &self.cacert)
            .finish()
    }
}

/// Where the file is.
pub(crate) fn path(env: &Env) -> Result<PathBuf, CliError> {
    if let Some(path) = env.var("SLIPWAY_CONFIG") {
        return Ok(env.cwd.join(path));
    }
    let base = match env.var("XDG_CONFIG_HOME") {
        Some(base) => PathBuf::from(base),
        None => env
            .home()
            .ok_or_else(|| CliError::usage("no home folder is known", "set HOME, or SLIPWAY_CONFIG to a file"))?
            .join(".config"),
    };
    Ok(base.join("slipway").join("config.toml"))
}

impl Config {
    /// Reads the file; one that is not there is an empty one.
    pub(crate) fn load(env: &Env) -> Result<Self, CliError> {
        let Ok(path) = path(env) else {
            return Ok(Self::default());
        };
        let mut text = String::new();
        match fs::File::open(&path).and_then(|f| f.take(INPUT_BYTES_MAX).read_to_string(&mut text)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(cannot(&path, "read", &error)),
        }
        toml::from_str(&text).map_err(|error| {
            CliError::failed_with(
                format!("{} is not readable as settings: {}", path.display(), error.message()),
                "mend the file, or delete it and log in again",
            )
        })
    }

    /// Replaces the file.
    pub(crate) fn save(&self, env: &Env) -> Result<PathBuf, CliError> {
        let path = path(env)?;
        let text =
            toml::to_string(self).map_err(|e| CliError::failed(format!("the settings do not serialize: {e}")))?;
        replace(&path, &text).map_err(|error| cannot(&path, "write", &error))?;
        Ok(path)
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let new = path.with_extension("toml.new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    // The mode at creation is narrowed by the umask only; said again, it holds whatever the umask is.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

fn cannot(path: &Path, what: &str, error: &io::Error) -> CliError {
    CliError::failed_with(
        format!("cannot {what} {}: {error}", path.display()),
        "check the folder's permissions, or set SLIPWAY_CONFIG to another file",
    )
}
