//! What DNS says of a domain, turned into the records to make, what is wrong with those there are, and what they prove.
//!
//! | DNS says | finding |
//! |---|---|
//! | a server fails, refuses, is silent, or aliases go in circles | `dns_unavailable`, `cname_loop` |
//! | signatures do not hold | `dnssec_bogus` |
//! | no such name, or no addresses | `no_such_name`, `no_addresses`; behind an alias `alias_to_nothing` |
//! | another team has it | `another_teams` |
//! | addresses that are not ours | `elsewhere`; behind a CDN `behind_proxy`; beside ours `some_elsewhere`; IPv6 only `conflicting_aaaa` |
//! | servers say different things | `split_answers` |
//! | CAA records that name no CA of ours | `caa_forbids` |
//! | answers that may be remembered for long, or not | `ttl_long` (warning), `ttl_short` (advice) |
//! | a zone that begins at a name that should be an alias | `apex_alias` (advice) |
//! | one of several servers could not be asked | `resolver_away` (advice); what the others say holds |
//! | this platform has no address that the world could reach | `no_public_address` |
//! | a wildcard leads here, nobody's record for the name itself | `wildcard_needs_txt` |
//! | a certificate for a wildcard is wanted, and the platform may change no zone for it | `dns01_needed` |
//!
//! Promises: nothing may be ordered while an error stands; what cannot be told is an error, never a success.

mod caa;
mod cdn;
mod records;

use std::collections::BTreeSet;
use std::net::IpAddr;

use slipway_domain::domains::{
    Answer, Dnssec, Finding, Inspection, Level, Look, LookFailure, Proof, ResolverAnswer, ZoneAccess, for_delegation,
    proof_value, way,
};
use slipway_domain::name::{DomainName, HostName};

use records::Challenge;

/// While records are being changed, caches should forget them quickly.
const TTL_SECONDS_MAX: u32 = 300;

/// What a domain is to be.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The name.
    pub host: DomainName,
    /// Proves whose it is, in a TXT record.
    pub token: String,
    /// The zones that records can be made in.
    pub zones: Vec<ZoneAccess>,
    /// Our addresses.
    pub addresses: Vec<IpAddr>,
    /// A name that leads to us, for aliases.
    pub target: Option<HostName>,
    /// Whether records that point here prove whose it is. Not where another team has or had a word in it.
    pub routed_proves: bool,
    /// Whether it has been proven before.
    pub is_proven: bool,
    /// Whether another team has it, or gave it up a short while ago.
    pub is_anothers: bool,
    /// What each of our CAs calls itself in CAA records; of some nothing may be known.
    pub ca_identities: Vec<Vec<String>>,
    /// Our accounts at CAs, by their URLs.
    pub ca_accounts: Vec<String>,
}

impl Wanted {
    /// The addresses that visitors must find.
    fn ours<'a>(&'a self, look: &'a Look) -> BTreeSet<&'a IpAddr> {
        self.addresses.iter().chain(look.target.records()).collect()
    }
}

/// What a look at DNS comes to.
pub fn inspect(wanted: &Wanted, look: &Look) -> Inspection {
    let (look, away) = &heard(look);
    if wanted.is_anothers && !wanted.is_proven {
        return anothers(wanted, look);
    }
    if wanted.host.is_local() {
        return local(wanted);
    }
    let points_here = points_here(wanted, look);
    let by_dns = way(
        &wanted.host,
        look.challenge_alias.as_deref(),
        &wanted.token,
        &wanted.zones,
    )
    .is_some();
    let has_text = look.proof.records().contains(&proof_value(&wanted.token));
    let routed_proves = wanted.routed_proves && !look.by_wildcard && !wanted.host.is_wildcard();
    let proof = match (has_text, points_here && routed_proves) {
        (true, _) => Some(Proof::Txt),
        (false, true) => Some(Proof::Routed),
        (false, false) => None,
    };
    let is_proven = wanted.is_proven || proof.is_some();
    let mut findings: Vec<Finding> = away.iter().map(|server| server_away(server)).collect();
    if wanted.addresses.is_empty() && wanted.target.is_none() {
        findings.push(error(
            "no_public_address",
            "This platform does not know an address of its own that the world could reach: those of its interface are private.".into(),
            "An operator says which it has: SLIPWAY_PUBLIC_ADDRESSES.".into(),
        ));
    }
    dnssec(wanted, look, &mut findings);
    let behind_proxy = unheard(wanted, look, &mut findings) && leads(wanted, look, by_dns, &mut findings);
    let dns_only = caa::check(wanted, look, by_dns, &mut findings);
    if wanted.host.is_wildcard() && !by_dns {
        findings.push(dns01_needed(wanted, look));
    }
    if (points_here || behind_proxy && by_dns) && !is_proven {
        findings.push(unproven(wanted, look.by_wildcard, behind_proxy));
    }
    let ttl = look.answers.iter().filter_map(|a| a.ttl_seconds).max();
    remembered(wanted, ttl, points_here, &mut findings);
    if let Some(target) = wanted.target.as_ref().filter(|_| records::is_apex(wanted, look)) {
        findings.push(apex(wanted, target));
    }
    findings.sort_by_key(|f| std::cmp::Reverse(f.level));
    let challenge = match (wanted.host.is_wildcard() || behind_proxy, by_dns) {
        (false, _) => Challenge::Unneeded,
        (true, true) => Challenge::Possible,
        (true, false) => Challenge::Impossible,
    };
    let facts = records::Facts {
        has_text,
        proven_otherwise: wanted.is_proven || proof == Some(Proof::Routed) || routed_proves && !behind_proxy,
        challenge,
        behind_proxy,
    };
    Inspection {
        records: records::to_make(wanted, look, facts),
        findings,
        proof,
        points_here,
        dnssec: told(&look.dnssec).into(),
        ttl_seconds: ttl,
        behind_proxy,
        by_dns,
        dns_only,
    }
}

/// Without the servers that could not be asked, as long as one could; and which those are.
fn heard(look: &Look) -> (Look, Vec<String>) {
    let mut heard = look.clone();
    if heard.answers.iter().all(ResolverAnswer::is_away) {
        return (heard, Vec::new());
    }
    let away = heard.answers.iter().filter(|answer| answer.is_away());
    let away = away.map(|answer| answer.resolver.clone()).collect();
    heard.answers.retain(|answer| !answer.is_away());
    (heard, away)
}

/// One of several servers that says nothing: the others do.
fn server_away(server: &str) -> Finding {
    Finding {
        level: Level::Advice,
        code: "resolver_away".into(),
        detail: format!("The DNS server {server} does not answer; the others do."),
        hint: "An operator of the platform sees to it, or takes it out of SLIPWAY_DNS_RESOLVERS (or /etc/resolv.conf)."
            .into(),
    }
}

/// A name that cannot be proven, whatever DNS says.
fn anothers(wanted: &Wanted, look: &Look) -> Inspection {
    let finding = error(
        "another_teams",
        format!("{} is another team's, or was until a short while ago.", wanted.host),
        "It can be had a week after that team has given it up. If it is yours, ask the platform's operator.".into(),
    );
    Inspection {
        records: Vec::new(),
        findings: vec![finding],
        proof: None,
        points_here: false,
        dnssec: told(&look.dnssec).into(),
        ttl_seconds: None,
        behind_proxy: false,
        by_dns: false,
        dns_only: false,
    }
}

/// A name that no public DNS knows: nobody can be asked.
fn local(wanted: &Wanted) -> Inspection {
    let finding = Finding {
        level: Level::Advice,
        code: "local_name".into(),
        detail: format!("{} only resolves where somebody sees to it.", wanted.host),
        hint: "Its certificate comes from the internal CA: visitors must trust its root, `ca/root.pem` of the platform's data directory.".into(),
    };
    Inspection {
        records: records::local(wanted),
        findings: vec![finding],
        proof: Some(Proof::Local),
        points_here: true,
        dnssec: told(&Dnssec::Unknown).into(),
        ttl_seconds: None,
        behind_proxy: false,
        by_dns: false,
        dns_only: false,
    }
}

fn told(dnssec: &Dnssec) -> &'static str {
    match dnssec {
        Dnssec::Secure => "secure",
        Dnssec::Insecure => "insecure",
        Dnssec::Bogus(_) => "bogus",
        Dnssec::Unknown => "unknown",
    }
}

/// Whether every server leads here, by whatever family, and nowhere else.
fn points_here(wanted: &Wanted, look: &Look) -> bool {
    let ours = wanted.ours(look);
    let leads_here = |answer: &ResolverAnswer| {
        let mut addresses = addresses(answer).peekable();
        addresses.peek().is_some() && addresses.all(|a| ours.contains(a))
    };
    !look.answers.is_empty() && look.answers.iter().all(leads_here)
}

fn addresses(answer: &ResolverAnswer) -> impl Iterator<Item = &IpAddr> {
    answer.a.records().iter().chain(answer.aaaa.records())
}

fn error(code: &str, detail: String, hint: String) -> Finding {
    Finding {
        level: Level::Error,
        code: code.into(),
        detail,
        hint,
    }
}

fn dnssec(wanted: &Wanted, look: &Look, findings: &mut Vec<Finding>) {
    if let Dnssec::Bogus(why) = &look.dnssec {
        findings.push(error(
            "dnssec_bogus",
            format!(
                "The DNSSEC signatures of {} do not hold: {why}. CAs and every resolver that checks signatures refuse the name.",
                wanted.host
            ),
            "Have the DNS provider sign the zone anew, or take the DS record out of the parent zone at the registrar.".into(),
        ));
    }
}

/// Says which server told nothing; whether all of them told something.
fn unheard(wanted: &Wanted, look: &Look, findings: &mut Vec<Finding>) -> bool {
    let failure = |answer: &ResolverAnswer| {
        let failed = [&answer.a, &answer.aaaa].into_iter().find_map(|a| match a {
            Answer::Failed(failure) => Some(*failure),
            _ => None,
        });
        failed.map(|failure| (answer.resolver.clone(), failure))
    };
    let Some((resolver, failure)) = look.answers.iter().find_map(failure) else {
        if look.answers.is_empty() {
            findings.push(error(
                "dns_unavailable",
                "No DNS server could be asked.".into(),
                "It is looked up again by itself. An operator can set SLIPWAY_DNS_RESOLVERS.".into(),
            ));
        }
        return !look.answers.is_empty();
    };
    if failure == LookFailure::CnameLoop {
        findings.push(error(
            "cname_loop",
            format!(
                "The CNAME records of {} lead from one to the next without an end.",
                wanted.host
            ),
            "Point it straight at what is listed.".into(),
        ));
    } else if nobody_answers(look) {
        let all: Vec<&str> = look.answers.iter().map(|answer| answer.resolver.as_str()).collect();
        findings.push(error(
            "dns_unavailable",
            format!("None of the DNS servers that this platform asks answers ({}).", all.join(", ")),
            "It is looked up again by itself. An operator of the platform sees to its network, and to SLIPWAY_DNS_RESOLVERS (or /etc/resolv.conf).".into(),
        ));
    } else if !matches!(look.dnssec, Dnssec::Bogus(_)) {
        findings.push(error(
            "dns_unavailable",
            format!("The DNS server {resolver} {} when asked for {}.", failure.told(), wanted.host),
            "It is looked up again by itself. If it stays so, the name servers of the zone are wrong or down: see the registrar's page.".into(),
        ));
    }
    false
}

/// Whether it is the platform that cannot ask, rather than the name that is wrong.
fn nobody_answers(look: &Look) -> bool {
    !look.answers.is_empty() && look.answers.iter().all(ResolverAnswer::is_away)
}

/// Where the name leads, as far as that is wrong; whether something answers in our place.
fn leads(wanted: &Wanted, look: &Look, by_dns: bool, findings: &mut Vec<Finding>) -> bool {
    let ours = wanted.ours(look);
    let all: BTreeSet<&IpAddr> = look.answers.iter().flat_map(addresses).collect();
    let here: BTreeSet<&IpAddr> = all.intersection(&ours).copied().collect();
    let away: Vec<&IpAddr> = all.difference(&ours).copied().collect();
    let host = &wanted.host;
    if all.is_empty() {
        findings.push(nowhere(wanted, look));
        return false;
    }
    let some_lack = look.answers.iter().any(|a| addresses(a).next().is_none());
    if away.is_empty() {
        if some_lack {
            findings.push(split(wanted, look));
        }
        return false;
    }
    let list = away.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let proxied = cdn::of(&away, look);
    if let Some(cdn) = proxied {
        findings.push(behind((wanted, look), cdn, &list, by_dns));
        return true;
    }
    let finding = if here.is_empty() {
        match look.answers.iter().find_map(|a| a.cnames.first()) {
            Some(alias) => error(
                "elsewhere",
                format!(
                    "{host} is a CNAME for {} ({list}), which is not this platform.",
                    alias.trim_end_matches('.')
                ),
                "Replace the CNAME record by what is listed: beside a CNAME there can be no other record of the name."
                    .into(),
            ),
            None => error(
                "elsewhere",
                format!("{host} points to {list}, which is not this platform."),
                "Change its records to those that are listed.".into(),
            ),
        }
    } else if away.iter().all(|a| a.is_ipv6()) {
        error(
            "conflicting_aaaa",
            format!(
                "The AAAA records of {host} point to {list}, which is not this platform; its A records point here. Visitors and CAs with IPv6 go there first."
            ),
            "Remove the AAAA records, or change them to those that are listed.".into(),
        )
    } else if look.answers.iter().any(|a| addresses(a).all(|x| ours.contains(x))) {
        split(wanted, look)
    } else {
        error(
            "some_elsewhere",
            format!("{host} points here and also to {list}: some visitors land there."),
            format!("Remove the records for {list}."),
        )
    };
    findings.push(finding);
    false
}

/// Something answers in our place: a CA does not get here, but may find its answer in DNS.
fn behind((wanted, look): (&Wanted, &Look), cdn: &str, list: &str, by_dns: bool) -> Finding {
    let host = &wanted.host;
    if by_dns {
        return Finding {
            level: Level::Advice,
            code: "behind_proxy".into(),
            detail: format!(
                "{host} is behind {cdn} ({list}), which answers in our place: whether it hands requests on to this platform cannot be seen from here."
            ),
            hint: format!(
                "Have {cdn} speak TLS to this platform and check its certificate (at Cloudflare: Full (strict))."
            ),
        };
    }
    error(
        "behind_proxy",
        format!("{host} is behind {cdn} ({list}), which answers in our place: a CA that looks does not get here."),
        match for_delegation(&wanted.zones) {
            Some(_) => format!(
                "Switch {cdn}'s proxying off for this name (DNS only), or make the CNAME record at _acme-challenge that is listed."
            ),
            None => format!(
                "Switch {cdn}'s proxying off for this name (DNS only), or {}.",
                access(wanted, look)
            ),
        },
    )
}

/// How an operator or a team lets the platform in.
fn access(wanted: &Wanted, look: &Look) -> String {
    let zone = look.zone.clone().unwrap_or_else(|| wanted.host.bare());
    format!("let the platform make records in {zone}: `slipway dns set {zone} --provider NAME`")
}

/// A CA checks a wildcard in DNS only (RFC 8555 section 7.1.3 leaves it to the CA, and none has another way).
fn dns01_needed(wanted: &Wanted, look: &Look) -> Finding {
    let access = access(wanted, look);
    let hint = match for_delegation(&wanted.zones) {
        Some(_) => format!("Make the CNAME record that is listed, or {access}."),
        None => access.replacen('l', "L", 1) + ".",
    };
    error(
        "dns01_needed",
        format!(
            "A certificate for {} is given to who can change its zone, and this platform cannot.",
            wanted.host
        ),
        hint,
    )
}

/// A name without addresses.
fn nowhere(wanted: &Wanted, look: &Look) -> Finding {
    let host = &wanted.host;
    if let Some(alias) = look.answers.iter().find_map(|a| a.cnames.first()) {
        return error(
            "alias_to_nothing",
            format!(
                "{host} is a CNAME for {}, which has no addresses.",
                alias.trim_end_matches('.')
            ),
            "Replace it by what is listed: beside a CNAME there can be no other record of the name.".into(),
        );
    }
    let named = look.answers.iter().all(|a| a.a != Answer::NoName);
    let (code, detail) = if named {
        ("no_addresses", format!("{host} has no A or AAAA record."))
    } else if let Some(last) = host.unknown_top_level() {
        let detail =
            format!("There is no {host} in DNS, and no top-level domain `.{last}`: is the name spelled right?");
        return error(
            "no_such_name",
            detail,
            "Remove it and add the right one; a name of a private network needs SLIPWAY_DNS_RESOLVERS that know it."
                .into(),
        );
    } else {
        ("no_such_name", format!("There is no {host} in DNS yet."))
    };
    error(code, detail, "Make the records that are listed.".into())
}

fn split(wanted: &Wanted, look: &Look) -> Finding {
    let said = |answer: &ResolverAnswer| {
        let all: Vec<String> = addresses(answer).map(ToString::to_string).collect();
        let all = if all.is_empty() {
            "nothing".to_owned()
        } else {
            all.join(" and ")
        };
        format!("{} says {all}", answer.resolver)
    };
    let said: Vec<String> = look.answers.iter().map(said).collect();
    error(
        "split_answers",
        format!("DNS servers say different things about {}: {}.", wanted.host, said.join(", ")),
        "If the records were changed just now, the old ones are forgotten after their TTL; it is looked up again by itself.".into(),
    )
}

fn unproven(wanted: &Wanted, by_wildcard: bool, behind_proxy: bool) -> Finding {
    let host = &wanted.host;
    if behind_proxy || host.is_wildcard() {
        let what = if behind_proxy {
            "An address of somebody else's"
        } else {
            "A wildcard record"
        };
        return error(
            "txt_needed",
            format!("{what} does not prove that {host} is yours."),
            "Make the TXT record that is listed.".into(),
        );
    }
    if by_wildcard {
        return error(
            "wildcard_needs_txt",
            format!(
                "{host} points here by a wildcard record, which says nothing about this name, or by one that says the same."
            ),
            // RFC 4592 section 2.2.2: a name that has something below it is no wildcard's any more.
            "Make both: an address record for this very name, and the TXT record that is listed. The TXT record alone would end the wildcard for this name.".into(),
        );
    }
    error(
        "txt_needed",
        format!(
            "{host} points here, but that does not prove that it is yours: another team had it or asks for it, or has the domain above it."
        ),
        "Make the TXT record that is listed.".into(),
    )
}

/// An alias cannot stand where a zone begins.
fn apex(wanted: &Wanted, target: &HostName) -> Finding {
    Finding {
        level: Level::Advice,
        code: "apex_alias".into(),
        detail: format!(
            "{} is where its zone begins, and no CNAME may stand there.",
            wanted.host
        ),
        hint: format!(
            "If the DNS provider has ALIAS or ANAME records (or flattens CNAMEs), make one for {target}: it follows when the addresses change."
        ),
    }
}

fn remembered(wanted: &Wanted, ttl: Option<u32>, points_here: bool, findings: &mut Vec<Finding>) {
    let Some(ttl) = ttl else { return };
    if ttl > TTL_SECONDS_MAX && !points_here {
        findings.push(Finding {
            level: Level::Warning,
            code: "ttl_long".into(),
            detail: format!("What {} says now may be remembered for {ttl} seconds after it is changed.", wanted.host),
            hint: format!("Set the TTL to {TTL_SECONDS_MAX} or less first, wait, then change the records; raise it when all works."),
        });
    } else if ttl < 60 && points_here && wanted.is_proven && findings.is_empty() {
        findings.push(Finding {
            level: Level::Advice,
            code: "ttl_short".into(),
            detail: format!("What DNS says of {} is remembered for {ttl} s only.", wanted.host),
            hint: "Raise the TTL to 3600 now that all works.".into(),
        });
    }
}
