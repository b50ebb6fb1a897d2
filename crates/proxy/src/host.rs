//! Host names as requests carry them.
//!
//! Promises: one spelling per name: lower case, no port, no trailing dot; anything that is not `name[:port]` or an
//! address literal is refused.

use http::uri::Authority;

/// A host name ready for look-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Lower case, without port and trailing dot.
    pub(crate) name: String,
    /// The port the client wrote.
    pub(crate) port: Option<u16>,
}

/// One host, spelled uniformly: lower case, at most one trailing dot taken off.
pub(crate) fn normalize(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Host {
    /// Reads a `Host` field or an `:authority` (RFC 9110 section 7.2): no user, no path, nothing empty.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.contains('@') {
            return None;
        }
        let authority: Authority = text.parse().ok()?;
        // `name:` with nothing behind the colon is allowed by the grammar.
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" | ":" => None,
            rest => Some(rest.strip_prefix(':')?.parse().ok()?),
        };
        let name = normalize(authority.host());
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        (!name.is_empty() && name.len() <= 255 && name.bytes().all(plain)).then_some(Self { name, port })
    }
}

/// The wildcard that a name in its uniform spelling is covered by.
pub(crate) fn wildcard_of(host: &str) -> Option<String> {
    host.split_once('.').map(|(_, rest)| format!("*.{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_names_uniformly_and_refuses_the_rest() {
        for (given, name, port) in [
            ("Web.Apps.localhost", "web.apps.localhost", None),
            ("web.apps.localhost.:8443", "web.apps.localhost", Some(8443)),
            ("127.0.0.1:443", "127.0.0.1", Some(443)),
            ("[::1]:443", "[::1]", Some(443)),
        ] {
            assert_eq!(
                Host::parse(given),
                Some(Host {
                    name: name.into(),
                    port
                }),
                "{given}"
            );
        }
        for bad in [
            "",
            "a@web.test",
            "web.test/x",
            "web.test?x",
            "web test",
            "web.test:99999",
            "web.test:x",
            "a,b",
        ] {
            assert_eq!(Host::parse(bad), None, "{bad}");
        }
    }
}
