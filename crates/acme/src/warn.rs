//! Tells somebody before a certificate ends that could not be renewed: at 21, 14, 7, 3 and 1 days and when it has ended.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::domains::{CertificateFacts, IssuanceFacts, Reason, standing};
use slipway_domain::ids::{AlertId, EnvironmentId};
use slipway_store::{CustomDomain, OwnEnding, OwnNames, StoreError};

use crate::Deps;
use crate::lead::Lead;

const DAYS: [i64; 6] = [0, 1, 3, 7, 14, 21];

/// The smallest number of these days that are left at most; nothing where a renewal may still come as planned, which is
/// until a quarter of the certificate's life is left. One that was uploaded nothing renews.
fn days_left((not_before, not_after): (Timestamp, Timestamp), uploaded: bool, now: Timestamp) -> Option<i64> {
    let left = not_after - now;
    let late = uploaded || left <= (not_after - not_before) / 4;
    let reached = |days: &i64| left <= TimeDelta::days(*days);
    DAYS.into_iter().find(reached).filter(|_| late)
}

/// A certificate that is about to end, or has ended, and why there is no other.
struct Ending<'a> {
    name: &'a str,
    /// The app's, if it is an app's.
    app: &'a str,
    not_before: Timestamp,
    not_after: Timestamp,
    why: Option<Reason>,
    /// Whether somebody brought it along: nothing renews it.
    uploaded: bool,
}

/// What there is to say of it.
fn warning(ending: &Ending<'_>, now: Timestamp) -> Option<String> {
    let days = days_left((ending.not_before, ending.not_after), ending.uploaded, now)?;
    let why = ending
        .why
        .as_ref()
        .map_or_else(String::new, |r| format!(": {} {}", r.detail, r.hint));
    let when = match days {
        0 => "has ended".to_owned(),
        1 => "ends within a day".to_owned(),
        days => format!("ends within {days} days"),
    };
    let when = format!("{when} ({})", ending.not_after.format("%Y-%m-%d %H:%M UTC"));
    let name = ending.name;
    Some(if ending.uploaded {
        format!(
            "the certificate of {name} {when}, and nothing renews it, for it was uploaded: upload another one, or have one \
             ordered (`slipway certs give-up {name} -a {}`){why}",
            ending.app
        )
    } else {
        format!("the certificate of {name} {when} and could not be renewed{why}")
    })
}

/// Of a domain that somebody brought along.
fn of_domain(domain: &CustomDomain, now: Timestamp) -> Option<String> {
    // A visitor's name that leads elsewhere is forgotten when its certificate ends, and nobody has to do anything.
    if domain.on_demand && domain.inspection.as_ref().is_some_and(|found| !found.may_order()) {
        return None;
    }
    let certificate = domain.certificate.as_ref()?;
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
    let ending = Ending {
        name: domain.host.as_str(),
        app: domain.app_name.as_str(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        why: stands.reason,
        uploaded: certificate.uploaded,
    };
    warning(&ending, now)
}

/// Of a name below the base domain, of all of them, or of the API's.
fn of_own(own: &OwnEnding, now: Timestamp) -> Option<String> {
    let ending = Ending {
        name: own.names.first()?,
        app: "",
        not_before: own.not_before,
        not_after: own.not_after,
        why: own.error.clone(),
        uploaded: false,
    };
    warning(&ending, now)
}

/// All of it in one message: with several the first ones, and how many more there are.
fn summed(texts: &[String]) -> String {
    let shown = texts.get(..WHOLE_MAX).unwrap_or(texts).join("; ");
    match texts.len().saturating_sub(WHOLE_MAX) {
        0 => shown,
        more => format!("{shown}; and {more} more, see `slipway certs`"),
    }
}

/// So many are told whole.
const WHOLE_MAX: usize = 3;
/// More than anybody reads.
const TOLD_MAX: i64 = 1_000;

/// Begins, repeats and ends the alerts.
pub(crate) async fn tell(deps: &Deps, lead: Lead, own: &OwnNames) -> Result<(), StoreError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let ending = tx.domains_ending(now, TOLD_MAX).await?;
    let own_ending = tx.own_ending(own, now).await?;
    let is_quiet = ending.is_empty() && own_ending.is_empty() && !tx.has_certificate_alerts().await?;
    drop(tx);
    if is_quiet {
        return Ok(());
    }
    let brought = ending.iter().map(|d| (Some(d.environment), of_domain(d, now)));
    let own = own_ending.iter().map(|o| (o.environment, of_own(o, now)));
    let mut warnings: BTreeMap<Option<EnvironmentId>, Vec<String>> = BTreeMap::new();
    for (environment, text) in brought.chain(own) {
        if let Some(text) = text {
            warnings.entry(environment).or_default().push(text);
        }
    }
    let of_platform = warnings.remove(&None).map(|texts| summed(&texts));
    let mut tx = lead.begin(&deps.store).await?;
    let id = || AlertId::mint(now, deps.entropy.as_ref());
    tx.tell_of_own_certificates(id(), of_platform.as_deref(), now).await?;
    for (environment, texts) in &warnings {
        if let Some(environment) = environment {
            tx.raise_certificate_alert(id(), *environment, &summed(texts), now)
                .await?;
        }
    }
    let environments: Vec<EnvironmentId> = warnings.into_keys().flatten().collect();
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
            days_left((hour(0), hour(end)), false, hour(end - left_hours))
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
        let short = (hour(0), hour(48));
        assert_eq!(days_left(short, false, hour(1)), None, "it may still be renewed");
        assert_eq!(
            days_left(short, true, hour(1)),
            Some(3),
            "nothing renews what was uploaded"
        );
        // Of six days the last one and a half.
        assert_eq!(told(6, 48), None);
        assert_eq!(told(6, 36), Some(3));
    }

    #[test]
    fn of_many_the_first_are_told_whole_and_the_rest_is_counted() {
        let texts = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>();
        assert_eq!(summed(&texts(1)), "t0");
        assert_eq!(summed(&texts(3)), "t0; t1; t2");
        assert_eq!(summed(&texts(19)), "t0; t1; t2; and 16 more, see `slipway certs`");
    }
}
