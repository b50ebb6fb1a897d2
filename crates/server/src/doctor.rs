//! `slipway doctor`: what is missing and how to mend it, in plain words.

use std::path::PathBuf;

use slipway_domain::ports::PullPolicy;
use slipway_domain::quantity::Bytes;
use slipway_engine::Engine;
use slipway_engine::docker::DockerEngine;
use slipway_store::{SchemaState, Store, StoreOptions};

use crate::config::Config;
use crate::uninstall::control_plane_answers;
use crate::{postgres, up};

/// How long a name may take to resolve.
const RESOLVE_MAX: std::time::Duration = std::time::Duration::from_secs(5);

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

impl Finding {
    /// For scripts.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({"what": self.what, "ok": self.ok, "detail": self.detail})
    }
}

/// Why the engine cannot be used and what helps, if it cannot.
pub(crate) async fn engine_trouble(config: &Config) -> Option<String> {
    let findings = engine(config).await;
    findings.into_iter().find(|f| f.ok == Some(false)).map(|f| f.detail)
}

/// Looks at everything.
pub async fn examine(config: &Config, postgres_places: &[PathBuf]) -> Vec<Finding> {
    let mut findings = vec![
        data_dir(config),
        master_key(config),
        database(config, postgres_places).await,
    ];
    findings.extend(engine(config).await);
    findings.push(base_domain(config).await);
    if let Some(pid) = up::running(&config.data_dir) {
        findings.push(platform(config, format!("runs with pid {pid}")).await);
        findings.extend(other_settings(config));
    } else if control_plane_answers(config) {
        findings.push(platform(config, "runs in parts, `slipway serve` by itself".into()).await);
    } else {
        findings.push(note("platform", "does not run: `slipway up` starts it"));
        findings.extend(ports(config));
    }
    findings.extend(telemetry(config));
    findings.extend(swap());
    findings.extend(neighbours());
    findings
}

fn finding(what: &'static str, ok: bool, detail: impl Into<String>) -> Finding {
    Finding {
        what,
        ok: Some(ok),
        detail: detail.into(),
    }
}

fn note(what: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        what,
        ok: None,
        detail: detail.into(),
    }
}

/// What is looked at here is not what the platform uses.
fn other_settings(config: &Config) -> Option<Finding> {
    let others = up::in_force::compare(config);
    (!others.is_empty()).then(|| {
        note(
            "settings",
            format!(
                "the platform that runs has others than these: {}; give `doctor` the same to look at what it uses",
                others.join("; ")
            ),
        )
    })
}

fn data_dir(config: &Config) -> Finding {
    let was_there = config.data_dir.exists();
    let made = crate::files::private_directory(&config.data_dir, "SLIPWAY_DATA_DIR");
    if !was_there {
        // Whether it can be made is known only when it was; looking leaves nothing behind.
        let _ = std::fs::remove_dir(&config.data_dir);
    }
    match made {
        Ok(()) => finding("data directory", true, config.data_dir.display().to_string()),
        Err(error) => finding("data directory", false, error.to_string()),
    }
}

fn master_key(config: &Config) -> Finding {
    let path = config.master_key_file.display();
    if config.master_key_file.exists() {
        note(
            "master key",
            format!("{path}: keep a copy off this machine; without it no secret opens again"),
        )
    } else if postgres::has_cluster(&config.data_dir) {
        let dumps = config.dumps();
        finding(
            "master key",
            false,
            format!(
                "{path} is missing, and there is a database that was sealed with it: put it back from your copy or from {}/*.key, or set SLIPWAY_MASTER_KEY_FILE to where it is",
                dumps.display()
            ),
        )
    } else {
        note("master key", format!("{path} is made on the first start"))
    }
}

async fn database(config: &Config, postgres_places: &[PathBuf]) -> Finding {
    let Some(url) = &config.database_url else {
        return private_database(config, postgres_places).await;
    };
    let state = async { Store::connect(url, StoreOptions::default()).await?.schema_state().await };
    match state.await {
        Ok(SchemaState::Current) => finding("database", true, "external, the schema is current"),
        Ok(SchemaState::Pending(n)) => finding(
            "database",
            true,
            format!("external, {n} migrations are applied at the next start"),
        ),
        Ok(SchemaState::Newer { found, known }) => finding(
            "database",
            false,
            format!("its schema is at {found}, this program knows {known}: upgrade the program"),
        ),
        Err(error) => finding("database", false, format!("{error}: check SLIPWAY_DATABASE_URL")),
    }
}

async fn private_database(config: &Config, postgres_places: &[PathBuf]) -> Finding {
    let found = postgres::find(postgres_places);
    if let Some(newest) = found.first().filter(|_| postgres::suffice(&found, &config.data_dir)) {
        let detail = format!("private: PostgreSQL {} in {}", newest.major, newest.source);
        return finding("database", true, detail);
    }
    let image = config.postgres_image.as_given();
    let local = DockerEngine::new(&config.docker_host)
        .resolve(&config.postgres_image, PullPolicy::Local, None)
        .await;
    if local.is_ok() {
        return finding("database", true, format!("private: in a container of {image}"));
    }
    note(
        "database",
        format!(
            "private: PostgreSQL is not installed, `slipway up` pulls the image {image} and runs it; or install it (Debian, Ubuntu: `apt-get install postgresql`)"
        ),
    )
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
            format!(
                "Docker {} speaks API {}; 1.41 (Docker 20.10) is the oldest that will do: upgrade it",
                info.version, info.api_version
            )
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
            let (free, total) = (Bytes(free).rough(), Bytes(total).rough());
            let detail = format!(
                "{free} of {total} free at {}, the floor is {}",
                info.root_dir, config.disk_free_min
            );
            let advice = if ok {
                ""
            } else {
                ": free space (`docker system df`) or lower SLIPWAY_DISK_FREE_MIN"
            };
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

async fn base_domain(config: &Config) -> Finding {
    let base = &config.base_domain;
    if base.is_local() {
        let root = config.data_dir.join("ca/root.pem");
        return note(
            "base domain",
            format!(
                "{base} is local: browsers and clients must trust {} (curl: --cacert)",
                root.display()
            ),
        );
    }
    // Any name below it will do: an app may have any.
    let asked = tokio::time::timeout(
        RESOLVE_MAX,
        tokio::net::lookup_host((format!("slipway-doctor.{base}"), 443)),
    );
    let found: Vec<String> = match asked.await {
        Ok(Ok(found)) => found.map(|a| a.ip().to_string()).collect(),
        _ => Vec::new(),
    };
    if found.is_empty() {
        let detail = format!("*.{base} does not resolve: add a DNS record `*.{base}` that points to this machine");
        return finding("base domain", false, detail);
    }
    note(
        "base domain",
        format!(
            "*.{base} resolves to {}, which must be this machine; certificates for it are not issued by this version",
            found.join(", ")
        ),
    )
}

/// Whether the platform that runs can do its work.
async fn platform(config: &Config, runs: String) -> Finding {
    match up::unready(config).await {
        None => finding("platform", true, format!("{runs} and is ready")),
        Some(why) => finding(
            "platform",
            false,
            format!(
                "{runs}, but {why} (its log is {}, or where it was started)",
                up::log_path(&config.data_dir).display()
            ),
        ),
    }
}

/// Whether the platform could open its addresses.
fn ports(config: &Config) -> Vec<Finding> {
    let wanted = [
        (config.api_listen, "SLIPWAY_API_LISTEN"),
        (config.http_listen, "SLIPWAY_HTTP_LISTEN"),
        (config.https_listen, "SLIPWAY_HTTPS_LISTEN"),
        (config.admin_listen, "SLIPWAY_ADMIN_LISTEN"),
        (config.proxy_admin_listen, "SLIPWAY_PROXY_ADMIN_LISTEN"),
    ];
    let look = |(address, setting)| match up::bind(address, setting) {
        Ok(_) => finding("address", true, format!("{address} is free")),
        Err(error) => finding("address", false, error.to_string()),
    };
    wanted.into_iter().map(look).collect()
}

/// Apps run in containers, where this machine's loopback is another.
fn telemetry(config: &Config) -> Option<Finding> {
    let given = config.otlp_endpoint.as_ref()?;
    config.apps_otlp_endpoint().is_none().then(|| {
        note(
            "telemetry",
            format!("apps are not told OTEL_EXPORTER_OTLP_ENDPOINT={given}: from inside a container it is not reached; give an address of this machine that is"),
        )
    })
}

/// Without swap an app at its memory limit is killed at once, which is what we promise; with it, the machine slows down.
/// With some 500 instances the kernel's table of neighbours is full in its usual size, and packets to instances get lost.
fn neighbours() -> Option<Finding> {
    let text = std::fs::read_to_string("/proc/net/stat/arp_cache").ok()?;
    let times = table_fulls(&text)?;
    (times > 0).then(|| {
        note(
            "neighbours",
            format!("the kernel's table of neighbours was full {times} times: instances lose packets then. For more than 500 instances: `sysctl -w net.ipv4.neigh.default.gc_thresh2=4096 net.ipv4.neigh.default.gc_thresh3=8192`, and the same in /etc/sysctl.d"),
        )
    })
}

/// The column `table_fulls` of a table with one line for each processor, in hexadecimal.
fn table_fulls(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let at = lines
        .next()?
        .split_whitespace()
        .position(|name| name == "table_fulls")?;
    let counts = lines.filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(at)?, 16).ok());
    Some(counts.sum())
}

fn swap() -> Option<Finding> {
    let text = std::fs::read_to_string("/proc/swaps").ok()?;
    (text.lines().count() > 1).then(|| {
        note(
            "swap",
            "on: apps cannot use it, but a machine that swaps answers slowly; watch its memory",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn config(variables: &[(&str, &str)], data_dir: &std::path::Path) -> Config {
        let mut variables: std::collections::BTreeMap<String, String> = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        variables.insert("SLIPWAY_DATA_DIR".into(), data_dir.display().to_string());
        Config::load(Sources {
            variables,
            ..Sources::default()
        })
        .expect("usable")
    }

    #[test]
    fn an_address_in_use_is_missing_and_named_with_its_setting() {
        let dir = tempfile::tempdir().expect("a directory");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("its address").to_string();
        let found = ports(&config(&[("SLIPWAY_API_LISTEN", &address)], dir.path()));
        let api = found.iter().find(|f| f.detail.contains(&address)).expect("looked at");
        assert_eq!(api.ok, Some(false));
        assert!(api.detail.contains("SLIPWAY_API_LISTEN"), "{}", api.detail);
    }

    #[tokio::test]
    async fn an_engine_that_is_away_is_missing_with_how_to_get_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let found = engine(&config(&[("SLIPWAY_DOCKER_HOST", "unix:///nowhere.sock")], dir.path())).await;
        assert_eq!(found[0].ok, Some(false));
        assert!(found[0].detail.contains("SLIPWAY_DOCKER_HOST"), "{}", found[0].detail);
    }

    #[test]
    fn a_data_directory_in_the_way_of_a_file_is_missing() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        let found = data_dir(&config(&[], &file.join("data")));
        assert_eq!(found.ok, Some(false));
        assert!(found.detail.contains("SLIPWAY_DATA_DIR"), "{}", found.detail);
    }

    #[test]
    fn how_often_the_table_of_neighbours_was_full_is_added_up_over_processors() {
        let text = "entries  table_fulls\n00000440 0000000a\n00000440 00000010\n";
        assert_eq!(table_fulls(text), Some(26));
        assert_eq!(table_fulls("entries\n00000440\n"), None);
    }
}
