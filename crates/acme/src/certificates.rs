//! Gets the certificates that there are to be.
//!
//! | what is so | what is done |
//! |---|---|
//! | a local name lacks one, or its own grows old | the internal CA issues one, at once |
//! | another name lacks one, or its own is to be replaced | it is ordered, at one CA after the other |
//! | the last attempt failed | it is tried again after 1 min, twice as long each time, at most 12 h |
//! | the budget is used up | it is tried again when the CA allows it, and its next one is asked meanwhile |
//! | the CA may suggest another time for a renewal | it is asked |
//! | nobody wants a certificate any more | it is taken out of use |
//! | one is about to end and was not renewed | somebody is told |

use chrono::TimeDelta;
use futures_util::StreamExt as _;
use futures_util::stream;
use slipway_domain::Timestamp;
use slipway_domain::ports::BoxFuture;
use slipway_store::{Certificate, Issuance, LedgerKind, StoreError};

use crate::authority::sealed;
use crate::lead::Lead;
use crate::order::{self, OrderError, Wish};
use crate::plan::{current, due};
use crate::wanted::{Wanted, wanted};
use crate::{Deps, Names, budget, challenge, renewal, warn};

/// So many orders are under way at once.
const AT_ONCE_MAX: usize = 8;
const AGAIN_FIRST: TimeDelta = TimeDelta::minutes(1);
const AGAIN_MAX: TimeDelta = TimeDelta::hours(12);
/// After a restart or a change of clock not everything is asked at once.
const ARI_PER_ROUND_MAX: usize = 20;

/// Does what is due; gives when there is something next.
pub(crate) async fn round(deps: &Deps, lead: Lead) -> Result<Option<Timestamp>, StoreError> {
    let mut tx = deps.store.begin().await?;
    let hosts = tx.platform_hosts().await?;
    let domains = tx.proven_domains().await?;
    let certificates = tx.current_certificates().await?;
    let issuances = tx.issuances().await?;
    drop(tx);
    let wanted = wanted(&deps.platform, &hosts, &domains);
    retire(deps, lead, &wanted, &certificates).await?;
    local(deps, lead, &wanted, &certificates).await?;
    ask_for_windows(deps, lead, &wanted, &certificates).await?;

    warn::tell(deps, lead, &domains).await?;

    let now = deps.clock.now();
    let mut next: Option<Timestamp> = None;
    let mut attempts: Vec<BoxFuture<'_, Result<(), StoreError>>> = Vec::new();
    for names in due(&wanted.ordered, &certificates, now) {
        let begun = issuances.get(names);
        if let Some(at) = begun.and_then(|i| i.next_try_at).filter(|at| *at > now) {
            next = Some(next.map_or(at, |n| n.min(at)));
        } else {
            let replaces = current(&certificates, names);
            attempts.push(Box::pin(attempt(deps, lead, names, replaces, begun)));
        }
    }
    let results: Vec<Result<(), StoreError>> = stream::iter(attempts).buffer_unordered(AT_ONCE_MAX).collect().await;
    results.into_iter().collect::<Result<(), _>>()?;
    Ok(next)
}

/// Takes out of use what nobody wants. What is wanted and may not be ordered just now is kept.
async fn retire(deps: &Deps, lead: Lead, wanted: &Wanted, certificates: &[Certificate]) -> Result<(), StoreError> {
    let sets = || wanted.local.iter().chain(&wanted.ordered).chain(&wanted.kept);
    let unwanted: Vec<_> = certificates
        .iter()
        .filter(|c| !sets().any(|names| current(std::slice::from_ref(*c), names).is_some()))
        .map(|c| c.id)
        .collect();
    if unwanted.is_empty() {
        return Ok(());
    }
    let mut tx = lead.begin(deps).await?;
    tx.retire_certificates(&unwanted, deps.clock.now()).await?;
    tx.commit().await?;
    tracing::info!(?unwanted, "certificates.retired: nobody wants them any more");
    Ok(())
}

async fn local(deps: &Deps, lead: Lead, wanted: &Wanted, certificates: &[Certificate]) -> Result<(), StoreError> {
    let now = deps.clock.now();
    for names in due(&wanted.local, certificates, now) {
        let made = deps.local.issue(names, now).and_then(|issued| {
            sealed(
                issued,
                names.clone(),
                None,
                deps.sealer.as_ref(),
                (now, deps.entropy.as_ref()),
            )
            .map_err(|e| e.to_string())
        });
        let certificate = match made {
            Ok(certificate) => certificate,
            Err(error) => {
                tracing::error!(error, ?names, "certificate.not_issued: the old one goes on serving");
                continue;
            }
        };
        let mut tx = lead.begin(deps).await?;
        tx.insert_certificate(&certificate).await?;
        tx.commit().await?;
        tracing::info!(certificate = %certificate.id, ?names, "certificate.issued by the internal CA");
    }
    Ok(())
}

/// Asks CAs whether they would have certificates replaced at another time (RFC 9773).
async fn ask_for_windows(
    deps: &Deps,
    lead: Lead,
    wanted: &Wanted,
    certificates: &[Certificate],
) -> Result<(), StoreError> {
    let now = deps.clock.now();
    let in_use = wanted.ordered.iter().filter_map(|names| current(certificates, names));
    let to_ask = in_use.filter(|c| c.ari_at.is_some_and(|at| at <= now));
    for certificate in to_ask.take(ARI_PER_ROUND_MAX) {
        let Some(ca) = deps
            .cas
            .iter()
            .find(|ca| certificate.ca.as_ref() == Some(&ca.directory))
        else {
            continue;
        };
        let Ok(account) = ca.account(deps, lead).await else {
            continue;
        };
        let asked = order::window(deps, &account, &certificate.chain_pem).await;
        let before = certificate.renew_at.unwrap_or(certificate.not_after);
        // Silence changes nothing.
        let (renew_at, ari_at) = match asked {
            Some((renew_at, ari_at)) => (renew_at, ari_at),
            None => (
                before,
                Some(now + renewal::jittered(renewal::ARI_MIN * 6, deps.entropy.as_ref())),
            ),
        };
        let mut tx = lead.begin(deps).await?;
        tx.plan_renewal(certificate.id, renew_at, ari_at).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Tries one CA after the other.
async fn attempt(
    deps: &Deps,
    lead: Lead,
    names: &Names,
    replaces: Option<&Certificate>,
    begun: Option<&Issuance>,
) -> Result<(), StoreError> {
    let order_row = begun.and_then(|i| i.order.as_ref());
    let mut last = None;
    for ca in &deps.cas {
        let wish = Wish {
            names,
            replaces,
            begun: order_row,
            challenge: challenge::kind(begun.map_or(0, |i| i.failures)),
        };
        match order::run(deps, lead, ca, &wish).await {
            Ok(()) => return Ok(()),
            Err(OrderError::Store(error)) => return Err(error),
            Err(error) => {
                if let OrderError::Failed { reason, counts, .. } = &error {
                    tracing::warn!(
                        ?names,
                        ca = ca.directory,
                        reason = reason.detail,
                        "certificate.not_issued"
                    );
                    if *counts {
                        count_failure(deps, lead, &ca.directory, names).await?;
                    }
                }
                // What the first choice says is what people should mend.
                last.get_or_insert(error);
            }
        }
    }
    note(deps, lead, names, begun, last).await
}

async fn count_failure(deps: &Deps, lead: Lead, directory: &str, names: &Names) -> Result<(), StoreError> {
    let mut tx = lead.begin(deps).await?;
    for subject in budget::subjects(LedgerKind::Failure, names) {
        tx.enter_ledger(directory, LedgerKind::Failure, &subject, deps.clock.now())
            .await?;
    }
    tx.prune_ledger(deps.clock.now() - budget::REMEMBERED).await?;
    tx.commit().await
}

async fn note(
    deps: &Deps,
    lead: Lead,
    names: &Names,
    begun: Option<&Issuance>,
    last: Option<OrderError>,
) -> Result<(), StoreError> {
    let now = deps.clock.now();
    let mut tx = lead.begin(deps).await?;
    match last {
        None | Some(OrderError::Store(_)) => return Ok(()),
        Some(OrderError::Wait(until, reason)) => tx.postpone_issuance(names, &reason, (now, until)).await?,
        Some(OrderError::Failed {
            reason,
            keeps_order,
            not_before,
            ..
        }) => {
            let failures = begun.map_or(0, |i| i.failures).saturating_add(1);
            let again = now + renewal::jittered(again(failures), deps.entropy.as_ref());
            let at = not_before.map_or(again, |told| told.max(again));
            tx.note_issuance_failure(names, &reason, keeps_order, (now, at)).await?;
        }
    }
    tx.commit().await
}

/// How long to wait after so many failures in a row.
fn again(failures: u32) -> TimeDelta {
    renewal::doubled(AGAIN_FIRST, failures, AGAIN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_tried_again_less_and_less_often() {
        let minutes: Vec<i64> = [1, 2, 3, 10, 11, 4_000_000].map(|n| again(n).num_minutes()).to_vec();
        assert_eq!(minutes, [1, 2, 4, 512, 720, 720]);
    }
}
