//! Takes the next step of Strict-Transport-Security where one is due.

use slipway_domain::domains::Hsts;
use slipway_store::StoreError;

use crate::Deps;
use crate::lead::Lead;

pub(crate) async fn step(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let candidates = tx.hsts_candidates(now).await?;
    drop(tx);
    for candidate in candidates {
        let Some(next) = candidate.hsts.due(Some(candidate.renewed_at), now) else {
            continue;
        };
        let hsts = Hsts {
            step: Some(next),
            since: Some(now),
            ..candidate.hsts
        };
        let mut tx = lead.begin(&deps.store).await?;
        tx.set_hsts(candidate.id, &hsts).await?;
        tx.commit().await?;
        tracing::info!(host = %candidate.host, max_age_seconds = next.max_age_seconds(), "hsts.stepped");
    }
    Ok(())
}
