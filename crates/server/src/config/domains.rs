//! What has to do with names: CAs, our public addresses, the DNS servers to ask.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use slipway_acme::{CaSettings, ExternalAccount};
use slipway_domain::name::HostName;
use url::Url;

use super::{ConfigError, Faults, SETTINGS, Values};

/// What users' records must point to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicAddresses {
    /// Those of the interface that leads to the world.
    Own,
    /// These.
    These(Vec<IpAddr>),
    /// Those behind this name.
    Behind(HostName),
}

/// All of it.
#[derive(Clone)]
pub struct Domains {
    pub(crate) cas: Vec<CaSettings>,
    pub(crate) public_addresses: PublicAddresses,
    pub(crate) resolvers: Vec<SocketAddr>,
    pub(crate) trust_anchor: Option<PathBuf>,
    pub(crate) hook: Option<PathBuf>,
    pub(crate) has_email: bool,
}

impl std::fmt::Debug for Domains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directories: Vec<&str> = self.cas.iter().map(|ca| ca.directory.as_str()).collect();
        f.debug_struct("Domains")
            .field("cas", &directories)
            .field("public_addresses", &self.public_addresses)
            .field("resolvers", &self.resolvers)
            .finish_non_exhaustive()
    }
}

fn items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn wrong(origin: String, value: &str, expected: &str) -> ConfigError {
    ConfigError::Value {
        origin,
        value: format!("`{value}`"),
        expected: expected.to_owned(),
    }
}

pub(super) fn read(v: &Values, faults: &mut Faults) -> Option<Domains> {
    let directories = faults.keep(directories(v));
    let staging = faults.keep(staging(v));
    let profile = faults.keep(profile(v));
    let external = faults.keep(external(v));
    let public_addresses = faults.keep(public_addresses(v));
    let resolvers = faults.keep(resolvers(v));
    let email = faults.keep(email(v));
    let roots = faults.keep(file(v, "acme_roots", root_certificates));
    let trust_anchor = faults.keep(file(v, "dns_trust_anchor", |path| {
        slipway_dns::check_trust_anchor(path).map_err(|e| e.to_string())
    }));
    let hook = faults.keep(program(v, "dns_hook"));
    let (directories, external, email, roots) = (directories?, external?, email?, roots?);
    let (staging, profile) = (staging?, profile?);
    let mut unused: Vec<&String> = external.iter().map(|(host, _)| host).collect();
    let cas = directories
        .into_iter()
        .map(|directory| {
            let is_its = |host: &String| is_host_of(host, &directory);
            unused.retain(|host| !is_its(host));
            let account = external.iter().find(|(host, _)| is_its(host));
            let account = account.map(|(_, account)| account.clone());
            let staging = staging.iter().find(|(host, _)| is_its(host));
            let staging = staging
                .map(|(_, url)| url.clone())
                .or_else(|| known_staging(&directory));
            let mut ca = CaSettings::new(directory.into(), email.clone(), roots.clone(), account);
            ca.staging = staging;
            ca.profile.clone_from(&profile);
            ca
        })
        .collect();
    if let Some(host) = unused.first() {
        faults.0.push(wrong(
            "SLIPWAY_ACME_EAB".into(),
            host,
            "no directory in SLIPWAY_ACME_DIRECTORY has this host",
        ));
    }
    Some(Domains {
        cas,
        public_addresses: public_addresses?,
        resolvers: resolvers?,
        trust_anchor: trust_anchor?,
        hook: hook?,
        has_email: email.is_some(),
    })
}

/// Whether what a person wrote is a directory's host, with or without its port.
fn is_host_of(written: &str, directory: &Url) -> bool {
    let host = directory.host_str().unwrap_or_default();
    let port = directory.port_or_known_default().unwrap_or_default();
    written == host || written == format!("{host}:{port}")
}

fn directories(v: &Values) -> Result<Vec<Url>, ConfigError> {
    let default = SETTINGS
        .iter()
        .find(|s| s.key == "acme_directory")
        .map_or("", |s| s.default);
    let given = v.get("acme_directory");
    let (value, origin) = given.unwrap_or_else(|| (default.to_owned(), "the default of acme_directory".into()));
    let expected =
        "give the https:// address of a CA's ACME directory, or several separated by commas, the first choice first";
    let url = |item: &str| {
        let url = Url::parse(item).ok();
        let url = url.filter(|u| u.scheme() == "https" && u.has_host() && !item.contains(char::is_whitespace));
        url.ok_or_else(|| wrong(origin.clone(), item, expected))
    };
    items(&value).map(url).collect()
}

/// Where orders can be tried out, by the host of the directory.
fn staging(v: &Values) -> Result<Vec<(String, String)>, ConfigError> {
    let Some((value, origin)) = v.get("acme_staging") else {
        return Ok(Vec::new());
    };
    let expected = "give <directory's host, with its port where two share one>=<https:// address of its staging directory>, several separated by commas";
    let one = |item: &str| {
        let (host, directory) = item.split_once('=')?;
        let url = Url::parse(directory.trim())
            .ok()
            .filter(|u| u.scheme() == "https" && u.has_host())?;
        Some((host.trim().to_owned(), url.into()))
    };
    let all = items(&value).map(|item| one(item).ok_or_else(|| wrong(origin.clone(), item, expected)));
    all.collect()
}

/// What is known without being told.
fn known_staging(directory: &Url) -> Option<String> {
    (directory.host_str() == Some("acme-v02.api.letsencrypt.org"))
        .then(|| "https://acme-staging-v02.api.letsencrypt.org/directory".into())
}

fn profile(v: &Values) -> Result<Option<String>, ConfigError> {
    let Some((value, origin)) = v.get("acme_profile") else {
        return Ok(None);
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !value.is_empty() && value.len() <= 64 && value.chars().all(is_word) {
        return Ok(Some(value));
    }
    Err(wrong(
        origin,
        &value,
        "give the name of a profile that the CA offers, such as shortlived",
    ))
}

fn external(v: &Values) -> Result<Vec<(String, ExternalAccount)>, ConfigError> {
    let Some((value, origin)) = v.get("acme_eab") else {
        return Ok(Vec::new());
    };
    // A secret is in no message.
    let expected = "give <directory's host>=<key id>:<HMAC key in base64url>, several separated by commas";
    let account = |item: &str| {
        let (host, pair) = item.split_once('=')?;
        let (key_id, key) = pair.split_once(':')?;
        let hmac_key = BASE64_URL_SAFE_NO_PAD.decode(key.trim_end_matches('=')).ok()?;
        let key_id = key_id.to_owned();
        Some((host.to_owned(), ExternalAccount { key_id, hmac_key }))
    };
    let accounts = items(&value).map(|item| account(item).ok_or_else(|| wrong(origin.clone(), "****", expected)));
    accounts.collect()
}

fn public_addresses(v: &Values) -> Result<PublicAddresses, ConfigError> {
    let Some((value, origin)) = v.get("public_addresses") else {
        return Ok(PublicAddresses::Own);
    };
    let addresses: Result<Vec<IpAddr>, _> = items(&value).map(str::parse).collect();
    let expected =
        "give this platform's IP addresses as the world sees them, separated by commas, or one name that leads to them";
    if let Ok(addresses) = addresses {
        if addresses.is_empty() || addresses.iter().any(|a| a.is_unspecified() || a.is_multicast()) {
            return Err(wrong(origin, &value, expected));
        }
        return Ok(PublicAddresses::These(addresses));
    }
    // No top-level domain is a number: that would be an address with a slip in it.
    let name = value.trim().parse::<HostName>().ok();
    let name = name.filter(|n| !n.as_str().ends_with(|c: char| c.is_ascii_digit()));
    name.map(PublicAddresses::Behind)
        .ok_or_else(|| wrong(origin, &value, expected))
}

fn resolvers(v: &Values) -> Result<Vec<SocketAddr>, ConfigError> {
    let Some((value, origin)) = v.get("dns_resolvers") else {
        return Ok(Vec::new());
    };
    let server = |item: &str| {
        let with_port = item.parse::<SocketAddr>().ok();
        let without = || item.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
        let expected = "give DNS servers as <address>:<port>, separated by commas, such as 9.9.9.9:53";
        with_port
            .or_else(without)
            .ok_or_else(|| wrong(origin.clone(), item, expected))
    };
    let servers = items(&value).map(server).collect::<Result<Vec<_>, _>>()?;
    if servers.len() > slipway_dns::SERVERS_MAX {
        return Err(wrong(origin, &value, "give four DNS servers at most"));
    }
    Ok(servers)
}

fn email(v: &Values) -> Result<Option<String>, ConfigError> {
    let Some((value, origin)) = v.get("acme_email") else {
        return Ok(None);
    };
    let is_address = value.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && host.contains('.') && !value.contains(char::is_whitespace) && !host.contains('@')
    });
    if is_address {
        return Ok(Some(value));
    }
    Err(wrong(origin, &value, "give an e-mail address such as ops@example.com"))
}

/// Whether root certificates can be read from it.
fn root_certificates(path: &Path) -> Result<(), String> {
    let pem = std::fs::read(path).map_err(|e| e.to_string())?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(roots) if !roots.is_empty() => Ok(()),
        _ => Err("give root certificates in PEM, with `-----BEGIN CERTIFICATE-----`".into()),
    }
}

/// A file whose content is as it must be.
fn file(
    v: &Values,
    key: &str,
    check: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<Option<PathBuf>, ConfigError> {
    let Some((value, origin)) = v.get(key) else {
        return Ok(None);
    };
    let path = PathBuf::from(&value);
    if let Err(error) = std::fs::File::open(&path) {
        return Err(wrong(origin, &value, &format!("the file cannot be read: {error}")));
    }
    match check(&path) {
        Ok(()) => Ok(Some(path)),
        Err(why) => Err(wrong(origin, &value, &why)),
    }
}

fn program(v: &Values, key: &str) -> Result<Option<PathBuf>, ConfigError> {
    use std::os::unix::fs::PermissionsExt as _;
    let Some((value, origin)) = v.get(key) else {
        return Ok(None);
    };
    let path = PathBuf::from(&value);
    let is_program = |m: std::fs::Metadata| m.is_file() && m.permissions().mode() & 0o111 != 0;
    if path.is_absolute() && std::fs::metadata(&path).is_ok_and(is_program) {
        return Ok(Some(path));
    }
    Err(wrong(
        origin,
        &value,
        "give the absolute path of a program that may be run",
    ))
}
