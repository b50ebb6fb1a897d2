//! Answers to a CA's challenges, through the proxies.
//!
//! Promises: the CA is told to look only after every proxy that is connected has the answer.

use std::time::Duration;

use instant_acme::{AuthorizationStatus, ChallengeType, Order};
use slipway_domain::generation::RouteVersion;
use slipway_store::{Challenge, ChallengeKind, StoreError};
use tokio::time::Instant;

use crate::Deps;
use crate::lead::Lead;
use crate::nonce::{CallError, call};

/// Proxies may take so long to have an answer.
const PROXIES_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is to be answered before an order is ready.
pub(crate) async fn answers(order: &mut Order) -> Result<Vec<Challenge>, CallError> {
    let mut answers = Vec::new();
    fetch(order).await?;
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let host = authorization.identifier().to_string();
        let Some(challenge) = authorization.challenge(ChallengeType::Http01) else {
            return Err(CallError::Away(format!(
                "the CA offers no HTTP-01 challenge for {host}"
            )));
        };
        answers.push(Challenge {
            host,
            kind: ChallengeKind::Http01,
            token: challenge.token.clone(),
            answer: challenge.key_authorization().as_str().to_owned(),
        });
    }
    Ok(answers)
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
pub(crate) async fn ready(order: &mut Order) -> Result<(), CallError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        if let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) {
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
    let mut tx = lead.begin(deps).await?;
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
