//! Everything that is asked about one name.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use slipway_domain::domains::{Answer, Caa, Dnssec, Look, LookFailure, ResolverAnswer, challenge_name, proof_name};
use slipway_domain::name::{DomainName, HostName};

use crate::ask::Server;
use crate::validate::Judged;
use crate::{Dns, zone};

/// A zone's own servers may be out of reach from here: others than that tell enough.
const AUTHORITATIVE_MAX: Duration = Duration::from_millis(1_500);
/// A label that nobody makes: what answers for it answers for any.
const NOBODYS_LABEL: &str = "slipway-look-for-a-wildcard";

impl Dns {
    /// Asks about a name, and about the one that records are to point to.
    ///
    /// Of a wildcard any name below it is asked about that nobody made.
    pub async fn look(&self, domain: &DomainName, target: Option<&HostName>) -> Look {
        let (host, proof) = (&somebody(domain), proof_name(domain));
        let answers = join_all(self.0.servers.iter().map(|s| s.addresses(host.as_str(), false)));
        let (mut answers, proof, dnssec, mut around) = tokio::join!(
            answers,
            self.texts(&proof),
            self.0.validator.dnssec(host.as_str()),
            around(self.first(), domain, target)
        );
        // Where the first server is away, the rest is asked of one that is there.
        let there = answers.iter().position(|answer| !answer.is_away()).unwrap_or(0);
        if let Some(server) = self.0.servers.get(there).filter(|_| there > 0) {
            around = self::around(server, domain, target).await;
        }
        let dnssec = match &around.zone {
            Some(zone) => self.judged(dnssec, &self.0.servers[there], zone).await,
            None => dnssec.alone(),
        };
        let by_wildcard = around
            .wildcard
            .is_some_and(|w| answers.get(there).is_some_and(|a| same(a, &w)));
        if let Some(zone) = &around.zone {
            answers.extend(self.authoritative(&self.0.servers[there], zone, host).await);
        }
        Look {
            answers,
            proof,
            caa: around.caa,
            dnssec,
            zone: around.zone,
            by_wildcard,
            target: around.target,
            challenge_alias: around.challenge_alias,
        }
    }

    /// What the signatures of a name in a zone are worth, with the reason that its keys give if they do not hold. What
    /// the library alone doubts is unknown where the zone's own signatures hold.
    async fn judged(&self, judged: Judged, server: &Server, zone: &HostName) -> Dnssec {
        match judged {
            Judged::Certain(Dnssec::Bogus(why)) => Dnssec::Bogus(zone::broken_keys(server, zone).await.unwrap_or(why)),
            Judged::Doubted(why) => {
                let (keys, apex) = tokio::join!(zone::broken_keys(server, zone), self.0.validator.zone(zone));
                match (keys, apex) {
                    (Some(keys), _) => Dnssec::Bogus(keys),
                    (None, Dnssec::Secure) => Dnssec::Unknown,
                    (None, _) => Dnssec::Bogus(why),
                }
            }
            Judged::Certain(dnssec) => dnssec,
        }
    }

    /// What a name is an alias of, at the end.
    pub async fn alias(&self, name: &str) -> Option<String> {
        self.first().aliases(name).await.pop()
    }

    /// There is one: see `new`.
    pub(crate) fn first(&self) -> &Server {
        &self.0.servers[0]
    }

    /// The texts that any of the servers has: the record may not have come everywhere yet.
    async fn texts(&self, name: &str) -> Answer<String> {
        let mut answers = join_all(self.0.servers.iter().map(|s| s.texts(name))).await;
        let found = answers.iter().position(|a| matches!(a, Answer::Found(_)));
        answers.swap_remove(found.unwrap_or(0))
    }

    /// What the zone's own servers say, as far as they can be reached from here.
    async fn authoritative(&self, server: &Server, zone: &HostName, host: &HostName) -> Vec<ResolverAnswer> {
        let servers = zone::servers(server, zone).await;
        let asked = join_all(servers.iter().map(|s| s.addresses(host.as_str(), true)));
        let mut answers = tokio::time::timeout(AUTHORITATIVE_MAX, asked).await.unwrap_or_default();
        answers.retain(|answer| !matches!(answer.a, Answer::Failed(_)) && !matches!(answer.aaaa, Answer::Failed(_)));
        // An alias leads out of what such a server knows.
        answers.retain(|answer| answer.cnames.is_empty());
        answers
    }
}

/// What is asked of one server alone.
struct Around {
    caa: Result<Option<Caa>, LookFailure>,
    wildcard: Option<ResolverAnswer>,
    zone: Option<HostName>,
    target: Answer<IpAddr>,
    challenge_alias: Option<String>,
}

async fn around(server: &Server, domain: &DomainName, target: Option<&HostName>) -> Around {
    let (bare, challenge) = (&domain.bare(), challenge_name(domain));
    let (caa, wildcard, zone, target, mut aliases) = tokio::join!(
        caa(server, bare),
        wildcard(server, domain),
        zone::of(server, bare),
        behind(server, target),
        server.aliases(&challenge)
    );
    Around {
        caa,
        wildcard,
        zone,
        target,
        challenge_alias: aliases.pop(),
    }
}

async fn behind(server: &Server, target: Option<&HostName>) -> Answer<IpAddr> {
    let Some(target) = target else {
        return Answer::Nothing;
    };
    let answer = server.addresses(target.as_str(), false).await;
    let all: Vec<IpAddr> = [answer.a.records(), answer.aaaa.records()].concat();
    if all.is_empty() {
        Answer::Nothing
    } else {
        Answer::Found(all)
    }
}

/// The CAA records of the closest name that has any (RFC 8659 section 3).
async fn caa(server: &Server, host: &HostName) -> Result<Option<Caa>, LookFailure> {
    let mut name = host.as_str();
    loop {
        match server.caa(name).await {
            Answer::Found(records) => {
                return Ok(Some(Caa {
                    at: name.to_owned(),
                    records,
                }));
            }
            Answer::Failed(failure) => return Err(failure),
            Answer::Nothing | Answer::NoName => {}
        }
        match name.split_once('.') {
            Some((_, parent)) => name = parent,
            None => return Ok(None),
        }
    }
}

/// The name to ask about.
fn somebody(domain: &DomainName) -> HostName {
    let name = domain
        .is_wildcard()
        .then(|| format!("{NOBODYS_LABEL}.{}", domain.bare()));
    name.and_then(|name| name.parse().ok()).unwrap_or_else(|| domain.bare())
}

/// Where a name beside this one leads that nobody made.
async fn wildcard(server: &Server, domain: &DomainName) -> Option<ResolverAnswer> {
    let host = domain.host()?;
    let (_, parent) = host.as_str().split_once('.')?;
    let answer = server.addresses(&format!("{NOBODYS_LABEL}.{parent}"), false).await;
    let leads = !answer.a.records().is_empty() || !answer.aaaa.records().is_empty();
    leads.then_some(answer)
}

fn same(one: &ResolverAnswer, other: &ResolverAnswer) -> bool {
    let sorted = |a: &Answer<IpAddr>| {
        let mut all = a.records().to_vec();
        all.sort();
        all
    };
    sorted(&one.a) == sorted(&other.a) && sorted(&one.aaaa) == sorted(&other.aaaa)
}
