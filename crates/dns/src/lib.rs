//! Asks DNS what it says of a name, and changes zones.
//!
//! Promises: nothing is remembered from one look to the next; a server that fails is reported, not skipped; a look
//! ends within a bounded time. This is the only crate that knows a DNS library.

mod ask;
mod edit;
mod look;
mod plain;
mod validate;
mod zone;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use slipway_domain::domains::{Answer, Dnssec, Look};

pub use edit::Editor;

use crate::ask::Server;
use crate::validate::Validator;

/// So many servers are asked at most.
pub const SERVERS_MAX: usize = 4;

/// Why DNS cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// This machine names no server: it may have no network.
    #[error("this machine names no DNS server ({0}): set SLIPWAY_DNS_RESOLVERS")]
    NoServers(String),
    /// What was given cannot be used.
    #[error("{0}")]
    Unusable(String),
}

/// What is known where nobody was asked.
pub const fn unasked() -> Look {
    Look {
        answers: Vec::new(),
        proof: Answer::Nothing,
        caa: Ok(None),
        dnssec: Dnssec::Unknown,
        zone: None,
        by_wildcard: false,
        target: Answer::Nothing,
        challenge_alias: None,
    }
}

/// Servers to ask.
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

struct Inner {
    servers: Vec<Server>,
    /// Checks signatures for itself, over the first server.
    validator: Validator,
}

/// Whether signatures can be checked up to the keys in a file.
pub fn check_trust_anchor(path: &Path) -> Result<(), DnsError> {
    validate::trust_anchors(path).map(drop).map_err(DnsError::Unusable)
}

impl Dns {
    /// Asks these servers, or the machine's own if none are given. Signatures are checked up to the keys in the file, or
    /// those of the root if there is none (RFC 7958).
    pub fn new(servers: &[SocketAddr], trust_anchor: Option<&Path>) -> Result<Self, DnsError> {
        let servers: Vec<SocketAddr> = if servers.is_empty() {
            ask::system_servers().map_err(DnsError::NoServers)?
        } else {
            servers.to_vec()
        };
        let Some(first) = servers.first().copied() else {
            return Err(DnsError::NoServers("/etc/resolv.conf has none".into()));
        };
        let made: Result<Vec<Server>, String> = servers
            .iter()
            .take(SERVERS_MAX)
            .map(|address| Server::recursive(*address))
            .collect();
        let validator = Validator::new(first, trust_anchor).map_err(DnsError::Unusable)?;
        Ok(Self(Arc::new(Inner {
            servers: made.map_err(DnsError::Unusable)?,
            validator,
        })))
    }
}
