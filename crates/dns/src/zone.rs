//! Which zone a name is in, its own servers, and what is wrong with its keys.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use slipway_domain::name::HostName;

use crate::ask::{Server, address, records};
use crate::plain::{self, Checking};

/// So many of a zone's own servers are asked.
const AUTHORITATIVE_MAX: usize = 2;
const PORT: u16 = 53;

/// The zone of a name: the closest name above it, or itself, that has a SOA record (RFC 1034 section 4.2).
pub(crate) async fn of(server: &Server, host: &HostName) -> Option<HostName> {
    let mut name = host.as_str();
    while name.contains('.') {
        // Whatever its signatures are worth.
        let answer = plain::ask(server.address, name, RecordType::SOA, Checking::Disabled).await;
        let here = |r: &hickory_resolver::proto::rr::Record| {
            matches!(r.data, RData::SOA(_)) && r.name.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(name)
        };
        if answer.is_some_and(|answer| answer.records.iter().any(here)) {
            return name.parse().ok();
        }
        name = name.split_once('.')?.1;
    }
    None
}

/// Some of the zone's own servers.
pub(crate) async fn servers(server: &Server, zone: &HostName) -> Vec<Server> {
    let answer = server.ask(zone.as_str(), RecordType::NS).await;
    let names = records(&answer).iter().filter_map(|r| match &r.data {
        RData::NS(name) => Some(name.0.to_ascii()),
        _ => None,
    });
    let mut found = Vec::new();
    for name in names.take(AUTHORITATIVE_MAX) {
        let answer = server.ask(&name, RecordType::A).await;
        let first = records(&answer).iter().find_map(|r| address(&r.data));
        found.extend(first.and_then(|ip| Server::authoritative(SocketAddr::new(ip, PORT)).ok()));
    }
    found
}

/// Why nothing that a zone signs can hold, as far as its keys and what the zone above says of them tell (RFC 4034 section 5).
pub(crate) async fn broken_keys(server: &Server, zone: &HostName) -> Option<String> {
    // A server that checks signatures gives these out only unchecked.
    let asked = |kind| plain::ask(server.address, zone.as_str(), kind, Checking::Disabled);
    let (above, own) = tokio::join!(asked(RecordType::DS), asked(RecordType::DNSKEY));
    let (above, own) = (above?.records, own?.records);
    let vouched: Vec<&DS> = above
        .iter()
        .filter_map(|r| match &r.data {
            RData::DNSSEC(DNSSECRData::DS(ds)) => Some(ds),
            _ => None,
        })
        .collect();
    let keys: Vec<&DNSKEY> = own
        .iter()
        .filter_map(|r| match &r.data {
            RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key),
            _ => None,
        })
        .collect();
    let name = Name::from_ascii(format!("{zone}.")).ok()?;
    let fits = |ds: &DS| keys.iter().any(|key| ds.covers(&name, key).unwrap_or(false));
    if vouched.is_empty() || vouched.iter().any(|ds| fits(ds)) {
        return None;
    }
    let list = |tags: BTreeSet<u16>| tags.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(if keys.is_empty() {
        format!("the zone above has a DS record for {zone}, which is not signed")
    } else {
        format!(
            "the DS record for {zone} in the zone above (key tag {}) fits none of the keys that the zone has (tags {})",
            list(vouched.iter().map(|ds| ds.key_tag()).collect()),
            list(keys.iter().filter_map(|key| key.calculate_key_tag().ok()).collect())
        )
    })
}
