//! Whether CAA records let a CA of ours issue (RFC 8659; parameters RFC 8657).

use slipway_domain::domains::{CaaRecord, Dnssec, Finding, Look};

use super::{Wanted, error, nobody_answers};

/// How a CA of ours may check a name.
#[derive(Debug, Clone, Copy)]
struct Methods {
    over_network: bool,
    in_dns: bool,
}

impl Methods {
    /// By its word in a record (RFC 8657 section 3).
    fn has(self, word: &str) -> bool {
        match word {
            "http-01" | "tls-alpn-01" => self.over_network,
            "dns-01" => self.in_dns,
            _ => false,
        }
    }
}

/// What would let them.
fn remedy(wanted: &Wanted, at: &str) -> String {
    let tag = if wanted.host.is_wildcard() {
        "issuewild"
    } else {
        "issue"
    };
    match wanted.ca_identities.iter().flatten().next() {
        Some(ca) => format!("Add the CAA record 0 {tag} \"{ca}\" at {at}."),
        None => format!("Add a CAA record at {at} that names this platform's CA, or remove those there are."),
    }
}

/// Whether it is known what keeps everything from being answered.
fn is_told_already(look: &Look) -> bool {
    matches!(look.dnssec, Dnssec::Bogus(_)) || nobody_answers(look)
}

/// Adds what stands in the way; whether a CA of ours may look in DNS alone.
pub(super) fn check(wanted: &Wanted, look: &Look, by_dns: bool, findings: &mut Vec<Finding>) -> bool {
    let found = match &look.caa {
        Ok(Some(found)) => found,
        Ok(None) => return false,
        Err(_) if is_told_already(look) => return false,
        Err(failure) => {
            // A CA that cannot ask for CAA records must not issue (RFC 8659 section 3).
            findings.push(error(
                "caa_unavailable",
                format!("The DNS server {} when asked for the CAA records of {}; CAs do not issue then.", failure.told(), wanted.host),
                "The name servers of the zone must answer questions for CAA, with nothing if there are none. It is looked up again by itself.".into(),
            ));
            return false;
        }
    };
    let ours = &wanted.ca_identities;
    let over_network = Methods {
        over_network: !wanted.host.is_wildcard(),
        in_dns: false,
    };
    let methods = Methods {
        in_dns: by_dns,
        ..over_network
    };
    let tagged = |tag: &str| -> Vec<&CaaRecord> {
        let records = found.records.iter();
        records.filter(|r| r.tag.eq_ignore_ascii_case(tag)).collect()
    };
    if let Some(record) = found.records.iter().find(|r| is_unknown(r)) {
        findings.push(error(
            "caa_forbids",
            format!(
                "A CAA record of {} has the critical tag `{}`, which CAs do not know.",
                found.at, record.tag
            ),
            "Remove it.".into(),
        ));
        return false;
    }
    let mut relevant = tagged("issue");
    if wanted.host.is_wildcard() && !tagged("issuewild").is_empty() {
        relevant = tagged("issuewild");
    }
    let permitted = |methods| relevant.iter().any(|record| permits(record, wanted, methods));
    if relevant.is_empty() || permitted(methods) {
        return !relevant.is_empty() && !permitted(over_network);
    }
    // Of a CA whose name in CAA records is not known only that is known: where nobody may, it may not either.
    let nobody = |record: &&CaaRecord| {
        record
            .value
            .split(';')
            .next()
            .is_some_and(|issuer| issuer.trim().is_empty())
    };
    if ours.iter().any(Vec::is_empty) && !relevant.iter().all(nobody) {
        return false;
    }
    let list = relevant
        .iter()
        .map(|r| format!("\"{}\"", r.value))
        .collect::<Vec<_>>()
        .join(", ");
    findings.push(error(
        "caa_forbids",
        format!("The CAA records of {} permit {list} only.", found.at),
        remedy(wanted, &found.at),
    ));
    false
}

/// Whether a CA must refuse because of it.
fn is_unknown(record: &CaaRecord) -> bool {
    const KNOWN: [&str; 6] = [
        "issue",
        "issuewild",
        "iodef",
        "issuemail",
        "contactemail",
        "contactphone",
    ];
    record.critical && !KNOWN.iter().any(|tag| record.tag.eq_ignore_ascii_case(tag))
}

/// Whether one record permits one of our CAs by one of its methods, and for our account (RFC 8657).
fn permits(record: &CaaRecord, wanted: &Wanted, methods: Methods) -> bool {
    let mut parts = record.value.split(';').map(str::trim);
    let issuer = parts.next().unwrap_or_default();
    let holds =
        parts
            .filter_map(|p| p.split_once('='))
            .all(|(name, value)| match name.trim().to_ascii_lowercase().as_str() {
                "validationmethods" => value.split(',').any(|m| methods.has(m.trim())),
                "accounturi" => wanted.ca_accounts.iter().any(|account| account == value.trim()),
                _ => true,
            });
    let identities = wanted.ca_identities.iter().flatten();
    holds && identities.into_iter().any(|ca| ca.eq_ignore_ascii_case(issuer))
}
