//! Addresses that are listened on: each by one part of the platform.

use std::net::SocketAddr;

use super::{Config, ConfigError};

/// Two settings that are the same address, or of which one takes in the other.
pub(super) fn shared(config: &Config) -> Option<ConfigError> {
    let all = [
        ("SLIPWAY_API_LISTEN", config.api_listen),
        ("SLIPWAY_ADMIN_LISTEN", config.admin_listen),
        ("SLIPWAY_PROXY_ADMIN_LISTEN", config.proxy_admin_listen),
        ("SLIPWAY_HTTP_LISTEN", config.http_listen),
        ("SLIPWAY_HTTPS_LISTEN", config.https_listen),
    ];
    let pairs = all
        .iter()
        .enumerate()
        .flat_map(|(i, one)| all[i + 1..].iter().map(move |other| (one, other)));
    pairs
        .into_iter()
        .find(|((_, one), (_, other))| collide(*one, *other))
        .map(|((name, _), (other_name, address))| ConfigError::Value {
            origin: (*other_name).to_owned(),
            value: format!("`{address}`"),
            expected: format!("{name} has that address too: give each one of its own"),
        })
}

/// Whether not both can be listened on. Port 0 is any free one.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || (is_any && one.is_ipv4() == other.is_ipv4()))
}

#[cfg(test)]
mod tests {
    use super::collide;

    #[test]
    fn an_address_is_listened_on_once() {
        for (one, other, together) in [
            ("127.0.0.1:80", "127.0.0.1:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", false),
            ("127.0.0.1:80", "127.0.0.2:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", true),
            ("[::1]:80", "0.0.0.0:80", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
        ] {
            let address = |text: &str| text.parse().expect("an address");
            assert_eq!(collide(address(one), address(other)), !together, "{one} {other}");
        }
    }
}
