//! What the database alone decides, and so waits for nobody.
//!
//! | what is so | what is done |
//! |---|---|
//! | a local name lacks a certificate, or its own grows old | the internal CA issues one, at once |
//! | nobody wants a certificate any more | it is taken out of use, and what was tried for it forgotten |
//! | a name that a visitor brought along leads elsewhere, and has no certificate | it is forgotten |
//! | one is about to end and was not renewed | somebody is told |
//! | something was planned by a clock that ran ahead and was set right since | it is due now |
//! | one was renewed without trouble | browsers may be told to remember for longer |

use slipway_store::{OwnNames, StoreError};

use crate::authority::{LocalError, LocalIssue};
use crate::lead::Lead;
use crate::wanted::Wanted;
use crate::{Deps, hsts, warn};

pub(crate) async fn round(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    local(deps, lead).await?;
    set_right(deps, lead).await?;
    let mut tx = deps.store.begin().await?;
    let wanted = Wanted::read(&mut tx, &deps.platform, deps.clock.now()).await?;
    drop(tx);
    forget(deps, lead).await?;
    let kept = wanted.kept(&deps.platform);
    retire(deps, lead, &kept).await?;
    warn::tell(deps, lead, &kept).await?;
    hsts::step(deps, lead).await
}

async fn local(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let issue = LocalIssue {
        store: &deps.store,
        authority: deps.local.as_ref(),
        sealer: deps.sealer.as_ref(),
        platform: &deps.platform,
        clock: deps.clock.as_ref(),
        entropy: deps.entropy.as_ref(),
    };
    match issue.issue(Some(lead)).await {
        Ok(()) => {}
        Err(LocalError::Store(error)) => return Err(error),
        Err(LocalError::Authority(error)) => {
            tracing::error!(error, "certificate.not_issued: the old one goes on serving");
        }
    }
    Ok(())
}

/// What a clock that ran ahead planned would wait for as long as it ran ahead.
async fn set_right(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let mut tx = lead.begin(&deps.store).await?;
    let planned = tx.forget_future_plans(deps.clock.now()).await?;
    tx.commit().await?;
    if planned > 0 {
        tracing::warn!(
            planned,
            "clock.set_right: what was planned by a clock that ran ahead is due now"
        );
    }
    Ok(())
}

/// Forgets names that visitors brought along and that came to nothing.
async fn forget(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let mut tx = lead.begin(&deps.store).await?;
    let gone = tx.forget_on_demand(deps.clock.now()).await?;
    tx.commit().await?;
    if !gone.is_empty() {
        tracing::info!(?gone, "on_demand.forgotten: they lead elsewhere");
    }
    Ok(())
}

/// Takes out of use what nobody wants. What is wanted and may not be ordered just now is kept.
async fn retire(deps: &Deps, lead: Lead, own: &OwnNames) -> Result<(), StoreError> {
    let mut tx = deps.store.begin().await?;
    let unwanted = tx.unwanted_certificates(own).await?;
    drop(tx);
    let mut tx = lead.begin(&deps.store).await?;
    if tx.forget_unwanted_issuances(own).await? == 0 && unwanted.is_empty() {
        return Ok(());
    }
    if unwanted.is_empty() {
        return tx.commit().await;
    }
    tx.retire_certificates(&unwanted, deps.clock.now()).await?;
    tx.commit().await?;
    tracing::info!(?unwanted, "certificates.retired: nobody wants them any more");
    Ok(())
}
