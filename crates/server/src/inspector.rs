//! Asks DNS about domains and says what that means: the port behind which `dns` and `planner` stand.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use slipway_dns::{Dns, DnsError};
use slipway_domain::domains::Inspection;
use slipway_domain::name::HostName;
use slipway_domain::ports::{BoxFuture, Claim, DomainInspector};
use slipway_planner::domains::{Wanted, inspect};
use slipway_store::{Store, StoreError};

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
    store: Store,
}

impl Inspector {
    /// As the settings say.
    pub(crate) fn new(config: &Config, dns: Option<Dns>, identities: CaaIdentities, store: Store) -> Self {
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
            store,
        }
    }

    /// Our accounts at CAs; none where the database does not tell.
    async fn accounts(&self) -> Vec<String> {
        let asked = async {
            let mut tx = self.store.begin().await?;
            tx.acme_account_urls().await
        };
        asked.await.unwrap_or_else(|error: StoreError| {
            tracing::warn!(%error, "acme.accounts_unknown");
            Vec::new()
        })
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
    AWAY.into_iter().filter_map(own).filter(is_public).collect()
}

/// Whether the world could reach an address: what is private to a network stands in no public record.
pub(crate) fn is_public(address: &IpAddr) -> bool {
    match address {
        // RFC 1918, RFC 3927, RFC 6598, RFC 1122.
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared)
        }
        // RFC 4193, RFC 4291.
        IpAddr::V6(ip) => {
            let local = ip.segments()[0] & 0xfe00 == 0xfc00 || ip.segments()[0] & 0xffc0 == 0xfe80;
            !(local || ip.is_loopback() || ip.is_unspecified())
        }
    }
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
                ca_accounts: self.accounts().await,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_to_a_network_is_no_address_for_the_world() {
        for (address, public) in [
            ("203.0.113.1", true),
            ("2001:db8::1", true),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("169.254.1.1", false),
            ("127.0.0.1", false),
            ("fd00::2", false),
            ("fe80::1", false),
            ("::1", false),
        ] {
            assert_eq!(is_public(&address.parse().expect("an address")), public, "{address}");
        }
    }
}
