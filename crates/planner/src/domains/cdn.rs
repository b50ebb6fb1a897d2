//! Networks and names of services that answer in front of others.

use std::net::IpAddr;

use slipway_domain::domains::Look;

/// Cloudflare's published networks (<https://www.cloudflare.com/ips>), as prefix and length.
const CLOUDFLARE: &[(&str, u32)] = &[
    ("173.245.48.0", 20),
    ("103.21.244.0", 22),
    ("103.22.200.0", 22),
    ("103.31.4.0", 22),
    ("141.101.64.0", 18),
    ("108.162.192.0", 18),
    ("190.93.240.0", 20),
    ("188.114.96.0", 20),
    ("197.234.240.0", 22),
    ("198.41.128.0", 17),
    ("162.158.0.0", 15),
    ("104.16.0.0", 13),
    ("104.24.0.0", 14),
    ("172.64.0.0", 13),
    ("131.0.72.0", 22),
    ("2400:cb00::", 32),
    ("2606:4700::", 32),
    ("2803:f800::", 32),
    ("2405:b500::", 32),
    ("2405:8100::", 32),
    ("2a06:98c0::", 29),
    ("2c0f:f248::", 32),
];

/// What aliases of theirs end in.
const SUFFIXES: &[(&str, &str)] = &[
    ("cdn.cloudflare.net", "Cloudflare"),
    ("cloudfront.net", "Amazon CloudFront"),
    ("fastly.net", "Fastly"),
    ("azurefd.net", "Azure Front Door"),
    ("akamaiedge.net", "Akamai"),
    ("edgekey.net", "Akamai"),
    ("b-cdn.net", "bunny.net"),
];

fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

fn is_in(address: IpAddr, network: &str, length: u32) -> bool {
    let Ok(network) = network.parse::<IpAddr>() else {
        return false;
    };
    let ((address, width), (network, other)) = (bits(address), bits(network));
    width == other && (address ^ network) >> (width - length) == 0
}

/// The service that answers in our place, if all that is not ours is known to be one's.
pub(super) fn of(away: &[&IpAddr], look: &Look) -> Option<&'static str> {
    let alias = look.answers.iter().flat_map(|a| &a.cnames).find_map(|name| {
        let called = |suffix: &str| name.trim_end_matches('.').ends_with(suffix);
        SUFFIXES
            .iter()
            .find(|(suffix, _)| called(suffix))
            .map(|(_, service)| *service)
    });
    let cloudflare = |a: &&IpAddr| CLOUDFLARE.iter().any(|(network, length)| is_in(**a, network, *length));
    alias.or_else(|| away.iter().all(cloudflare).then_some("Cloudflare"))
}
