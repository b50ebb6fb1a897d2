//! `/v1/apps/{app}/domains`: names that people bring along.
//!
//! Promises: a name is proven to be a team's before anything is served under it; what another team has or just gave up
//! is not handed out.

pub(crate) mod certificate;
pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod client_ca;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
mod hsts;
pub(crate) mod list;
pub(crate) mod renew;
pub(crate) mod trial;

use serde::Deserialize;
use slipway_domain::Timestamp;
use slipway_domain::domains::{
    CertificateFacts, Finding, Hsts, HstsStep, Inspection, IssuanceFacts, Level, Reason, State, standing,
};
use slipway_domain::name::{DomainName, EnvironmentName, HOST_BYTES_MAX, HostName, LABEL_BYTES_MAX};
use slipway_store::{App, CustomDomain, Tx};
use slipway_wire::Code;
use slipway_wire::domains::{Domain, DomainCertificate, DomainHsts, DomainReason, DomainRecord, DomainState};

use crate::call::Call;
use crate::error::{ApiError, Result};

/// A name or a wildcard as people write it, in the spelling of DNS (UTS 46, RFC 5891).
pub(crate) fn spelled(text: &str, pointer: &str) -> Result<DomainName> {
    let wrong = |detail: &str| ApiError::member(Code::InvalidName, pointer, detail);
    let given = text.trim().trim_end_matches('.');
    let (star, bare) = match given.strip_prefix("*.") {
        Some(bare) => ("*.", bare),
        None => ("", given),
    };
    if bare.contains('*') {
        return Err(wrong("A wildcard stands for one label at the front: `*.example.com`."));
    }
    if bare.contains("://") || bare.contains('/') {
        return Err(wrong(
            "Give the name alone, such as `shop.example.com`, without `https://` and path.",
        ));
    }
    if bare.contains(':') && !bare.contains("::") {
        return Err(wrong(
            "Give the name alone, such as `shop.example.com`, without a port.",
        ));
    }
    let is_number = bare
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if is_number && bare.contains('.') || bare.parse::<std::net::IpAddr>().is_ok() {
        return Err(wrong(
            "An address cannot be a domain. Give a name such as `shop.example.com`.",
        ));
    }
    let ascii = idna::domain_to_ascii_cow(bare.as_bytes(), idna::AsciiDenyList::URL);
    let ascii = ascii.map_err(|_| wrong("That is no domain name. Give one such as `shop.example.com`."))?;
    if star.len() + ascii.len() > HOST_BYTES_MAX || ascii.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
        return Err(wrong(&format!(
            "A name has at most {HOST_BYTES_MAX} characters, and at most {LABEL_BYTES_MAX} between two dots."
        )));
    }
    format!("{star}{ascii}")
        .parse()
        .map_err(|_| wrong("Give a full domain name such as `shop.example.com`: labels of letters, digits and `-`."))
}

/// A name as people write it, that is no wildcard.
fn spelled_host(text: &str, pointer: &str) -> Result<HostName> {
    let wildcard = "Give one name: visitors of a wildcard cannot be sent there.";
    spelled(text, pointer)?
        .host()
        .ok_or_else(|| ApiError::member(Code::InvalidName, pointer, wildcard))
}

/// Which environment's.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DomainParams {
    /// The environment that the domain must lead to; any if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
}

impl Call {
    /// A domain of an app that the caller may know of, by the name in a path, if it is the named environment's.
    async fn domain_of(&self, tx: &mut Tx, app: &App, host: &str, params: &DomainParams) -> Result<CustomDomain> {
        let found = self.domain(tx, app, host).await?;
        match &params.environment {
            Some(named) if *named != found.environment_name => {
                let detail = format!(
                    "{} leads to {}/{}, not to {named}. Name that environment.",
                    found.host, app.name, found.environment_name
                );
                Err(ApiError::Refused(Code::NotFound, detail))
            }
            _ => Ok(found),
        }
    }

    /// One that was proven: what is done with its certificate makes sense of no other.
    async fn proven_domain(&self, tx: &mut Tx, app: &App, host: &str) -> Result<CustomDomain> {
        let row = self.domain(tx, app, host).await?;
        if row.proof.is_some() {
            return Ok(row);
        }
        let detail = format!(
            "It is not proven that {} is yours: `slipway domains check {} -a {}` says what is missing.",
            row.host, row.host, row.app_name
        );
        Err(ApiError::Refused(Code::Conflict, detail))
    }

    /// A domain of an app that the caller may know of, by the name in a path.
    async fn domain(&self, tx: &mut Tx, app: &App, host: &str) -> Result<CustomDomain> {
        let missing = || ApiError::not_found("domain", &host);
        let spelled = spelled(host, "/host").map_err(|_| missing())?;
        let found = tx.custom_domain(app.id, &spelled).await?;
        let seen = found.filter(|d| self.caller.reach.sees_environment(&d.environment_name));
        seen.ok_or_else(missing)
    }
}

/// The name of the app that sends its visitors to this one, if one does.
async fn sent_from(tx: &mut Tx, app: &App, row: &CustomDomain) -> Result<Option<DomainName>> {
    match row.host.host() {
        Some(host) => Ok(tx.domain_sent_on(app.id, &host).await?),
        None => Ok(None),
    }
}

/// Why something is not as it should be, as answers have it.
pub(crate) fn reason(reason: Reason) -> DomainReason {
    DomainReason {
        code: reason.code,
        detail: reason.detail,
        hint: reason.hint,
    }
}

fn warning(finding: &Finding) -> DomainReason {
    DomainReason {
        code: finding.code.clone(),
        detail: finding.detail.clone(),
        hint: finding.hint.clone(),
    }
}

/// What browsers are told to remember.
fn remembered(hsts: &Hsts, now: Timestamp) -> DomainHsts {
    let next = hsts.step.and_then(HstsStep::next);
    let not_before = hsts.since.zip(next).map(|(since, (_, least))| since + least);
    DomainHsts {
        header: hsts.header(now),
        max_age_seconds: hsts.step.map_or(0, HstsStep::max_age_seconds),
        since: hsts.since,
        next_max_age_seconds: next.map(|(step, _)| step.max_age_seconds()),
        next_not_before: not_before,
        remembered_until: hsts.forgotten_at(now),
        include_subdomains: hsts.include_subdomains,
        preload: hsts.preload,
    }
}

impl Call {
    /// A domain as it stands, by this look at DNS.
    fn domain_shown(&self, row: CustomDomain, inspection: Option<&Inspection>) -> Domain {
        let now = self.now();
        let facts = row
            .certificate
            .as_ref()
            .map(|c| CertificateFacts { not_after: c.not_after });
        let issuance = row.issuance.as_ref().map(|i| IssuanceFacts {
            failures: i.failures.max(u32::from(i.error.is_some())),
            error: i.error.clone(),
        });
        let stands = standing(row.proof.is_some(), inspection, facts, issuance.as_ref(), now);
        let told = stands.reason.as_ref().map(|r| r.code.clone());
        let findings = inspection.map_or(&[][..], |i| &i.findings);
        let others = findings
            .iter()
            .filter(|f| f.level != Level::Error || Some(&f.code) != told.as_ref())
            // To raise the TTL is good advice when all works.
            .filter(|f| f.code != "ttl_short" || stands.state == State::Active);
        let records = inspection.map_or(&[][..], |i| &i.records);
        let certificate = (row.certificate.is_some() || row.issuance.is_some()).then(|| DomainCertificate {
            issuer: row.certificate.as_ref().map(|c| c.issuer.clone()),
            uploaded: row.certificate.as_ref().is_some_and(|c| c.uploaded),
            not_after: row.certificate.as_ref().map(|c| c.not_after),
            next_try: row.issuance.as_ref().and_then(|i| i.next_try_at),
            failures: row.issuance.as_ref().map_or(0, |i| i.failures),
        });
        Domain {
            url: row.host.host().map(|host| self.state.settings.url_of(&host)),
            host: row.host.to_string(),
            app: row.app_name.to_string(),
            environment: row.environment_name.to_string(),
            redirect_to: row.redirect_to.map(|to| to.to_string()),
            hsts: remembered(&row.hsts, now),
            client_ca: row.asks_visitors,
            state: match stands.state {
                State::PendingDns => DomainState::PendingDns,
                State::Issuing => DomainState::Issuing,
                State::Active => DomainState::Active,
                State::Failing => DomainState::Failing,
            },
            reason: stands.reason.map(reason),
            records: records
                .iter()
                .map(|r| DomainRecord {
                    kind: r.kind.as_str().into(),
                    name: r.name.clone(),
                    value: r.value.clone(),
                    found: r.found.clone(),
                    ok: r.ok,
                    group: r.group.clone(),
                    optional: r.optional,
                })
                .collect(),
            warnings: others.map(warning).collect(),
            proof: row.proof.map(|p| p.as_str().to_owned()),
            dnssec: inspection.map(|i| i.dnssec.clone()),
            ttl_seconds: inspection.and_then(|i| i.ttl_seconds),
            certificate,
            checked_at: row.looked_at,
            next_check_at: row.look_at,
            on_demand: row.on_demand,
            created_at: row.created_at,
            created_by: row.created_by,
        }
    }

    /// A domain as it stands, by the last look.
    fn domain_kept(&self, mut row: CustomDomain) -> Domain {
        let inspection = row.inspection.take();
        self.domain_shown(row, inspection.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_dns_does() {
        for (given, name) in [
            ("Shop.Example.COM.", "shop.example.com"),
            ("münchen.example", "xn--mnchen-3ya.example"),
            (" a.example.com ", "a.example.com"),
            ("*.Example.com.", "*.example.com"),
        ] {
            assert_eq!(spelled(given, "/host").expect("a name").as_str(), name);
        }
        for bad in [
            "",
            "shop",
            "*.com",
            "a.*.com",
            "https://a.example.com",
            "10.0.0.1",
            "::1",
            "a b.example.com",
            "-a.example.com",
            "a..com",
        ] {
            assert!(spelled(bad, "/host").is_err(), "{bad}");
        }
    }
}
