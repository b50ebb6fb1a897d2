//! Tells somebody before a certificate ends that could not be renewed: at 21, 14, 7, 3 and 1 days and when it has ended.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::domains::{CertificateFacts, IssuanceFacts, standing};
use slipway_domain::ids::{AlertId, EnvironmentId};
use slipway_store::{CustomDomain, StoreError};

use crate::Deps;
use crate::lead::Lead;

const DAYS: [i64; 6] = [0, 1, 3, 7, 14, 21];

/// The smallest number of these days that are left at most; nothing where a renewal may still come as planned, which is
/// until a quarter of the certificate's life is left.
fn days_left(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> Option<i64> {
    let left = not_after - now;
    let late = left <= (not_after - not_before) / 4;
    let reached = |days: &i64| left <= TimeDelta::days(*days);
    DAYS.into_iter().find(reached).filter(|_| late)
}

/// What there is to say of a domain's certificate.
fn warning(domain: &CustomDomain, now: Timestamp) -> Option<String> {
    // A visitor's name that leads elsewhere is forgotten when its certificate ends, and nobody has to do anything.
    if domain.on_demand && domain.inspection.as_ref().is_some_and(|found| !found.may_order()) {
        return None;
    }
    let certificate = domain.certificate.as_ref()?;
    let days = days_left(certificate.not_before, certificate.not_after, now)?;
    let facts = CertificateFacts {
        not_after: certificate.not_after,
    };
    let issuance = domain.issuance.as_ref().map(|i| IssuanceFacts {
        failures: i.failures,
        error: i.error.clone(),
    });
    let stands = standing(
        domain.proof.is_some(),
        domain.inspection.as_ref(),
        Some(facts),
        issuance.as_ref(),
        now,
    );
    let why = stands
        .reason
        .map_or_else(String::new, |r| format!(": {} {}", r.detail, r.hint));
    let when = match days {
        0 => "has ended".to_owned(),
        1 => "ends within a day".to_owned(),
        days => format!("ends within {days} days"),
    };
    Some(format!(
        "the certificate of {} {when} and could not be renewed{why}",
        domain.host
    ))
}

/// More than anybody reads.
const TOLD_MAX: i64 = 1_000;

/// Begins, repeats and ends the alerts.
pub(crate) async fn tell(deps: &Deps, lead: Lead) -> Result<(), StoreError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let ending = tx.domains_ending(now, TOLD_MAX).await?;
    let is_quiet = ending.is_empty() && !tx.has_certificate_alerts().await?;
    drop(tx);
    if is_quiet {
        return Ok(());
    }
    let mut warnings: BTreeMap<EnvironmentId, Vec<String>> = BTreeMap::new();
    for domain in &ending {
        if let Some(text) = warning(domain, now) {
            warnings.entry(domain.environment).or_default().push(text);
        }
    }
    let mut tx = lead.begin(&deps.store).await?;
    for (environment, texts) in &warnings {
        let id = AlertId::mint(now, deps.entropy.as_ref());
        tx.raise_certificate_alert(id, *environment, &texts.join("; "), now)
            .await?;
    }
    let environments: Vec<EnvironmentId> = warnings.into_keys().collect();
    tx.clear_certificate_alerts(&environments, now).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;

    #[test]
    fn it_is_told_at_21_14_7_3_and_1_days_and_not_before_a_renewal_is_late() {
        let hour = |h: i64| at(h * 3_600_000);
        let told = |life_days: i64, left_hours: i64| {
            let end = life_days * 24;
            days_left(hour(0), hour(end), hour(end - left_hours))
        };
        for (left_hours, days) in [
            (22 * 24, None),
            (21 * 24, Some(21)),
            (14 * 24 + 1, Some(21)),
            (14 * 24, Some(14)),
            (7 * 24, Some(7)),
            (3 * 24, Some(3)),
            (24, Some(1)),
            (1, Some(1)),
            (0, Some(0)),
            (-5, Some(0)),
        ] {
            assert_eq!(told(90, left_hours), days, "{left_hours} hours");
        }
        // Of six days the last one and a half.
        assert_eq!(told(6, 48), None);
        assert_eq!(told(6, 36), Some(3));
    }
}
