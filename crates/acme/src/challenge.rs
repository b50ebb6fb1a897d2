//! Answers to a CA's challenges, through the proxies.
//!
//! | attempt | the CA looks |
//! |---|---|
//! | the first, and every other one after it | over plain HTTP (HTTP-01) |
//! | those between, if the CA can | in a TLS handshake (TLS-ALPN-01): where port 80 is shut, that works |
//!
//! Promises: the CA is told to look only after every proxy that is connected has the answer.

use std::time::Duration;

use instant_acme::{AuthorizationHandle, AuthorizationStatus, ChallengeType, Order};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use slipway_domain::generation::RouteVersion;
use slipway_store::{Challenge, ChallengeKind, StoreError};
use tokio::time::Instant;

use crate::Deps;
use crate::lead::Lead;
use crate::nonce::{CallError, call};

/// Proxies may take so long to have an answer.
const PROXIES_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How an attempt after so many failures is made.
pub(crate) const fn kind(failures: u32) -> ChallengeKind {
    if failures.is_multiple_of(2) {
        ChallengeKind::Http01
    } else {
        ChallengeKind::TlsAlpn01
    }
}

fn of(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// The kind that is wanted, or the other one if the CA does not offer it.
fn offered(authorization: &AuthorizationHandle<'_>, wanted: ChallengeKind) -> Option<ChallengeKind> {
    let other = match wanted {
        ChallengeKind::Http01 => ChallengeKind::TlsAlpn01,
        ChallengeKind::TlsAlpn01 => ChallengeKind::Http01,
    };
    let offers = |kind: &ChallengeKind| authorization.challenges.iter().any(|c| c.r#type == of(*kind));
    [wanted, other].into_iter().find(offers)
}

/// What is to be answered before an order is ready.
pub(crate) async fn answers(order: &mut Order, wanted: ChallengeKind) -> Result<Vec<Challenge>, CallError> {
    let mut answers = Vec::new();
    fetch(order).await?;
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let host = authorization.identifier().to_string();
        let none = || CallError::Away(format!("the CA offers no way to check {host} that this platform knows"));
        let kind = offered(&authorization, wanted).ok_or_else(none)?;
        let challenge = authorization.challenge(of(kind)).ok_or_else(none)?;
        let proof = challenge.key_authorization();
        let answer = match kind {
            ChallengeKind::Http01 => proof.as_str().to_owned(),
            ChallengeKind::TlsAlpn01 => certificate(&host, proof.digest().as_ref())
                .map_err(|e| CallError::Away(format!("no answer can be made for {host}: {e}")))?,
        };
        answers.push(Challenge {
            token: challenge.token.clone(),
            host,
            kind,
            answer,
        });
    }
    Ok(answers)
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
