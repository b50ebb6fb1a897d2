//! Answers to a CA's challenges, through the proxies or in DNS.
//!
//! | attempt | the CA looks |
//! |---|---|
//! | for a wildcard, or behind something that answers in our place | in DNS (DNS-01) |
//! | the first, and after it in turn | over plain HTTP (HTTP-01) |
//! | the second, if the CA can | in a TLS handshake (TLS-ALPN-01): where port 80 is shut, that works |
//! | the third, where the platform may change the zone | in DNS: where no port is open, that works |
//!
//! Promises: the CA is told to look only after every proxy that is connected has the answer.

use std::time::Duration;

use instant_acme::{AuthorizationHandle, AuthorizationStatus, ChallengeType, Order};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use slipway_domain::generation::RouteVersion;
use slipway_store::{Challenge, ChallengeKind, StoreError};
use tokio::time::Instant;

use crate::Deps;
use crate::dns01::TextAnswer;
use crate::lead::Lead;
use crate::nonce::{CallError, call};

/// Proxies may take so long to have an answer.
const PROXIES_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What decides how a CA is asked to look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reach {
    /// It cannot look otherwise than in DNS.
    pub(crate) needs_dns: bool,
    /// It can be answered in DNS.
    pub(crate) by_dns: bool,
}

/// How an attempt after so many failures is made.
pub(crate) const fn kind(failures: u32, reach: Reach) -> ChallengeKind {
    let ways = if reach.by_dns { 3 } else { 2 };
    match failures % ways {
        _ if reach.needs_dns => ChallengeKind::Dns01,
        0 => ChallengeKind::Http01,
        1 => ChallengeKind::TlsAlpn01,
        _ => ChallengeKind::Dns01,
    }
}

fn of(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
        ChallengeKind::Dns01 => ChallengeType::Dns01,
    }
}

/// The kind that is wanted, or another one if the CA does not offer it.
fn offered(authorization: &AuthorizationHandle<'_>, wanted: ChallengeKind) -> Option<ChallengeKind> {
    let others = [ChallengeKind::Http01, ChallengeKind::TlsAlpn01, ChallengeKind::Dns01];
    let offers = |kind: &ChallengeKind| authorization.challenges.iter().any(|c| c.r#type == of(*kind));
    std::iter::once(wanted).chain(others).find(offers)
}

/// What is to be answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// By the proxies.
    pub(crate) proxies: Vec<Challenge>,
    /// In DNS.
    pub(crate) texts: Vec<TextAnswer>,
}

/// What is to be answered before an order is ready.
pub(crate) async fn answers(order: &mut Order, wanted: ChallengeKind) -> Result<Answers, CallError> {
    let mut answers = Answers::default();
    fetch(order).await?;
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let host = identifier(&authorization);
        let none = || CallError::Away(format!("the CA offers no way to check {host} that this platform knows"));
        let kind = offered(&authorization, wanted).ok_or_else(none)?;
        let challenge = authorization.challenge(of(kind)).ok_or_else(none)?;
        let proof = challenge.key_authorization();
        let answer = match kind {
            ChallengeKind::Http01 => proof.as_str().to_owned(),
            ChallengeKind::TlsAlpn01 => certificate(&host, proof.digest().as_ref())
                .map_err(|e| CallError::Away(format!("no answer can be made for {host}: {e}")))?,
            ChallengeKind::Dns01 => {
                let value = proof.dns_value();
                answers.texts.push(TextAnswer { host, value });
                continue;
            }
        };
        answers.proxies.push(Challenge {
            token: challenge.token.clone(),
            host,
            kind,
            answer,
        });
    }
    Ok(answers)
}

/// The name that is checked: of a wildcard the one that is below it all.
fn identifier(authorization: &AuthorizationHandle<'_>) -> String {
    let shown = authorization.identifier().to_string();
    shown.strip_prefix("*.").unwrap_or(&shown).to_owned()
}

/// A certificate that says what the CA wants to see, with its key (RFC 8737 section 3).
fn certificate(host: &str, digest: &[u8]) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
}

/// Reads all authorizations; what has been read is not read again.
async fn fetch(order: &mut Order) -> Result<(), CallError> {
    call!(async {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            authorization?;
        }
        Ok(())
    })
}

/// Tells the CA to look.
pub(crate) async fn ready(order: &mut Order, wanted: ChallengeKind) -> Result<(), CallError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Some(kind) = offered(&authorization, wanted) else {
            continue;
        };
        if let Some(mut challenge) = authorization.challenge(of(kind)) {
            call!(challenge.set_ready())?;
        }
    }
    Ok(())
}

/// What the CA found, where that was nothing good.
pub(crate) async fn verdict(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if call!(async { authorization.refresh().await.map(drop) }).is_err() {
            continue;
        }
        let error = authorization.challenges.iter().find_map(|c| c.error.as_ref());
        if let Some(detail) = error.and_then(|e| e.detail.clone()) {
            return Some(detail);
        }
    }
    None
}

/// Gives the answers to the proxies and waits until they have them; false if they did not take them in time.
pub(crate) async fn publish(deps: &Deps, lead: Lead, answers: &[Challenge]) -> Result<bool, StoreError> {
    let mut tx = lead.begin(&deps.store).await?;
    let version = tx.put_challenges(answers, deps.clock.now()).await?;
    tx.commit().await?;
    let deadline = Instant::now() + PROXIES_MAX;
    loop {
        if is_applied(deps, version).await? {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn is_applied(deps: &Deps, version: RouteVersion) -> Result<bool, StoreError> {
    let mut tx = deps.store.begin().await?;
    let proxies = tx.proxies().await?;
    let mut connected = proxies.iter().filter(|p| p.connected).peekable();
    Ok(connected.peek().is_some() && connected.all(|p| p.applied >= version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_take_turns_and_dns_is_the_only_one_where_no_other_can_work() {
        let kinds = |needs_dns, by_dns| {
            let reach = Reach { needs_dns, by_dns };
            (0..4)
                .map(|failures| kind(failures, reach).as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kinds(false, false),
            ["http-01", "tls-alpn-01", "http-01", "tls-alpn-01"]
        );
        assert_eq!(kinds(false, true), ["http-01", "tls-alpn-01", "dns-01", "http-01"]);
        assert_eq!(kinds(true, true), ["dns-01"; 4]);
        assert_eq!(kinds(true, false), ["dns-01"; 4]);
    }
}
