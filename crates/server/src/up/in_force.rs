//! Which settings a platform in the background was started with, so that a second start with others is not taken for one
//! that took them into use.
//!
//! Promises: no secret is written down; a platform of an older version, which wrote nothing, is not compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::error::ServerError;

/// Its name in the data directory.
pub(crate) const FILE: &str = "settings.json";

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// The settings that make a difference to what is seen of the platform, by their keys.
fn told(config: &Config) -> BTreeMap<&'static str, String> {
    let networks: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    BTreeMap::from([
        ("base_domain", config.base_domain.to_string()),
        (
            "api_domain",
            config.api_domain.as_ref().map(ToString::to_string).unwrap_or_default(),
        ),
        ("api_listen", config.api_listen.to_string()),
        ("admin_listen", config.admin_listen.to_string()),
        ("proxy_admin_listen", config.proxy_admin_listen.to_string()),
        ("http_listen", config.http_listen.to_string()),
        ("https_listen", config.https_listen.to_string()),
        ("trusted_proxies", networks.join(",")),
        ("docker_host", config.docker_host.clone()),
        ("network_pool", config.network_pool.to_string()),
        ("disk_free_min", config.disk_free_min.to_string()),
        ("log", config.log.clone()),
    ])
}

/// Writes them down.
pub(super) fn record(config: &Config) -> Result<(), ServerError> {
    let text = serde_json::json!(told(config)).to_string();
    crate::files::write_secret(&path(&config.data_dir), text.as_bytes())
}

/// What differs from those in force, in words.
pub(crate) fn compare(config: &Config) -> Vec<String> {
    let recorded = std::fs::read(path(&config.data_dir)).ok();
    let recorded: BTreeMap<String, String> = recorded
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let shown = |value: &str| {
        if value.is_empty() {
            "nothing".to_owned()
        } else {
            format!("`{value}`")
        }
    };
    told(config)
        .into_iter()
        .filter_map(|(key, wanted)| {
            let runs = recorded.get(key).filter(|runs| **runs != wanted)?;
            Some(format!("{key} is {}, not {}", shown(runs), shown(&wanted)))
        })
        .collect()
}
