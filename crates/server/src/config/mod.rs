//! The server's configuration: flags before `SLIPWAY_*` variables before `slipway-server.toml`, parsed once.
//!
//! Promises: an unknown key in the file is an error that names the nearest known one; a value that does not parse is
//! an error that names where it came from; nothing else in the server reads the environment.

mod backups;
mod domains;
mod listens;
mod mail;
mod notes;
mod settings;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use slipway_domain::image::ImageReference;
use slipway_domain::name::HostName;
use slipway_domain::quantity::Bytes;
use slipway_domain::token::Token;
use slipway_scheduler::DiskFloor;
use url::Url;

use crate::postgres::Programs;

pub use backups::Backups;
pub use domains::Domains;
pub(crate) use domains::PublicAddresses;
pub use mail::Mail;
pub use settings::{SETTINGS, Setting, example, schema};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: String,
    },
    /// A key that there is not.
    #[error("{path}: unknown setting `{key}`{hint} `slipway config example` prints those there are")]
    Unknown {
        /// The file.
        path: String,
        /// The key.
        key: String,
        /// The nearest one there is.
        hint: String,
    },
    /// A value that cannot be used.
    #[error("{origin}: {value} cannot be used: {expected}")]
    Value {
        /// Where it came from.
        origin: String,
        /// What it was.
        value: String,
        /// What would do.
        expected: String,
    },
    /// More than one of them: all are told at once.
    #[error("{}", lines(.0))]
    Several(Vec<Self>),
}

fn lines(faults: &[ConfigError]) -> String {
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// What is wrong, gathered: somebody who mends a configuration wants to know all of it.
#[derive(Debug, Default)]
struct Faults(Vec<ConfigError>);

impl Faults {
    /// The value, or nothing and one fault more.
    fn keep<T>(&mut self, read: Result<T, ConfigError>) -> Option<T> {
        read.map_err(|fault| self.0.push(fault)).ok()
    }

    fn into_error(mut self) -> ConfigError {
        if self.0.len() == 1 {
            self.0.remove(0)
        } else {
            ConfigError::Several(self.0)
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The server's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything outside Postgres.
    pub data_dir: PathBuf,
    /// An external Postgres.
    pub database_url: Option<String>,
    /// Where apps answer.
    pub base_domain: HostName,
    /// Where the API listens.
    pub api_listen: SocketAddr,
    /// Where the proxy serves the API.
    pub api_domain: Option<HostName>,
    /// The control plane's own metrics and readiness.
    pub admin_listen: SocketAddr,
    /// The proxy's own metrics and readiness.
    pub proxy_admin_listen: SocketAddr,
    /// Plain HTTP.
    pub http_listen: SocketAddr,
    /// HTTPS.
    pub https_listen: SocketAddr,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The control socket.
    pub control_socket: PathBuf,
    /// The container engine.
    pub docker_host: String,
    /// Subnets come out of it.
    pub network_pool: Ipv4Net,
    /// CAs, public addresses, DNS servers.
    pub domains: Domains,
    /// What must stay free.
    pub disk_free_min: DiskFloor,
    /// The master key.
    pub master_key_file: PathBuf,
    /// The first admin token.
    pub bootstrap_token: Option<Token>,
    /// Who is told of alerts.
    pub alert_webhook_url: Option<Url>,
    /// Where alerts are written to.
    pub mail: Option<Mail>,
    /// Where apps send what they tell, by the standard variable.
    pub otlp_endpoint: Option<String>,
    /// Whether the platform's own traces are exported, by the standard variables.
    pub traces: bool,
    /// What PostgreSQL is run from where this machine has none.
    pub postgres_image: ImageReference,
    /// The same, with `{version}` for the version.
    pub postgres_images: String,
    /// Where backups go.
    pub backups: Backups,
    /// The private Postgres' programs, told by the parent.
    pub postgres_programs: Option<Programs>,
    /// The `slipway up` that started this process, told by it.
    pub parent: Option<u32>,
    /// As whom this process takes the scheduler's lease, told by the same.
    pub lease_holder: Option<uuid::Uuid>,
    /// What is logged.
    pub log: String,
    /// How.
    pub log_format: LogFormat,
}

/// Where values may come from. The environment is an argument, so that tests need not change it.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Flags by key.
    pub flags: BTreeMap<String, String>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Whether this is root, which may open low ports.
    pub is_root: bool,
    /// Whether the log goes to a terminal.
    pub is_terminal: bool,
}

struct Values {
    sources: Sources,
    file: BTreeMap<String, String>,
    path: String,
}

impl Values {
    /// A value and where it came from; empty is the same as not there.
    fn get(&self, key: &str) -> Option<(String, String)> {
        let variable = format!("SLIPWAY_{}", key.to_uppercase());
        let flag = || {
            self.sources
                .flags
                .get(key)
                .map(|v| (v.clone(), format!("--{}", key.replace('_', "-"))))
        };
        let from_environment = || {
            self.sources
                .variables
                .get(&variable)
                .map(|v| (v.clone(), variable.clone()))
        };
        let from_file = || {
            self.file
                .get(key)
                .map(|v| (v.clone(), format!("{} in {}", key, self.path)))
        };
        flag()
            .or_else(from_environment)
            .or_else(from_file)
            .filter(|(v, _)| !v.is_empty())
    }

    /// The first of these variables of other people's standards that is set, with its name.
    fn standard<'a>(&'a self, names: &[&'a str]) -> Option<(&'a str, &'a str)> {
        let set = |name: &&'a str| Some((*name, self.sources.variables.get(*name)?.as_str()));
        names.iter().filter_map(set).find(|(_, value)| !value.is_empty())
    }

    fn parse<T: FromStr>(&self, key: &str, expected: &str) -> Result<Option<T>, ConfigError>
    where
        T::Err: std::fmt::Display,
    {
        let Some((value, origin)) = self.get(key) else {
            return Ok(None);
        };
        value.parse().map(Some).map_err(|error: T::Err| ConfigError::Value {
            origin,
            value: format!("`{value}`"),
            expected: if expected.is_empty() {
                error.to_string()
            } else {
                expected.to_owned()
            },
        })
    }

    fn parse_or<T: FromStr>(&self, key: &str, expected: &str) -> Result<T, ConfigError>
    where
        T::Err: std::fmt::Display,
    {
        if let Some(value) = self.parse(key, expected)? {
            return Ok(value);
        }
        let default = SETTINGS.iter().find(|s| s.key == key).map_or("", |s| s.default);
        default.parse().map_err(|error: T::Err| ConfigError::Value {
            origin: format!("the default of {key}"),
            value: format!("`{default}`"),
            expected: error.to_string(),
        })
    }
}

const ADDRESS: &str = "give an address and a port such as 127.0.0.1:7070";

impl Config {
    /// Puts the sources together.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        for variable in sources.variables.keys() {
            if let Some(hint) = settings::unknown(variable) {
                faults.0.push(ConfigError::Unknown {
                    path: "the environment".into(),
                    key: variable.clone(),
                    hint,
                });
            }
        }
        let (file, path) = read_file(sources.file.as_deref(), &mut faults)?;
        let v = Values { sources, file, path };
        let config = Self::read(&v, &mut faults);
        faults.0.extend(config.as_ref().and_then(listens::shared));
        config
            .filter(|_| faults.0.is_empty())
            .ok_or_else(|| faults.into_error())
    }

    /// All values, unless one of them cannot be used.
    fn read(v: &Values, faults: &mut Faults) -> Option<Self> {
        let is_root = v.sources.is_root;
        let data_dir = v.get("data_dir").map_or_else(
            || default_data_dir(is_root, v.sources.variables.get("HOME").map(String::as_str)),
            |(d, _)| d.into(),
        );
        // Other processes that start elsewhere are told of it.
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        let port =
            |low: u16, high: u16| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), if is_root { low } else { high });
        let told = |variable: &str| v.sources.variables.get(variable);
        // Each before the first `?`: a fault must not hide the next.
        let database_url = faults.keep(database_url(v));
        let api_listen = faults.keep(v.parse_or("api_listen", ADDRESS));
        let admin_listen = faults.keep(v.parse_or("admin_listen", ADDRESS));
        let proxy_admin_listen = faults.keep(v.parse_or("proxy_admin_listen", ADDRESS));
        let plain = faults.keep(v.parse("http_listen", ADDRESS));
        let encrypted = faults.keep(v.parse("https_listen", ADDRESS));
        let trusted_proxies = faults.keep(networks(v));
        let control_socket = faults.keep(control_socket(v, &data_dir));
        let docker_host = faults.keep(docker_host(v));
        let network_pool = faults.keep(network_pool(v));
        let disk_free_min = faults.keep(disk_floor(v));
        let bootstrap_token = faults.keep(bootstrap_token(v));
        let alert_webhook_url = faults.keep(alert_webhook_url(v));
        let mail = faults.keep(mail::read(v));
        let traces = faults.keep(traces(v));
        let postgres_image = faults.keep(postgres_image(v));
        let log = faults.keep(log_filter(v));
        let log_format = faults.keep(log_format(v, v.sources.is_terminal));
        let base_domain: Option<HostName> = faults.keep(v.parse_or("base_domain", ""));
        let domains = domains::read(v, faults);
        let backups = backups::read(v, &data_dir, faults);
        let api_domain = faults.keep(api_domain(v, base_domain.as_ref()));
        Some(Self {
            database_url: database_url?,
            api_listen: api_listen?,
            admin_listen: admin_listen?,
            proxy_admin_listen: proxy_admin_listen?,
            http_listen: plain?.unwrap_or_else(|| port(80, 8080)),
            https_listen: encrypted?.unwrap_or_else(|| port(443, 8443)),
            trusted_proxies: trusted_proxies?,
            control_socket: control_socket?,
            docker_host: docker_host?,
            network_pool: network_pool?,
            domains: domains?,
            backups: backups?,
            disk_free_min: disk_free_min?,
            master_key_file: v
                .get("master_key_file")
                .map_or_else(|| data_dir.join("master.key"), |(f, _)| f.into()),
            bootstrap_token: bootstrap_token?,
            alert_webhook_url: alert_webhook_url?,
            mail: mail?,
            otlp_endpoint: v.standard(&["OTEL_EXPORTER_OTLP_ENDPOINT"]).map(|(_, e)| e.to_owned()),
            traces: traces?,
            postgres_image: postgres_image?,
            postgres_images: v
                .get("postgres_image")
                .map_or_else(|| settings::POSTGRES_IMAGE.into(), |(value, _)| value),
            postgres_programs: told(crate::up::PROGRAMS_VARIABLE).and_then(|p| serde_json::from_str(p).ok()),
            parent: told(crate::up::PARENT_VARIABLE).and_then(|p| p.parse().ok()),
            lease_holder: told(crate::up::HOLDER_VARIABLE).and_then(|id| id.parse().ok()),
            log: log?,
            log_format: log_format?,
            api_domain: api_domain?,
            base_domain: base_domain?,
            data_dir,
        })
    }

    /// Where apps send what they tell; nowhere, if that is this machine's own loopback, which is another inside a
    /// container.
    pub(crate) fn apps_otlp_endpoint(&self) -> Option<&str> {
        let reached = |endpoint: &&str| {
            let url = Url::parse(endpoint).ok();
            !url.is_some_and(|url| match url.host() {
                Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
                Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost",
                None => false,
            })
        };
        self.otlp_endpoint.as_deref().filter(reached)
    }

    /// Where the nightly dumps are.
    pub(crate) fn dumps(&self) -> PathBuf {
        self.data_dir.join("dumps")
    }

    /// The port people reach HTTPS under.
    pub fn https_port(&self) -> u16 {
        self.https_listen.port()
    }
}

/// A private Postgres is used without one. What is no address of a Postgres is refused here rather than when nobody
/// looks on any more.
fn database_url(v: &Values) -> Result<Option<String>, ConfigError> {
    let Some((text, origin)) = v.get("database_url") else {
        return Ok(None);
    };
    let usable = Url::parse(&text).is_ok_and(|u| matches!(u.scheme(), "postgres" | "postgresql"));
    if usable {
        return Ok(Some(text));
    }
    Err(ConfigError::Value {
        origin,
        value: "the value, not shown because it may hold a password,".into(),
        expected: "give the address of a Postgres: `postgres://user:password@host:5432/database`".into(),
    })
}

fn alert_webhook_url(v: &Values) -> Result<Option<Url>, ConfigError> {
    let Some((text, origin)) = v.get("alert_webhook_url") else {
        return Ok(None);
    };
    let url = Url::parse(&text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .map(Some)
        .ok_or_else(|| ConfigError::Value {
            origin,
            value: "the value, not shown because it may hold a token,".into(),
            expected: "give the address of a webhook: `https://host/path`".into(),
        })
}

fn api_domain(v: &Values, base_domain: Option<&HostName>) -> Result<Option<HostName>, ConfigError> {
    let api_domain: Option<HostName> = v.parse("api_domain", "")?;
    match api_domain.as_ref().zip(base_domain) {
        Some((api, base_domain)) if api == base_domain || api.as_str().ends_with(&format!(".{base_domain}")) => {
            Err(ConfigError::Value {
                origin: "SLIPWAY_API_DOMAIN".into(),
                value: format!("`{api}`"),
                expected: format!(
                    "it must lie outside the base domain {base_domain}, so that no app shares the console's domain"
                ),
            })
        }
        _ => Ok(api_domain),
    }
}

fn default_data_dir(is_root: bool, home: Option<&str>) -> PathBuf {
    match home {
        Some(home) if !is_root => Path::new(home).join(".local/share/slipway"),
        _ => "/var/lib/slipway".into(),
    }
}

/// What the file says; keys and values that are wrong are told of, the rest is read.
fn read_file(path: Option<&Path>, faults: &mut Faults) -> Result<(BTreeMap<String, String>, String), ConfigError> {
    let Some(path) = path else {
        return Ok(Default::default());
    };
    let shown = path.display().to_string();
    let fail = |error: String| ConfigError::File {
        path: shown.clone(),
        error,
    };
    let text = std::fs::read_to_string(path).map_err(|e| fail(e.to_string()))?;
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| fail(e.to_string()))?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        if let Err(nearest) = settings::find(&key) {
            let hint = nearest.map_or_else(|| ";".into(), |n| format!(", did you mean `{}`?", n.key));
            let path = shown.clone();
            faults.0.push(ConfigError::Unknown { path, key, hint });
            continue;
        }
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Array(items) => items
                .iter()
                .map(|i| i.as_str().unwrap_or_default())
                .collect::<Vec<_>>()
                .join(","),
            other => {
                faults.0.push(ConfigError::Value {
                    origin: format!("{key} in {shown}"),
                    value: format!("`{other}`"),
                    expected: "give a text in quotes".into(),
                });
                continue;
            }
        };
        values.insert(key, value);
    }
    Ok((values, shown))
}

fn refuse(origin: String, value: &str, expected: &str) -> ConfigError {
    ConfigError::Value {
        origin,
        value: format!("`{value}`"),
        expected: expected.to_owned(),
    }
}

fn networks(v: &Values) -> Result<Vec<IpNet>, ConfigError> {
    let Some((value, origin)) = v.get("trusted_proxies") else {
        return Ok(Vec::new());
    };
    let parsed: Result<_, _> = value.split(',').map(|n| n.trim().parse()).collect();
    parsed.map_err(|_| refuse(origin, &value, "give networks such as 10.0.0.0/8, separated by commas"))
}

fn control_socket(v: &Values, data_dir: &Path) -> Result<PathBuf, ConfigError> {
    match v.get("control_url") {
        None => Ok(data_dir.join("control.sock")),
        Some((value, origin)) => match value.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(path.into()),
            _ => Err(refuse(
                origin,
                &value,
                "give unix:// and an absolute path; other machines are not available in this version",
            )),
        },
    }
}

fn docker_host(v: &Values) -> Result<String, ConfigError> {
    let host: String = v.parse_or("docker_host", "")?;
    let known = ["unix:///", "tcp://", "http://"].iter().any(|p| host.starts_with(p));
    if known {
        Ok(host)
    } else {
        Err(refuse(
            "SLIPWAY_DOCKER_HOST".into(),
            &host,
            "give unix:///path or tcp://host:port",
        ))
    }
}

fn network_pool(v: &Values) -> Result<Ipv4Net, ConfigError> {
    let pool: Ipv4Net = v.parse_or("network_pool", "give a network such as 10.210.0.0/16")?;
    let fail = |expected: &str| Err(refuse("SLIPWAY_NETWORK_POOL".into(), &pool.to_string(), expected));
    if pool.prefix_len() > 26 {
        return fail("it must hold at least one /26");
    }
    let private = PRIVATE.iter().any(|(network, prefix)| {
        pool.prefix_len() >= *prefix && Ipv4Net::new(pool.addr(), *prefix).is_ok_and(|net| net.network() == *network)
    });
    if !private {
        return fail(
            "apps could no longer reach the hosts on the Internet that have these addresses: give a network inside 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10",
        );
    }
    Ok(pool.trunc())
}

/// Networks that nobody has on the Internet (RFC 1918, RFC 6598).
const PRIVATE: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// OpenTelemetry's variables for an exporter of traces: the one of the signal comes before the general one.
fn traces(v: &Values) -> Result<bool, ConfigError> {
    let disabled = v.standard(&["OTEL_SDK_DISABLED"]);
    let endpoint = v.standard(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
    if disabled.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true")) || endpoint.is_none() {
        return Ok(false);
    }
    let protocol = v.standard(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    match protocol {
        None | Some((_, "http/protobuf")) => Ok(true),
        Some((name, value)) => Err(refuse(
            name.to_owned(),
            value,
            "give http/protobuf, which collectors take at port 4318; no other protocol is spoken",
        )),
    }
}

/// `{version}` stands for the version that a new database gets.
fn postgres_image(v: &Values) -> Result<ImageReference, ConfigError> {
    let (value, origin) = v
        .get("postgres_image")
        .unwrap_or_else(|| (settings::POSTGRES_IMAGE.into(), "the default".into()));
    let image = value.replace("{version}", settings::POSTGRES_VERSION);
    image
        .parse()
        .map_err(|e: slipway_domain::image::ImageError| refuse(origin, &value, &e.to_string()))
}

fn disk_floor(v: &Values) -> Result<DiskFloor, ConfigError> {
    let (value, origin) = v
        .get("disk_free_min")
        .unwrap_or_else(|| ("10%".into(), "the default".into()));
    let percent = value
        .strip_suffix('%')
        .and_then(|p| p.parse::<f64>().ok())
        .filter(|p| (0.0..=100.0).contains(p));
    percent
        .map(DiskFloor::Percent)
        .or_else(|| value.parse::<Bytes>().ok().map(|b| DiskFloor::Bytes(b.0)))
        .ok_or_else(|| refuse(origin, &value, "give a share such as 10% or a size such as 20GiB"))
}

fn bootstrap_token(v: &Values) -> Result<Option<Token>, ConfigError> {
    let Some((value, origin)) = v.get("bootstrap_token") else {
        return Ok(None);
    };
    // The value is a secret: it does not go into the message.
    value
        .parse()
        .map(Some)
        .map_err(|e: slipway_domain::token::TokenError| refuse(origin, "****", &e.to_string()))
}

fn log_filter(v: &Values) -> Result<String, ConfigError> {
    let Some((value, origin)) = v.get("log") else {
        return Ok("info".into());
    };
    // A word alone would be taken for a target: a mistyped level would silence the log.
    let level = |word: &str| word.parse::<tracing::metadata::LevelFilter>().is_ok();
    let words = value.split(',').all(|d| d.contains(['=', '[']) || level(d.trim()));
    match tracing_subscriber::EnvFilter::try_new(&value) {
        Ok(_) if words => Ok(value),
        _ => Err(refuse(
            origin,
            &value,
            "give a level (off, error, warn, info, debug, trace) or target=level pairs: info,slipway_scheduler=debug",
        )),
    }
}

fn log_format(v: &Values, is_terminal: bool) -> Result<LogFormat, ConfigError> {
    match v.get("log_format") {
        None => Ok(if is_terminal { LogFormat::Text } else { LogFormat::Json }),
        Some((value, origin)) => match value.as_str() {
            "json" => Ok(LogFormat::Json),
            "text" => Ok(LogFormat::Text),
            _ => Err(refuse(origin, &value, "give json or text")),
        },
    }
}

#[cfg(test)]
mod tests;
