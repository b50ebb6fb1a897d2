//! Looks at DNS for the domains that teams ask for.
//!
//! | what was found | next look |
//! |---|---|
//! | something is wrong | after 5 s, twice as long each time, at most 15 min |
//! | all is well | after 6 h |

use chrono::TimeDelta;
use slipway_domain::ids::DomainId;
use slipway_domain::ports::BoxFuture;
use slipway_store::{CustomDomain, StoreError};

use crate::Deps;
use crate::lead::Lead;
use crate::queue::{Due, Queue};
use crate::renewal::{doubled, jittered};

const WELL: TimeDelta = TimeDelta::hours(6);
const WRONG_FIRST: TimeDelta = TimeDelta::seconds(5);
const WRONG_MAX: TimeDelta = TimeDelta::minutes(15);

/// Looks at domains.
pub(crate) struct Looks;

impl Queue for Looks {
    type Item = CustomDomain;
    type Key = DomainId;
    const AT_ONCE_MAX: usize = 16;

    fn key(item: &CustomDomain) -> DomainId {
        item.id
    }

    fn due(deps: &Deps, limit: i64) -> BoxFuture<'_, Result<Due<CustomDomain>, StoreError>> {
        Box::pin(async move {
            let now = deps.clock.now();
            let mut tx = deps.store.begin().await?;
            Ok(Due {
                now: tx.domains_due(now, limit).await?,
                next: tx.next_look_at(now).await?,
            })
        })
    }

    fn work(deps: &Deps, lead: Lead, item: CustomDomain) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { look(deps, lead, &item).await })
    }
}

/// Looks at one, and takes note of what that comes to.
async fn look(deps: &Deps, lead: Lead, domain: &CustomDomain) -> Result<(), StoreError> {
    let mut tx = deps.store.begin().await?;
    let others = tx.other_teams(domain.team, &domain.host).await?;
    let zones = tx.zones_open_to(domain.team).await?;
    drop(tx);
    let claim = domain.claim(&others, zones, deps.clock.now());
    let inspection = deps.inspector.inspect(claim).await;
    let now = deps.clock.now();
    let mut tx = lead.begin(&deps.store).await?;
    // What another team has, or gave up a short while ago, is not taken from it, whatever the records say.
    let mut proven = domain.proof.is_some();
    if let Some(proof) = inspection.proof.filter(|_| !proven && !others.keep_it(now)) {
        proven = tx.prove_domain(domain.id, proof, now).await?;
        if proven {
            tracing::info!(host = %domain.host, proof = proof.as_str(), "domain.proven");
        }
    }
    let well = proven && inspection.may_order();
    let failures = if well {
        0
    } else {
        domain.look_failures.saturating_add(1)
    };
    let pause = if well { WELL } else { pause(failures) };
    let next = now + jittered(pause, deps.entropy.as_ref());
    tx.note_look(domain, &inspection, failures, (now, next)).await?;
    tx.commit().await
}

/// How long to wait after so many looks that found something wrong.
fn pause(failures: u32) -> TimeDelta {
    doubled(WRONG_FIRST, failures, WRONG_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_looked_at_soon_and_then_less_and_less_often() {
        let seconds: Vec<i64> = [1, 2, 3, 8, 9, 4_000_000].map(|n| pause(n).num_seconds()).to_vec();
        assert_eq!(seconds, [5, 10, 20, 640, 900, 900]);
    }
}
