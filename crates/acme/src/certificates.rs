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
//! | one was renewed without trouble | browsers may be told to remember for longer |

use chrono::TimeDelta;
use futures_util::StreamExt as _;
use futures_util::stream;
use slipway_domain::Timestamp;
use slipway_domain::ports::BoxFuture;
use slipway_store::{Certificate, DueCertificate, LedgerKind, OwnNames, StoreError, Tx};

use crate::authority::{LocalError, LocalIssue};
use crate::challenge::Reach;
use crate::lead::Lead;
use crate::order::{self, OrderError, Wish};
use crate::{Deps, Names, budget, challenge, dns01, hsts, renewal, warn};

/// So many are seen to in one round; the next one follows at once.
pub(crate) const PER_ROUND_MAX: i64 = 64;
/// So many orders are under way at once.
const AT_ONCE_MAX: usize = 8;
const AGAIN_FIRST: TimeDelta = TimeDelta::minutes(1);
const AGAIN_MAX: TimeDelta = TimeDelta::hours(12);
/// After a restart or a change of clock not everything is asked at once.
const ARI_PER_ROUND_MAX: i64 = 20;

/// Does what is due; gives when there is something next.
pub(crate) async fn round(deps: &Deps, lead: Lead) -> Result<Option<Timestamp>, StoreError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let zones = dns01::platforms(&mut tx).await?;
    let has_wildcard = tx.has_certificate(&deps.platform.wildcard(), now).await?;
    drop(tx);
    let ordered = deps.platform.ordered(&zones, has_wildcard);
    local(deps, lead).await?;
    ask_for_windows(deps, lead).await?;
    warn::tell(deps, lead).await?;
    hsts::step(deps, lead).await?;
    dns01::tidy(deps, lead).await?;

    let mut tx = deps.store.begin().await?;
    let due = tx.due_certificates(&ordered, false, now, PER_ROUND_MAX).await?;
    drop(tx);
    retire(deps, lead, &deps.platform.all(ordered, has_wildcard)).await?;
    let attempts: Vec<BoxFuture<'_, Result<(), StoreError>>> = due
        .iter()
        .map(|due| -> BoxFuture<'_, _> { Box::pin(attempt(deps, lead, due)) })
        .collect();
    let results: Vec<Result<(), StoreError>> = stream::iter(attempts).buffer_unordered(AT_ONCE_MAX).collect().await;
    results.into_iter().collect::<Result<(), _>>()?;
    if i64::try_from(due.len()).is_ok_and(|n| n >= PER_ROUND_MAX) {
        return Ok(Some(now));
    }
    let mut tx = deps.store.begin().await?;
    tx.next_try_at(now).await
}

/// Takes out of use what nobody wants. What is wanted and may not be ordered just now is kept.
async fn retire(deps: &Deps, lead: Lead, own: &OwnNames) -> Result<(), StoreError> {
    let mut tx = deps.store.begin().await?;
    let unwanted = tx.unwanted_certificates(own).await?;
    drop(tx);
    if unwanted.is_empty() {
        return Ok(());
    }
    let mut tx = lead.begin(&deps.store).await?;
    tx.retire_certificates(&unwanted, deps.clock.now()).await?;
    tx.commit().await?;
    tracing::info!(?unwanted, "certificates.retired: nobody wants them any more");
    Ok(())
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

/// Asks CAs whether they would have certificates replaced at another time (RFC 9773).
async fn ask_for_windows(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let due = tx.windows_due(now, ARI_PER_ROUND_MAX).await?;
    drop(tx);
    for certificate in &due {
        let (renew_at, ari_at) = ask_for_window(deps, lead, certificate, now).await;
        let mut tx = lead.begin(&deps.store).await?;
        tx.plan_renewal(certificate.id, renew_at, ari_at).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// When one is to be replaced, and when its CA is to be asked again. Silence changes nothing but the time to ask.
async fn ask_for_window(
    deps: &Deps,
    lead: Lead,
    certificate: &Certificate,
    now: Timestamp,
) -> (Timestamp, Option<Timestamp>) {
    let ca = |ca: &&crate::CaSettings| certificate.ca.as_ref() == Some(&ca.directory);
    // A CA that is not among the settings any more is not asked again.
    let Some(ca) = deps.cas.iter().find(ca) else {
        return (certificate.renew_at, None);
    };
    let window = match ca.account(deps, lead).await {
        Ok(account) => order::window(&account, &certificate.chain_pem).await,
        Err(_) => None,
    };
    window.map_or_else(
        || {
            let later = renewal::jittered(renewal::ARI_MIN * 6, deps.entropy.as_ref());
            (certificate.renew_at, Some(now + later))
        },
        |window| window.plan(Some(certificate.renew_at), now, deps.entropy.as_ref()),
    )
}

/// Tries one CA after the other.
async fn attempt(deps: &Deps, lead: Lead, due: &DueCertificate) -> Result<(), StoreError> {
    let names = &due.names;
    let mut tx = deps.store.begin().await?;
    let replaces = match due.replaces {
        Some(id) => tx.certificate(id).await?,
        None => None,
    };
    let reach = reach(&mut tx, names).await?;
    drop(tx);
    let mut last = None;
    for ca in &deps.cas {
        let wish = Wish {
            names,
            replaces: replaces.as_ref(),
            begun: due.issuance.order.as_ref(),
            challenge: challenge::kind(due.issuance.failures, reach),
            failures: due.issuance.failures,
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
    note(deps, lead, due, last).await
}

/// How a CA can look at these names.
pub(crate) async fn reach(tx: &mut Tx, names: &Names) -> Result<Reach, StoreError> {
    if names.iter().any(|name| name.starts_with("*.")) {
        return Ok(Reach {
            needs_dns: true,
            by_dns: true,
        });
    }
    let domain = match names.first() {
        Some(name) => tx.proven_domain(name).await?,
        None => None,
    };
    let inspection = domain.and_then(|domain| domain.inspection);
    Ok(inspection.map_or_else(Reach::default, |found| Reach {
        needs_dns: found.behind_proxy,
        by_dns: found.by_dns,
    }))
}

async fn count_failure(deps: &Deps, lead: Lead, directory: &str, names: &Names) -> Result<(), StoreError> {
    let mut tx = lead.begin(&deps.store).await?;
    for subject in budget::subjects(LedgerKind::Failure, names) {
        tx.enter_ledger(directory, LedgerKind::Failure, &subject, deps.clock.now())
            .await?;
    }
    tx.commit().await
}

async fn note(deps: &Deps, lead: Lead, due: &DueCertificate, last: Option<OrderError>) -> Result<(), StoreError> {
    let names = &due.names;
    let now = deps.clock.now();
    let mut tx = lead.begin(&deps.store).await?;
    match last {
        None | Some(OrderError::Store(_)) => return Ok(()),
        Some(OrderError::Wait(until, reason)) => tx.postpone_issuance(names, &reason, (now, until)).await?,
        Some(OrderError::Failed {
            reason,
            keeps_order,
            not_before,
            ..
        }) => {
            let failures = due.issuance.failures.saturating_add(1);
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
