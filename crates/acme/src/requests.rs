//! What people ask for beside renewals: that a CA takes a certificate back, that an order is tried out, that an account
//! gets a new key.

use chrono::TimeDelta;
use instant_acme::{Account, RevocationReason, RevocationRequest};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use slipway_domain::domains::Reason;
use slipway_domain::ids::DomainId;
use slipway_domain::ports::BoxFuture;
use slipway_store::{DueTrial, Revocation, StoreError};

use crate::account::CaSettings;
use crate::certificates::{domain_of, reach};
use crate::lead::Lead;
use crate::nonce::{CallError, call};
use crate::order::{self, OrderError, Wish};
use crate::queue::{Due, Queue};
use crate::{Deps, challenge};

const PER_ROUND_MAX: i64 = 8;
/// A CA that could not be asked is asked again after that.
const AGAIN: TimeDelta = TimeDelta::minutes(10);

/// Does what was asked for.
pub(crate) async fn round(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    revoke(deps, lead).await?;
    roll(deps, lead).await
}

/// Trials.
pub(crate) struct Trials;

impl Queue for Trials {
    type Item = DueTrial;
    type Key = DomainId;
    const AT_ONCE_MAX: usize = 4;

    fn key(item: &DueTrial) -> DomainId {
        item.domain
    }

    fn due(deps: &Deps, limit: i64) -> BoxFuture<'_, Result<Due<DueTrial>, StoreError>> {
        Box::pin(async move {
            let mut tx = deps.store.begin().await?;
            Ok(Due {
                now: tx.trials_due(limit).await?,
                next: None,
            })
        })
    }

    fn work(deps: &Deps, lead: Lead, item: DueTrial) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(trial(deps, lead, item))
    }
}

async fn roll(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let due = tx.accounts_to_roll(now).await?;
    drop(tx);
    for directory in due {
        let ca = deps.cas.iter().find(|ca| ca.directory == directory);
        let rolled = match ca {
            Some(ca) => ca.roll(deps, lead).await.map_err(|e| e.to_string()),
            None => Err("it is not among SLIPWAY_ACME_DIRECTORY any more".into()),
        };
        if let Err(error) = rolled {
            tracing::warn!(
                ca = directory,
                error,
                "acme.account_key_not_rolled: it is tried again tomorrow"
            );
            let mut tx = lead.begin(&deps.store).await?;
            tx.roll_accounts(Some(&directory), now + TimeDelta::days(1)).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

async fn revoke(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let due = tx.revocations_due(now, PER_ROUND_MAX).await?;
    drop(tx);
    for revocation in due {
        let done = tell(deps, lead, &revocation).await;
        let (revoked_at, again_at, reason) = match done {
            Ok(()) => {
                tracing::info!(certificate = %revocation.id, ca = revocation.ca, "certificate.revoked");
                (Some(now), Some(now), None)
            }
            Err(error) => {
                tracing::warn!(certificate = %revocation.id, ca = revocation.ca, %error, "certificate.not_revoked");
                let again_at = (!is_final(&error)).then(|| now + AGAIN);
                (
                    None,
                    again_at,
                    Some(not_revoked(&revocation.ca, &error, again_at.is_some())),
                )
            }
        };
        let mut tx = lead.begin(&deps.store).await?;
        tx.note_revocation(revocation.id, revoked_at, (again_at, reason.as_ref()))
            .await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Whether the CA will not say anything else however often it is asked.
fn is_final(error: &CallError) -> bool {
    let passing = ["rateLimited", "serverInternal", "badNonce", "accountDoesNotExist"];
    matches!(error, CallError::Refused(problem) if !order::kind_of(problem).is_some_and(|kind| passing.contains(&kind)))
}

fn not_revoked(ca: &str, error: &CallError, is_tried_again: bool) -> Reason {
    let detail = error.to_string();
    Reason {
        code: "not_revoked".into(),
        detail: format!(
            "The CA {} did not take it back: {}.",
            order::ca_host(ca),
            detail.trim_end_matches('.')
        ),
        hint: if is_tried_again {
            "It is tried again every ten minutes.".into()
        } else {
            "It is not tried again. If the CA should know the certificate, ask once more (`slipway certs revoke`)."
                .into()
        },
    }
}

async fn tell(deps: &Deps, lead: Lead, revocation: &Revocation) -> Result<(), CallError> {
    let unusable = |why: &dyn std::fmt::Display| CallError::Away(why.to_string());
    let ca = deps.cas.iter().find(|ca| ca.directory == revocation.ca);
    let ca: &CaSettings = ca.ok_or_else(|| unusable(&"the CA is not among SLIPWAY_ACME_DIRECTORY any more"))?;
    let _in_use = ca.in_use().await;
    let account = ca.account(deps, lead).await?;
    let der = CertificateDer::from_pem_slice(revocation.chain_pem.as_bytes()).map_err(|e| unusable(&e))?;
    match ask(&account, &der, revocation.reason).await {
        // Somebody was quicker.
        Err(CallError::Refused(problem))
            if problem
                .r#type
                .as_deref()
                .is_some_and(|t| t.ends_with(":alreadyRevoked")) =>
        {
            Ok(())
        }
        // The next time it is asked with another account, which may not be believed: then that is the answer.
        Err(CallError::Refused(problem)) if order::kind_of(&problem) == Some("accountDoesNotExist") => {
            ca.disown(deps, lead).await.map_err(|error| unusable(&error))?;
            Err(CallError::Refused(problem))
        }
        other => other,
    }
}

async fn ask(account: &Account, der: &CertificateDer<'static>, reason: u8) -> Result<(), CallError> {
    let reason = || match reason {
        1 => RevocationReason::KeyCompromise,
        4 => RevocationReason::Superseded,
        5 => RevocationReason::CessationOfOperation,
        _ => RevocationReason::Unspecified,
    };
    call!(async {
        let request = RevocationRequest {
            certificate: der,
            reason: Some(reason()),
        };
        account.revoke(&request).await
    })
}

async fn trial(deps: &Deps, lead: Lead, due: DueTrial) -> Result<(), StoreError> {
    let names = vec![due.host];
    let staged = deps.cas.iter().filter_map(CaSettings::staged);
    let ca = staged.into_iter().find(|ca| ca.directory == due.ca);
    let mut tx = deps.store.begin().await?;
    let reach = reach(&names, domain_of(&mut tx, &names).await?.as_ref());
    drop(tx);
    let ended = match &ca {
        Some(ca) => {
            let wish = Wish {
                names: &names,
                replaces: None,
                begun: None,
                challenge: challenge::kind(0, reach),
                failures: 0,
            };
            order::try_out(deps, lead, ca, &wish).await
        }
        None => Err(order::failed(
            "no_staging",
            format!("{} is not among the settings any more.", due.ca),
            "Ask again.",
            false,
        )),
    };
    let error: Option<Reason> = match ended {
        Ok(()) => None,
        Err(OrderError::Store(error)) => return Err(error),
        Err(OrderError::Wait(_, reason) | OrderError::Failed { reason, .. }) => Some(reason),
    };
    let mut tx = lead.begin(&deps.store).await?;
    tx.end_trial(due.domain, error.as_ref(), deps.clock.now()).await?;
    tx.commit().await
}
