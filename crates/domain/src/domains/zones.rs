//! Zones that the platform may change, so that a CA is shown who a name's owner is (DNS-01, RFC 8555 section 8.4).
//!
//! | where `_acme-challenge.<name>` is | whose credentials are used |
//! |---|---|
//! | in a zone of the team's | the team's, of the closest zone |
//! | in a zone of the platform's | the platform's |
//! | a CNAME into a zone of the team's | the team's |
//! | a CNAME to this domain's own label in the platform's zone for delegation | the platform's |
//!
//! Promises: nobody else's record is written for a CNAME that somebody made.

use crate::ids::ZoneId;
use crate::name::{DomainName, HostName};

/// Below which name a CA looks for its answer.
const CHALLENGE_LABEL: &str = "_acme-challenge";
/// So much of a domain's token makes its label in the zone for delegation.
const DELEGATED_LABEL_LENGTH: usize = 20;

/// A zone that records can be made in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneAccess {
    /// Its identifier.
    pub id: ZoneId,
    /// Where the zone begins.
    pub zone: HostName,
    /// Whether it is the platform's, and no team's.
    pub is_platforms: bool,
    /// Whether teams may have their names' answers made in it.
    pub is_for_delegation: bool,
}

/// Where an answer is to be made, and with which credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The zone.
    pub zone: ZoneAccess,
    /// The name of the record.
    pub name: String,
}

/// Where a CA looks for its answer.
pub fn challenge_name(host: &DomainName) -> String {
    format!("{CHALLENGE_LABEL}.{}", host.bare())
}

/// Where that may lead: a name that only this domain uses.
pub fn delegated_name(token: &str, zone: &HostName) -> String {
    let label: String = token.chars().take(DELEGATED_LABEL_LENGTH).collect();
    format!("{label}.{zone}")
}

/// The zone for delegation, if there is one.
pub fn for_delegation(zones: &[ZoneAccess]) -> Option<&ZoneAccess> {
    zones.iter().find(|zone| zone.is_platforms && zone.is_for_delegation)
}

fn is_in(name: &str, zone: &HostName) -> bool {
    let below = name.strip_suffix(zone.as_str());
    below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// How a CA can be answered for a name; `None` where nobody let the platform in. `alias` is what the name that the CA
/// looks at is a CNAME for, and the token that of the team's claim.
pub fn way(host: &DomainName, alias: Option<&str>, token: &str, zones: &[ZoneAccess]) -> Option<Way> {
    let name = alias.map_or_else(
        || challenge_name(host),
        |alias| alias.trim_end_matches('.').to_lowercase(),
    );
    let may = |zone: &&ZoneAccess| {
        let is_ours = alias.is_none() || !zone.is_platforms;
        let is_delegated = zone.is_for_delegation && name == delegated_name(token, &zone.zone);
        is_in(&name, &zone.zone) && (is_ours || is_delegated)
    };
    let closest = zones
        .iter()
        .filter(may)
        .max_by_key(|zone| (!zone.is_platforms, zone.zone.as_str().len()));
    closest.cloned().map(|zone| Way { zone, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::{FixedEntropy, at};

    fn zone(name: &str, is_platforms: bool, is_for_delegation: bool) -> ZoneAccess {
        ZoneAccess {
            id: ZoneId::mint(at(1), &FixedEntropy(1)),
            zone: name.parse().expect("a name"),
            is_platforms,
            is_for_delegation,
        }
    }

    #[test]
    fn the_closest_zone_is_written_and_an_alias_is_followed_only_where_it_is_this_domains_own() {
        let token = "0123456789abcdef0123456789abcdef";
        let own = "0123456789abcdef0123.acme.example.net";
        let zones = [
            zone("example.com", false, false),
            zone("eu.example.com", false, false),
            zone("company.com", true, false),
            zone("acme.example.net", true, true),
        ];
        for (host, alias, written) in [
            (
                "shop.example.com",
                None,
                Some(("example.com", "_acme-challenge.shop.example.com")),
            ),
            (
                "*.shop.example.com",
                None,
                Some(("example.com", "_acme-challenge.shop.example.com")),
            ),
            (
                "*.example.com",
                None,
                Some(("example.com", "_acme-challenge.example.com")),
            ),
            (
                "a.eu.example.com",
                None,
                Some(("eu.example.com", "_acme-challenge.a.eu.example.com")),
            ),
            (
                "a.eeu.example.com",
                None,
                Some(("example.com", "_acme-challenge.a.eeu.example.com")),
            ),
            ("notexample.com", None, None),
            (
                "shop.company.com",
                None,
                Some(("company.com", "_acme-challenge.shop.company.com")),
            ),
            ("shop.example.org", None, None),
            (
                "shop.example.org",
                Some("x.example.com."),
                Some(("example.com", "x.example.com")),
            ),
            ("shop.example.org", Some(own), Some(("acme.example.net", own))),
            // Another domain's label, and records of the platform's own.
            ("shop.example.org", Some("ffffffffffffffffffff.acme.example.net"), None),
            ("shop.example.org", Some("_acme-challenge.shop.company.com"), None),
            ("shop.example.org", Some("acme.example.net"), None),
            ("shop.company.com", Some(own), Some(("acme.example.net", own))),
        ] {
            let found = way(&host.parse().expect("a name"), alias, token, &zones);
            let found = found.as_ref().map(|w| (w.zone.zone.as_str(), w.name.as_str()));
            assert_eq!(found, written, "{host} {alias:?}");
        }
    }

    #[test]
    fn a_teams_own_credentials_come_before_the_platforms() {
        let zones = [zone("shop.example.com", true, false), zone("example.com", false, false)];
        let found = way(&"shop.example.com".parse().expect("a name"), None, "t", &zones);
        assert!(found.is_some_and(|w| w.zone.zone.as_str() == "example.com"));
    }
}
