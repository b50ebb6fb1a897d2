//! Asks CAs whether they would have certificates replaced at another time (RFC 9773).

use slipway_domain::Timestamp;
use slipway_domain::ids::CertificateId;
use slipway_domain::ports::BoxFuture;
use slipway_store::{Certificate, StoreError};

use crate::lead::Lead;
use crate::queue::{Due, Queue};
use crate::renewal::Got;
use crate::{Deps, order, renewal};

/// Windows of renewal.
pub(crate) struct Windows;

impl Queue for Windows {
    type Item = Certificate;
    type Key = CertificateId;
    /// After a restart or a change of clock not everything is asked at once.
    const AT_ONCE_MAX: usize = 4;

    fn key(item: &Certificate) -> CertificateId {
        item.id
    }

    fn due(deps: &Deps, limit: i64) -> BoxFuture<'_, Result<Due<Certificate>, StoreError>> {
        Box::pin(async move {
            let mut tx = deps.store.begin().await?;
            Ok(Due {
                now: tx.windows_due(deps.clock.now(), limit).await?,
                // They are hours apart: the look that stands behind every hint finds them.
                next: None,
            })
        })
    }

    fn work(deps: &Deps, lead: Lead, item: Certificate) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let (renew_at, ari_at) = ask(deps, lead, &item, deps.clock.now()).await;
            let mut tx = lead.begin(&deps.store).await?;
            tx.plan_renewal(item.id, renew_at, ari_at).await?;
            tx.commit().await
        })
    }
}

/// When one is to be replaced, and when its CA is to be asked again. Silence changes nothing but the time to ask.
async fn ask(deps: &Deps, lead: Lead, certificate: &Certificate, now: Timestamp) -> (Timestamp, Option<Timestamp>) {
    let ca = |ca: &&crate::CaSettings| certificate.ca.as_ref() == Some(&ca.directory);
    // A CA that is not among the settings any more is not asked again.
    let Some(ca) = deps.cas.iter().find(ca) else {
        return (certificate.renew_at, None);
    };
    let _in_use = ca.in_use().await;
    let window = match ca.account(deps, lead).await {
        Ok(account) => order::window(&account, &certificate.chain_pem).await,
        Err(_) => None,
    };
    window.map_or_else(
        || {
            let later = renewal::jittered(renewal::ARI_MIN * 6, deps.entropy.as_ref());
            (certificate.renew_at, Some(now + later))
        },
        |window| {
            let got = Got {
                at: certificate.created_at,
                life: certificate.not_after - certificate.not_before,
            };
            window.plan(Some(certificate.renew_at), got, now, deps.entropy.as_ref())
        },
    )
}
