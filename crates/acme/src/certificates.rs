//! Gets the certificates that are ordered at CAs.
//!
//! | what is so | what is done |
//! |---|---|
//! | a name lacks one, or its own is to be replaced | it is ordered, at one CA after the other |
//! | the last attempt failed | it is tried again after 1 min, then later and later, at most 12 h |
//! | a name of the platform's own is not in DNS | it is looked at again after 5 min |
//! | the clock of this machine cannot be believed | renewals are put off by an hour, but for a few |
//! | the budget is used up | it is tried again when the CA allows it, and its next one is asked meanwhile |

use chrono::TimeDelta;
use slipway_domain::domains::{Inspection, Reason, RecordType};
use slipway_domain::name::DomainName;
use slipway_domain::ports::{BoxFuture, Claim};
use slipway_store::{CustomDomain, DueCertificate, LedgerKind, StoreError, Tx};

use crate::challenge::Reach;
use crate::doubt::PUT_OFF;
use crate::lead::Lead;
use crate::order::{self, OrderError, Wish};
use crate::queue::{Due, Queue};
use crate::wanted::Wanted;
use crate::{Deps, Names, budget, challenge, renewal};

/// What DNS says of a name of the platform's own where no order can succeed. That it leads to another address is not among
/// it: this machine may not know its own.
const HOPELESS: [&str; 6] = [
    "no_such_name",
    "no_addresses",
    "alias_to_nothing",
    "cname_loop",
    "caa_forbids",
    "dnssec_bogus",
];
/// After which it is asked again.
const LOOK_AGAIN: TimeDelta = TimeDelta::minutes(5);
/// After so many minutes an attempt that failed is made again, by failures in a row. CAs allow five failures of a name in an
/// hour (<https://letsencrypt.org/docs/rate-limits/>): one of them is left for whoever mended something.
const AGAIN_MINUTES: [i64; 9] = [1, 5, 15, 45, 60, 120, 240, 480, 720];
/// Goes before what was wrong with the last attempt, where the next one has to wait.
const LAST: &str = " The last attempt failed: ";

/// Orders.
pub(crate) struct Orders;

impl Queue for Orders {
    type Item = DueCertificate;
    type Key = Names;
    const AT_ONCE_MAX: usize = 16;

    fn key(item: &DueCertificate) -> Names {
        item.names.clone()
    }

    fn due(deps: &Deps, limit: i64) -> BoxFuture<'_, Result<Due<DueCertificate>, StoreError>> {
        Box::pin(async move {
            let now = deps.clock.now();
            let mut tx = deps.store.begin().await?;
            let wanted = Wanted::read(&mut tx, &deps.platform, now).await?;
            Ok(Due {
                now: tx.due_certificates(&wanted.ordered, false, now, limit).await?,
                next: tx.next_try_at(now).await?,
            })
        })
    }

    fn work(deps: &Deps, lead: Lead, item: DueCertificate) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { attempt(deps, lead, &item).await })
    }
}

/// Tries one CA after the other.
async fn attempt(deps: &Deps, lead: Lead, due: &DueCertificate) -> Result<(), StoreError> {
    let names = &due.names;
    let now = deps.clock.now();
    if let Some(reason) = deps.doubt.reason(now).filter(|_| due.replaces.is_some()) {
        let until = now + renewal::jittered(PUT_OFF, deps.entropy.as_ref());
        return note(deps, lead, due, Some(OrderError::Wait(until, reason))).await;
    }
    let mut tx = deps.store.begin().await?;
    let domain = domain_of(&mut tx, names).await?;
    let replaces = match due.replaces {
        Some(id) => tx.certificate(id).await?,
        None => None,
    };
    drop(tx);
    if domain.is_none()
        && let Some(reason) = obstacle(deps, names).await
    {
        let until = now + renewal::jittered(LOOK_AGAIN, deps.entropy.as_ref());
        return note(deps, lead, due, Some(OrderError::Wait(until, reason))).await;
    }
    let reach = reach(names, domain.as_ref());
    let mut last = None;
    for ca in &deps.cas {
        let wish = Wish {
            names,
            replaces: replaces.as_ref(),
            begun: due.issuance.order.as_ref(),
            challenge: challenge::kind(due.issuance.failures, reach),
            failures: due.issuance.failures,
        };
        let mut ended = order::run(deps, lead, ca, &wish).await;
        if matches!(&ended, Err(OrderError::Failed { reason, .. }) if reason.code == order::ACCOUNT_GONE) {
            // With the new account.
            ended = order::run(deps, lead, ca, &wish).await;
        }
        match ended {
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
                // What the first choice says is what people should mend, unless it said nothing of the name.
                last = match last {
                    Some(first) if !says_nothing(&first) => Some(first),
                    Some(first) if says_nothing(&error) => Some(both(first, error)),
                    _ => Some(error),
                };
            }
        }
    }
    note(deps, lead, due, last).await
}

/// That neither of two CAs was there to say anything.
fn both(first: OrderError, second: OrderError) -> OrderError {
    match (first, second) {
        (
            OrderError::Failed {
                mut reason,
                keeps_order,
                not_before,
                counts,
            },
            OrderError::Failed { reason: other, .. },
        ) => {
            reason.detail = format!("{} {}", reason.detail, other.detail);
            OrderError::Failed {
                reason,
                keeps_order,
                not_before,
                counts,
            }
        }
        (_, second) => second,
    }
}

/// Whether a CA was not there to say anything.
fn says_nothing(error: &OrderError) -> bool {
    matches!(error, OrderError::Failed { reason, .. } if matches!(reason.code.as_str(), "ca_unavailable" | "ca_slow" | "clock_wrong"))
}

/// What keeps a CA from issuing for a name of the platform's own, as DNS says; custom domains are looked at before they
/// are due, and those with a wildcard are checked in a zone of ours.
async fn obstacle(deps: &Deps, names: &Names) -> Option<Reason> {
    let [name] = names.as_slice() else { return None };
    let host: DomainName = name.parse().ok()?;
    if host.is_wildcard() {
        return None;
    }
    let claim = Claim {
        host,
        token: String::new(),
        routed_proves: true,
        is_proven: true,
        is_anothers: false,
        zones: Vec::new(),
    };
    let found = deps.inspector.inspect(claim).await;
    let obstacle = found.findings.iter().find(|f| HOPELESS.contains(&f.code.as_str()));
    obstacle.map(|finding| Reason {
        code: finding.code.clone(),
        detail: finding.detail.clone(),
        // No table goes with it.
        hint: match records(&found) {
            Some(records) if finding.hint.contains("listed") => format!("Make {records}."),
            _ => finding.hint.clone(),
        },
    })
}

/// The records that lead here, in words.
fn records(found: &Inspection) -> Option<String> {
    let leads = |kind| matches!(kind, RecordType::A | RecordType::Aaaa | RecordType::Cname);
    let wanted = found
        .records
        .iter()
        .filter(|r| leads(r.kind) && !r.ok && !r.value.is_empty());
    let told: Vec<String> = wanted
        .map(|r| format!("{} {} {}", r.name, r.kind.as_str(), r.value))
        .collect();
    (!told.is_empty()).then(|| format!("the record {}", told.join(" or ")))
}

/// The custom domain that these are the names of.
pub(crate) async fn domain_of(tx: &mut Tx, names: &Names) -> Result<Option<CustomDomain>, StoreError> {
    match names.first() {
        Some(name) => tx.proven_domain(name).await,
        None => Ok(None),
    }
}

/// How a CA can look at these names.
pub(crate) fn reach(names: &Names, domain: Option<&CustomDomain>) -> Reach {
    if names.iter().any(|name| name.starts_with("*.")) {
        return Reach {
            needs_dns: true,
            by_dns: true,
        };
    }
    let inspection = domain.and_then(|domain| domain.inspection.as_ref());
    inspection.map_or_else(Reach::default, |found| Reach {
        needs_dns: found.behind_proxy || found.dns_only,
        by_dns: found.by_dns,
    })
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
        Some(OrderError::Wait(until, reason)) => {
            let reason = with_last(reason, due.issuance.error.as_ref());
            tx.postpone_issuance(names, &reason, (now, until)).await?;
        }
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
    let at = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    TimeDelta::minutes(AGAIN_MINUTES[at.min(AGAIN_MINUTES.len() - 1)])
}

/// Why it has to wait, without hiding what people should mend meanwhile.
fn with_last(wait: Reason, last: Option<&Reason>) -> Reason {
    let Some(last) = last.filter(|last| last.code != wait.code || last.detail.contains(LAST)) else {
        return wait;
    };
    let failed = last
        .detail
        .split_once(LAST)
        .map_or(last.detail.as_str(), |(_, failed)| failed);
    Reason {
        code: wait.code,
        detail: format!("{}{LAST}{failed}", wait.detail),
        hint: last.hint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_are_tried_again_less_and_less_often() {
        let minutes: Vec<i64> = [1, 2, 3, 9, 10, 4_000_000].map(|n| again(n).num_minutes()).to_vec();
        assert_eq!(minutes, [1, 5, 15, 720, 720, 720]);
        let first_hour: Vec<i64> = (1..5).map(|n| again(n).num_minutes()).collect();
        assert!(first_hour.iter().sum::<i64>() > 60, "four attempts in an hour");
    }

    #[test]
    fn what_has_to_wait_says_still_why_the_last_attempt_failed() {
        let reason = |code: &str, detail: &str, hint: &str| Reason {
            code: code.into(),
            detail: detail.into(),
            hint: hint.into(),
        };
        let failed = reason("ca_cannot_reach", "Port 80 is shut.", "Open it.");
        let first = with_last(reason("ca_budget", "No more until 5.", "h"), Some(&failed));
        assert_eq!(
            (first.code.as_str(), first.detail.as_str(), first.hint.as_str()),
            (
                "ca_budget",
                "No more until 5. The last attempt failed: Port 80 is shut.",
                "Open it."
            )
        );
        let second = with_last(reason("ca_budget", "No more until 6.", "h"), Some(&first));
        assert_eq!(
            second.detail,
            "No more until 6. The last attempt failed: Port 80 is shut."
        );
        let alone = reason("ca_budget", "No more until 7.", "h");
        assert_eq!(with_last(alone.clone(), None), alone);
        assert_eq!(with_last(alone.clone(), Some(&alone)), alone);
    }
}
