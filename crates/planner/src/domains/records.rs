//! The records to make.

use std::collections::BTreeSet;
use std::net::IpAddr;

use slipway_domain::domains::{
    Look, RecordCheck, RecordType, ResolverAnswer, challenge_name, delegated_name, for_delegation, proof_name,
    proof_value,
};

use slipway_domain::name::HostName;

use super::Wanted;

/// One group of these leads visitors here.
const ADDRESSES: &str = "addresses";
const ALIAS: &str = "alias";
const PROOF: &str = "proof";
/// Lets the platform answer a CA in DNS.
const CHALLENGE: &str = "challenge";

fn kind(address: &IpAddr) -> RecordType {
    if address.is_ipv4() {
        RecordType::A
    } else {
        RecordType::Aaaa
    }
}

/// Whether the name is where its zone begins: an alias cannot stand there (RFC 1912 section 2.4).
/// What somebody registered is one, also while its zone cannot be found yet.
pub(super) fn is_apex(wanted: &Wanted, look: &Look) -> bool {
    wanted
        .host
        .host()
        .is_some_and(|host| look.zone.as_ref() == Some(&host) || host.registered() == Some(host.as_str()))
}

/// What else decides which records can be done without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// The text that proves whose it is is there.
    pub(super) has_text: bool,
    /// It has been or is proven without it.
    pub(super) proven_otherwise: bool,
    /// Whether a CA must be answered in DNS.
    pub(super) challenge: Challenge,
    /// Whether the addresses are those of something that answers in our place.
    pub(super) behind_proxy: bool,
}

/// Whether a CA must be answered in DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// It looks otherwise.
    Unneeded,
    /// It must, and it can.
    Possible,
    /// It must, and nobody let the platform in.
    Impossible,
}

/// What must be there, what is there, and whether it will do.
pub(super) fn to_make(wanted: &Wanted, look: &Look, facts: Facts) -> Vec<RecordCheck> {
    let behind = look.target.records();
    // Where no alias can stand, the addresses behind it must.
    let addresses = wanted
        .addresses
        .iter()
        .chain(behind.iter().filter(|_| is_apex(wanted, look)));
    let mut records: Vec<RecordCheck> = addresses.map(|a| address(wanted, look, a)).collect();
    if !facts.behind_proxy {
        records.extend(
            [RecordType::A, RecordType::Aaaa]
                .into_iter()
                .filter_map(|kind| stray(wanted, look, kind)),
        );
    }
    let is_aliased = |t: &&HostName| t.as_str() != wanted.host.as_str() && !is_apex(wanted, look);
    if let Some(target) = wanted.target.as_ref().filter(is_aliased) {
        records.insert(0, alias(wanted, look, target));
    }
    let mut texts = look.proof.records().to_vec();
    texts.sort();
    records.push(RecordCheck {
        kind: RecordType::Txt,
        name: proof_name(&wanted.host),
        value: proof_value(&wanted.token),
        found: texts,
        ok: facts.has_text,
        group: PROOF.into(),
        optional: facts.proven_otherwise,
    });
    if let Some(zone) = for_delegation(&wanted.zones).filter(|_| facts.challenge != Challenge::Unneeded) {
        let value = delegated_name(&wanted.token, &zone.zone);
        let found: Vec<String> = look
            .challenge_alias
            .iter()
            .map(|a| a.trim_end_matches('.').to_owned())
            .collect();
        records.push(RecordCheck {
            kind: RecordType::Cname,
            name: challenge_name(&wanted.host),
            ok: found.contains(&value),
            value,
            found,
            group: CHALLENGE.into(),
            optional: facts.challenge == Challenge::Possible,
        });
    }
    records
}

/// The alias for the platform's name; addresses that lead here do as well.
fn alias(wanted: &Wanted, look: &Look, target: &HostName) -> RecordCheck {
    let told = look.answers.iter().filter_map(|answer| answer.cnames.first());
    let mut names: Vec<String> = told.map(|n| n.trim_end_matches('.').to_owned()).collect();
    names.dedup();
    let is_named = !names.is_empty() && names.iter().all(|n| n == target.as_str());
    let ok = is_named || names.is_empty() && super::points_here(wanted, look);
    if names.is_empty() {
        let kinds = [RecordType::A, RecordType::Aaaa].into_iter();
        names = kinds
            .flat_map(|kind| found(look, kind))
            .map(|a| a.to_string())
            .collect();
    }
    RecordCheck {
        kind: RecordType::Cname,
        name: wanted.host.to_string(),
        value: target.to_string(),
        found: names,
        ok,
        group: ALIAS.into(),
        optional: !wanted.addresses.is_empty(),
    }
}

/// The addresses of a kind that the servers tell.
fn found(look: &Look, kind: RecordType) -> BTreeSet<IpAddr> {
    let of_kind = |answer: &ResolverAnswer| {
        let records = if kind == RecordType::A { &answer.a } else { &answer.aaaa };
        records.records().to_vec()
    };
    look.answers.iter().flat_map(of_kind).collect()
}

/// Records of a kind that this platform has no address of: visitors would go there.
fn stray(wanted: &Wanted, look: &Look, of: RecordType) -> Option<RecordCheck> {
    let ours = wanted.ours(look);
    let found = found(look, of);
    let is_stray = !found.is_empty() && !ours.iter().any(|address| kind(address) == of);
    is_stray.then(|| RecordCheck {
        kind: of,
        name: wanted.host.to_string(),
        value: String::new(),
        found: found.iter().map(ToString::to_string).collect(),
        ok: false,
        group: ADDRESSES.into(),
        optional: false,
    })
}

fn address(wanted: &Wanted, look: &Look, address: &IpAddr) -> RecordCheck {
    let kind = kind(address);
    let found = found(look, kind);
    let ours = wanted.ours(look);
    let is_ours = found.iter().all(|address| ours.contains(address));
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    let has_text = look.proof.records().contains(&proof_value(&wanted.token));
    let by_wildcard = look.by_wildcard && !has_text && !wanted.is_proven;
    let has_v4 = wanted.addresses.iter().any(IpAddr::is_ipv4);
    RecordCheck {
        kind,
        name: wanted.host.to_string(),
        value: address.to_string(),
        ok: found.contains(&address.to_string()) && is_ours && !by_wildcard,
        found,
        group: ADDRESSES.into(),
        optional: kind == RecordType::Aaaa && has_v4,
    }
}

/// What a network's own DNS, or a file of hosts, should say.
pub(super) fn local(wanted: &Wanted) -> Vec<RecordCheck> {
    let record = |address: &IpAddr| RecordCheck {
        kind: kind(address),
        name: wanted.host.to_string(),
        value: address.to_string(),
        found: Vec::new(),
        ok: true,
        group: ADDRESSES.into(),
        optional: true,
    };
    wanted.addresses.iter().map(record).collect()
}
