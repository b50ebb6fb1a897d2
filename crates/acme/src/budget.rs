//! What CAs allow in a time, and when the next attempt may be.
//!
//! The limits of Let's Encrypt are those it publishes (<https://letsencrypt.org/docs/rate-limits>, 2025); where a CA
//! publishes none, those that count failures and orders are kept all the same. A renewal that names what it replaces
//! (RFC 9773) counts at Let's Encrypt for none of them, and is counted here for the orders only.

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::name::HostName;
use slipway_store::{LedgerKind, StoreError, Tx};

use crate::Names;

/// So much of something in a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) kind: LedgerKind,
    pub(crate) count: usize,
    pub(crate) window: TimeDelta,
}

const fn limit(kind: LedgerKind, count: usize, window: TimeDelta) -> Limit {
    Limit { kind, count, window }
}

/// Longer than any window.
pub(crate) const REMEMBERED: TimeDelta = TimeDelta::days(8);

const FAILURES: Limit = limit(LedgerKind::Failure, 5, TimeDelta::hours(1));
const ORDERS: Limit = limit(LedgerKind::Order, 300, TimeDelta::hours(3));

const LETS_ENCRYPT: &[Limit] = &[
    ORDERS,
    FAILURES,
    limit(LedgerKind::Certificate, 50, TimeDelta::days(7)),
    limit(LedgerKind::Duplicate, 5, TimeDelta::days(7)),
];
const LETS_ENCRYPT_STAGING: &[Limit] = &[
    limit(LedgerKind::Order, 1_500, TimeDelta::hours(3)),
    limit(LedgerKind::Failure, 200, TimeDelta::hours(1)),
    limit(LedgerKind::Certificate, 30_000, TimeDelta::days(7)),
    limit(LedgerKind::Duplicate, 30_000, TimeDelta::days(7)),
];
const OTHERS: &[Limit] = &[ORDERS, FAILURES];

/// The limits of the CA with this directory.
pub(crate) fn limits(directory: &str) -> &'static [Limit] {
    if directory.contains("acme-v02.api.letsencrypt.org") {
        LETS_ENCRYPT
    } else if directory.contains("acme-staging-v02.api.letsencrypt.org") {
        LETS_ENCRYPT_STAGING
    } else {
        OTHERS
    }
}

/// What is counted for these names under a kind of limit.
pub(crate) fn subjects(kind: LedgerKind, names: &Names) -> Vec<String> {
    match kind {
        LedgerKind::Order => vec![String::new()],
        LedgerKind::Duplicate => vec![names.join(" ")],
        LedgerKind::Failure => names.clone(),
        LedgerKind::Certificate => {
            let mut domains: Vec<String> = names.iter().map(|n| registered_domain(n)).collect();
            domains.sort();
            domains.dedup();
            domains
        }
    }
}

/// The part of a name that somebody registered (<https://publicsuffix.org>).
fn registered_domain(name: &str) -> String {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let host: Option<HostName> = bare.parse().ok();
    let registered = host.as_ref().and_then(HostName::registered);
    registered.unwrap_or(bare).to_owned()
}

/// When the next one may be, given the times of the last ones, the newest first; `None` for now.
fn next(limit: Limit, times: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    let counting = times.get(limit.count.checked_sub(1)?)?;
    Some(*counting + limit.window).filter(|at| *at > now)
}

/// Until when an order for these names must wait.
pub(crate) async fn wait_until(
    tx: &mut Tx,
    directory: &str,
    names: &Names,
    is_renewal: bool,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let mut until = None;
    for limit in limits(directory) {
        let spared = matches!(limit.kind, LedgerKind::Certificate | LedgerKind::Duplicate);
        if is_renewal && spared {
            continue;
        }
        for subject in subjects(limit.kind, names) {
            let count = i64::try_from(limit.count).unwrap_or(i64::MAX);
            let times = tx
                .ledger(directory, limit.kind, &subject, now - limit.window, count)
                .await?;
            until = until.max(next(*limit, &times, now));
        }
    }
    Ok(until)
}

/// Until when the CA itself says that one must wait, where its words have a time (`retry after 2025-01-02 03:04:05 UTC`).
pub(crate) fn told_until(detail: &str) -> Option<Timestamp> {
    let (_, rest) = detail.split_once("retry after ")?;
    let text = rest.get(..19)?;
    let naive = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
    Some(naive.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;

    #[test]
    fn the_next_one_may_be_when_the_oldest_that_counts_falls_out_of_the_window() {
        let limit = limit(LedgerKind::Failure, 2, TimeDelta::milliseconds(100));
        assert_eq!(next(limit, &[], at(500)), None);
        assert_eq!(next(limit, &[at(450)], at(500)), None);
        assert_eq!(next(limit, &[at(450), at(420)], at(500)), Some(at(520)));
        assert_eq!(next(limit, &[at(450), at(420), at(410)], at(500)), Some(at(520)));
        assert_eq!(next(limit, &[at(450), at(390)], at(500)), None);
    }

    #[test]
    fn certificates_are_counted_for_what_somebody_registered() {
        let names = vec!["a.shop.example.co.uk".to_owned(), "*.shop.example.co.uk".to_owned()];
        assert_eq!(subjects(LedgerKind::Certificate, &names), ["example.co.uk"]);
        assert_eq!(subjects(LedgerKind::Order, &names), [""]);
    }

    #[test]
    fn the_time_that_a_ca_names_is_understood() {
        let detail = "too many failed authorizations (5) for \"a.example.com\" in the last 1h0m0s, retry after 2025-11-02 10:20:30 UTC: see";
        assert_eq!(
            told_until(detail).map(|t| t.to_rfc3339()),
            Some("2025-11-02T10:20:30+00:00".into())
        );
        assert_eq!(told_until("no"), None);
    }
}
