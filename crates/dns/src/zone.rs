//! Which zone a name is in, and its own servers.

use std::net::SocketAddr;

use hickory_resolver::proto::rr::{RData, RecordType};
use slipway_domain::name::HostName;

use crate::ask::{Server, address, records};

/// So many of a zone's own servers are asked.
const AUTHORITATIVE_MAX: usize = 2;
const PORT: u16 = 53;

/// The zone of a name: the closest name above it, or itself, that has a SOA record (RFC 1034 section 4.2).
pub(crate) async fn of(server: &Server, host: &HostName) -> Option<HostName> {
    let mut name = host.as_str();
    while name.contains('.') {
        let answer = server.ask(name, RecordType::SOA).await;
        let here = |r: &hickory_resolver::proto::rr::Record| {
            matches!(r.data, RData::SOA(_)) && r.name.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(name)
        };
        if records(&answer).iter().any(here) {
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
