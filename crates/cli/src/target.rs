//! Which server a command goes to and with which token.
//!
//! Promises: the order is option, variable, stored login, this machine's own server; a stored token is only ever sent
//! to the address it was stored for, this machine's admin token only to a loopback address.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use slipway_domain::secret::Secret;
use url::{Host, Url};

use crate::args::Globals;
use crate::config::Config;
use crate::env::Env;
use crate::error::{CliError, LOG_IN};

/// Where the API listens when nothing else is said.
const LOCAL_LISTEN: &str = "127.0.0.1:7070";

/// How the address was found, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// By an option or a variable.
    Given,
    /// From a stored login.
    Stored,
    /// Nothing was said: this machine.
    ThisMachine,
}

/// A server to talk to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) token: Option<Secret>,
    pub(crate) cacert: Option<PathBuf>,
    pub(crate) source: Source,
}

/// Reads an address; without a scheme a loopback one is HTTP, any other HTTPS.
pub(crate) fn parse_url(text: &str) -> Result<Url, CliError> {
    let bad = |why: &str| {
        let shown: String = text.chars().take(100).collect();
        CliError::usage(
            format!("`{shown}` is not an address of a server: {why}"),
            "write it like `https://console.example.com`",
        )
    };
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let mut url = Url::parse(&full).map_err(|e| bad(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("only http and https are possible"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("leave out user name, password, `?` and `#`"));
    }
    if !text.contains("://") && is_loopback(&url) {
        url = Url::parse(&format!("http://{text}")).map_err(|e| bad(&e.to_string()))?;
    }
    Ok(url)
}

/// The address as a key of the settings: without a trailing slash.
pub(crate) fn key_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Whether the address can only be this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

impl Target {
    /// Decides.
    pub(crate) fn resolve(globals: &Globals, env: &Env) -> Result<Self, CliError> {
        let config = Config::load(env)?;
        let given_url = globals.url.as_deref().or_else(|| env.var("SLIPWAY_URL"));
        let (url, source) = match (given_url, &config.current) {
            (Some(text), _) => (parse_url(text)?, Source::Given),
            (None, Some(text)) => (parse_url(text)?, Source::Stored),
            (None, None) => (local_url(env)?, Source::ThisMachine),
        };
        let stored = config.servers.get(&key_of(&url));
        let given_token = globals.token.as_deref().or_else(|| env.var("SLIPWAY_TOKEN"));
        let token = given_token
            .map(|t| Secret::new(t.trim().to_owned()))
            .or_else(|| stored.map(|s| Secret::new(s.token.clone())))
            .or_else(|| if is_loopback(&url) { admin_token(env) } else { None });
        let cacert = globals
            .cacert
            .clone()
            .or_else(|| env.var("SLIPWAY_CACERT").map(PathBuf::from))
            .or_else(|| stored.and_then(|s| s.cacert.clone()))
            .map(|path| env.cwd.join(path));
        Ok(Self {
            url,
            token,
            cacert,
            source,
        })
    }

    /// There is no token for this server.
    pub(crate) fn not_logged_in(&self) -> CliError {
        let hint = match self.source {
            Source::ThisMachine => format!("{LOG_IN}; to start a server here: `slipway up`"),
            Source::Given | Source::Stored => LOG_IN.to_owned(),
        };
        CliError::failed_with("not logged in", hint)
    }
}

/// The API of this machine.
pub(crate) fn local_url(env: &Env) -> Result<Url, CliError> {
    let listen = env.var("SLIPWAY_API_LISTEN").unwrap_or(LOCAL_LISTEN);
    let mut address: SocketAddr = listen.parse().map_err(|_| {
        CliError::usage(
            format!("SLIPWAY_API_LISTEN is `{listen}`, not an address and a port"),
            "write it like `127.0.0.1:7070`",
        )
    })?;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    parse_url(&format!("http://{address}"))
}

/// The admin token of this machine's own server, if we may read it.
fn admin_token(env: &Env) -> Option<Secret> {
    let folders: Vec<PathBuf> = match env.var("SLIPWAY_DATA_DIR") {
        Some(folder) => vec![env.cwd.join(folder)],
        None => std::iter::once(PathBuf::from("/var/lib/slipway"))
            .chain(env.home().map(|h| h.join(".local/share/slipway")))
            .collect(),
    };
    folders.into_iter().find_map(|folder| {
        let mut text = String::new();
        fs::File::open(folder.join("admin.token"))
            .ok()?
            .take(1024)
            .read_to_string(&mut text)
            .ok()?;
        let token = text.trim();
        (!token.is_empty()).then(|| Secret::new(token.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_a_scheme_are_https_unless_they_are_this_machine() {
        for (text, expected) in [
            ("console.example.com", "https://console.example.com/"),
            ("http://console.example.com", "http://console.example.com/"),
            ("127.0.0.1:7070", "http://127.0.0.1:7070/"),
            ("api.localhost:7070", "http://api.localhost:7070/"),
            ("[::1]:7070", "http://[::1]:7070/"),
            ("https://localhost", "https://localhost/"),
        ] {
            assert_eq!(parse_url(text).expect(text).as_str(), expected);
        }
        for bad in [
            "",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://x/?a",
            "https://x y",
        ] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
