//! `slipway doctor`: what is missing and how to mend it, in plain words.

use slipway_engine::Engine;
use slipway_engine::docker::DockerEngine;
use slipway_store::{SchemaState, Store, StoreOptions};

use crate::config::Config;
use crate::postgres;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub what: &'static str,
    /// Whether it is as it should be; `None` when it only deserves a word.
    pub ok: Option<bool>,
    /// What was found, and what to do.
    pub detail: String,
}

/// Looks at everything.
pub async fn examine(config: &Config, path: &str) -> Vec<Finding> {
    let mut findings = vec![data_dir(config), master_key(config), database(config, path).await];
    findings.extend(engine(config).await);
    findings.push(base_domain(config));
    findings
}

fn finding(what: &'static str, ok: bool, detail: impl Into<String>) -> Finding {
    Finding { what, ok: Some(ok), detail: detail.into() }
}

fn note(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding { what, ok: None, detail: detail.into() }
}

fn data_dir(config: &Config) -> Finding {
    match crate::files::private_directory(&config.data_dir, "SLIPWAY_DATA_DIR") {
        Ok(()) => finding("data directory", true, config.data_dir.display().to_string()),
        Err(error) => finding("data directory", false, error.to_string()),
    }
}

fn master_key(config: &Config) -> Finding {
    let path = config.master_key_file.display();
    if config.master_key_file.exists() {
        note("master key", format!("{path}: keep a copy off this machine; without it no secret opens again"))
    } else {
        note("master key", format!("{path} is made on the first start"))
    }
}

async fn database(config: &Config, path: &str) -> Finding {
    let Some(url) = &config.database_url else {
        return match postgres::find(path) {
            Ok(found) => {
                let newest = found.first().map_or_else(String::new, |b| format!("PostgreSQL {} in {}", b.major, b.dir.display()));
                finding("database", true, format!("private: {newest}"))
            }
            Err(error) => finding("database", false, error.to_string()),
        };
    };
    let state = async { Store::connect(url, StoreOptions::default()).await?.schema_state().await };
    match state.await {
        Ok(SchemaState::Current) => finding("database", true, "external, the schema is current"),
        Ok(SchemaState::Pending(n)) => finding("database", true, format!("external, {n} migrations are applied at the next start")),
        Ok(SchemaState::Newer { found, known }) => {
            finding("database", false, format!("its schema is at {found}, this program knows {known}: upgrade the program"))
        }
        Err(error) => finding("database", false, format!("{error}: check SLIPWAY_DATABASE_URL")),
    }
}

async fn engine(config: &Config) -> Vec<Finding> {
    let engine = DockerEngine::new(&config.docker_host);
    let info = match engine.info().await {
        Ok(info) => info,
        Err(error) => {
            let detail = format!(
                "{error}: install and start Docker (Debian, Ubuntu: `apt-get install docker.io`), let this user into the group `docker`, or set SLIPWAY_DOCKER_HOST"
            );
            return vec![finding("container engine", false, detail)];
        }
    };
    let api_ok = version(&info.api_version) >= (1, 41);
    let mut findings = vec![finding(
        "container engine",
        api_ok,
        if api_ok {
            format!("Docker {} (API {})", info.version, info.api_version)
        } else {
            format!("Docker {} speaks API {}; 1.41 (Docker 20.10) is the oldest that will do: upgrade it", info.version, info.api_version)
        },
    )];
    if !info.live_restore {
        findings.push(note(
            "live restore",
            "off: apps stop while the engine restarts; set `\"live-restore\": true` in /etc/docker/daemon.json (it excludes Swarm mode)",
        ));
    }
    match engine.disk().await {
        Ok((free, total)) => {
            let ok = config.disk_free_min.allows(free, total);
            let free = slipway_domain::quantity::Bytes(free >> 20 << 20);
            let detail = format!("{free} free at {}, the floor is {}", info.root_dir, config.disk_free_min);
            let advice = if ok { "" } else { ": free space (`docker system df`) or lower SLIPWAY_DISK_FREE_MIN" };
            findings.push(finding("disk", ok, format!("{detail}{advice}")));
        }
        Err(error) => findings.push(note("disk", error.to_string())),
    }
    findings
}

fn version(text: &str) -> (u32, u32) {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    (major.parse().unwrap_or(0), minor.parse().unwrap_or(0))
}

fn base_domain(config: &Config) -> Finding {
    let base = &config.base_domain;
    if base.is_local() {
        let root = config.data_dir.join("ca/root.pem");
        return note(
            "base domain",
            format!("{base} is local: browsers and clients must trust {} (curl: --cacert)", root.display()),
        );
    }
    note("base domain", format!("{base}: let *.{base} resolve to this machine; certificates for it are not issued by this version"))
}
