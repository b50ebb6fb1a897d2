//! Where a domain stands: computed from what is known of it, never kept.

use crate::clock::Timestamp;

use super::inspection::Inspection;

/// Where a domain stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its records are not as they must be.
    PendingDns,
    /// Its first certificate is on its way.
    Issuing,
    /// It is served with a certificate.
    Active,
    /// It was not given a certificate, or has one and will lose it or its visitors unless something is done.
    Failing,
}

impl State {
    /// The word in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PendingDns => "pending_dns",
            Self::Issuing => "issuing",
            Self::Active => "active",
            Self::Failing => "failing",
        }
    }
}

/// What is known of its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateFacts {
    /// When it ends.
    pub not_after: Timestamp,
}

/// What is known of the attempts to get one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuanceFacts {
    /// Failures in a row.
    pub failures: u32,
    /// What the last one said.
    pub error: Option<Reason>,
}

/// Why a domain is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reason {
    /// A stable word.
    pub code: String,
    /// What is so, in a sentence.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// Where a domain stands, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// In a word.
    pub state: State,
    /// Why it is not `active`, or why it will not stay so.
    pub reason: Option<Reason>,
}

/// Where it stands.
///
/// | proven | records | certificate | attempts | state |
/// |---|---|---|---|---|
/// | no | right, and they prove it | any | any | issuing |
/// | no | any other | any | any | pending_dns |
/// | yes | wrong | none | any | pending_dns |
/// | yes | wrong | valid | any | failing |
/// | yes | cannot be told now | valid | any | active, with the reason |
/// | yes | right | none | none failed | issuing |
/// | yes | right | none | failed | failing |
/// | yes | right | valid | any | active, with the reason while renewals fail |
pub fn standing(
    proven: bool,
    inspection: Option<&Inspection>,
    certificate: Option<CertificateFacts>,
    issuance: Option<&IssuanceFacts>,
    now: Timestamp,
) -> Standing {
    let obstacle = inspection.map(|i| i.obstacle()).map_or_else(
        || Some(not_looked()),
        |finding| {
            finding.map(|f| Reason {
                code: f.code.clone(),
                detail: f.detail.clone(),
                hint: f.hint.clone(),
            })
        },
    );
    let valid = certificate.is_some_and(|c| c.not_after > now);
    let failed = issuance.filter(|i| i.failures > 0).and_then(|i| i.error.clone());
    let (state, reason) = match (proven, obstacle, valid) {
        // What was found is taken note of within a moment.
        (false, None, _) if inspection.is_some_and(|i| i.proof.is_some()) => (State::Issuing, None),
        (false, reason, _) => (State::PendingDns, reason.or_else(|| Some(unproven()))),
        (true, Some(reason), false) => (State::PendingDns, Some(reason)),
        (true, Some(reason), true) if is_unknown(&reason.code) => (State::Active, Some(reason)),
        (true, Some(reason), true) => (State::Failing, Some(reason)),
        (true, None, true) => (State::Active, failed),
        (true, None, false) if failed.is_some() => (State::Failing, failed),
        (true, None, false) => (State::Issuing, None),
    };
    Standing { state, reason }
}

/// Whether a finding says only that nothing could be found out: what served a moment ago serves still.
fn is_unknown(code: &str) -> bool {
    matches!(code, "dns_unavailable" | "caa_unavailable")
}

fn not_looked() -> Reason {
    Reason {
        code: "not_checked_yet".into(),
        detail: "DNS has not been asked yet.".into(),
        hint: "That takes a few seconds.".into(),
    }
}

fn unproven() -> Reason {
    Reason {
        code: "not_proven".into(),
        detail: "It is not proven that the domain is yours.".into(),
        hint: "Make the TXT record that is listed.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspection::{Finding, Level};
    use super::*;
    use crate::clock::testing::at;

    fn inspection(wrong: bool) -> Inspection {
        found("no_such_name", wrong)
    }

    fn found(code: &str, wrong: bool) -> Inspection {
        let finding = Finding {
            level: Level::Error,
            code: code.into(),
            detail: "d".into(),
            hint: "h".into(),
        };
        Inspection {
            records: vec![],
            findings: if wrong { vec![finding] } else { vec![] },
            proof: None,
            points_here: !wrong,
            dnssec: "insecure".into(),
            ttl_seconds: None,
            behind_proxy: false,
            by_dns: false,
            dns_only: false,
        }
    }

    #[test]
    fn every_combination_stands_somewhere() {
        let failing = IssuanceFacts {
            failures: 2,
            error: Some(Reason {
                code: "ca_refused".into(),
                detail: "d".into(),
                hint: "h".into(),
            }),
        };
        let valid = Some(CertificateFacts { not_after: at(10) });
        let over = Some(CertificateFacts { not_after: at(1) });
        let (right, wrong, silent) = (inspection(false), inspection(true), found("dns_unavailable", true));
        for (proven, looked, certificate, issuance, state, code) in [
            (false, None, None, None, "pending_dns", Some("not_checked_yet")),
            (false, Some(&wrong), None, None, "pending_dns", Some("no_such_name")),
            (false, Some(&right), None, None, "pending_dns", Some("not_proven")),
            (true, Some(&wrong), over, None, "pending_dns", Some("no_such_name")),
            (true, Some(&wrong), valid, None, "failing", Some("no_such_name")),
            (true, Some(&silent), valid, None, "active", Some("dns_unavailable")),
            (true, Some(&silent), None, None, "pending_dns", Some("dns_unavailable")),
            (true, Some(&right), None, None, "issuing", None),
            (true, Some(&right), over, Some(&failing), "failing", Some("ca_refused")),
            (true, Some(&right), valid, None, "active", None),
            (true, Some(&right), valid, Some(&failing), "active", Some("ca_refused")),
        ] {
            let found = standing(proven, looked, certificate, issuance, at(5));
            let told = (found.state.as_str(), found.reason.map(|r| r.code));
            assert_eq!(
                told,
                (state, code.map(str::to_owned)),
                "{proven} {looked:?} {certificate:?}"
            );
        }
    }
}
