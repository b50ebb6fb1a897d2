//! Asks DNS about domains and says what that means: the port behind which `dns` and `planner` stand.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use slipway_dns::{Dns, DnsError};
use slipway_domain::domains::Inspection;
use slipway_domain::name::HostName;
use slipway_domain::ports::{BoxFuture, Claim, DomainInspector};
use slipway_planner::domains::{Wanted, inspect};

use crate::caa::CaaIdentities;
use crate::config::{Config, PublicAddresses};
use crate::error::ServerError;

/// Addresses that are reached over the interface that leads to the world (RFC 5737, RFC 3849). Nothing is sent.
const AWAY: [&str; 2] = ["192.0.2.1:9", "[2001:db8::1]:9"];

/// The servers that are asked, as the settings say; `None` where this machine knows none, which may be right for it.
pub(crate) fn dns(config: &Config) -> Result<Option<Dns>, ServerError> {
    let domains = &config.domains;
    match Dns::new(&domains.resolvers, domains.trust_anchor.as_deref()) {
        Ok(dns) => Ok(Some(dns)),
        Err(error @ DnsError::NoServers(_)) => {
            tracing::warn!(%error, "dns.no_server: domains cannot be looked up");
            Ok(None)
        }
        Err(error) => Err(ServerError::Setup(error.to_string())),
    }
}

/// What is asked, and what is right.
pub(crate) struct Inspector {
    dns: Option<Dns>,
    addresses: Vec<IpAddr>,
    target: Option<HostName>,
    identities: CaaIdentities,
}

impl Inspector {
    /// As the settings say.
    pub(crate) fn new(config: &Config, dns: Option<Dns>, identities: CaaIdentities) -> Self {
        let domains = &config.domains;
        let (addresses, target) = match &domains.public_addresses {
            PublicAddresses::Own => (own_addresses(), None),
            PublicAddresses::These(addresses) => (addresses.clone(), None),
            PublicAddresses::Behind(name) => (Vec::new(), Some(name.clone())),
        };
        Self {
            dns,
            addresses,
            target,
            identities,
        }
    }
}

/// The addresses of the interface that leads to the world.
fn own_addresses() -> Vec<IpAddr> {
    let own = |away: &str| {
        let away: SocketAddr = away.parse().ok()?;
        let any = if away.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(away).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    AWAY.into_iter().filter_map(own).collect()
}

impl DomainInspector for Inspector {
    fn inspect(&self, claim: Claim) -> BoxFuture<'_, Inspection> {
        Box::pin(async move {
            let wanted = Wanted {
                host: claim.host,
                token: claim.token,
                addresses: self.addresses.clone(),
                target: self.target.clone(),
                routed_proves: claim.routed_proves,
                is_proven: claim.is_proven,
                is_anothers: claim.is_anothers,
                zones: claim.zones,
                ca_identities: self.identities.all(),
            };
            let dns = self.dns.as_ref().filter(|_| !wanted.host.is_local());
            let look = match dns {
                Some(dns) => dns.look(&wanted.host, wanted.target.as_ref()).await,
                None => slipway_dns::unasked(),
            };
            inspect(&wanted, &look)
        })
    }
}
