//! Months of certificates within a minute: the real queues, database and protocol, at a CA with a simulated clock.

mod ca;
mod platform;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::TimeDelta;
use slipway_domain::{Clock, Timestamp};

use ca::Certified;
use platform::simulate;

/// How often everything is looked at.
const TICK: TimeDelta = TimeDelta::hours(1);

/// A clock that is set.
#[derive(Debug, Clone)]
struct SimulatedClock(Arc<AtomicI64>);

impl SimulatedClock {
    fn starting() -> Self {
        // Any day at all.
        Self(Arc::new(AtomicI64::new(1_800_000_000_000)))
    }

    fn turn(&self, by: TimeDelta) {
        self.0.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_timestamp_millis(self.0.load(Ordering::Relaxed)).expect("a time")
    }
}

/// Names of which none had no valid certificate, from its first one on.
fn expired(issued: &[Certified], now: Timestamp) -> BTreeSet<String> {
    let mut by_name: BTreeMap<&str, Vec<&Certified>> = BTreeMap::new();
    for certificate in issued {
        by_name.entry(&certificate.names[0]).or_default().push(certificate);
    }
    let lapsed = |all: &Vec<&Certified>| {
        let mut all = all.clone();
        all.sort_by_key(|certificate| certificate.at);
        let followed = all.windows(2).all(|pair| pair[1].at < pair[0].not_after);
        !followed || all.last().is_some_and(|last| last.not_after <= now)
    };
    let lapsed = by_name.into_iter().filter(|(_, all)| lapsed(all));
    lapsed.map(|(name, _)| name.to_owned()).collect()
}

/// Renewals in the hour with the most of them, and on average in the two days around it: so long is a window.
fn peak_and_mean(issued: &[Certified]) -> (u32, f64) {
    let mut by_hour: BTreeMap<i64, u32> = BTreeMap::new();
    for renewal in issued.iter().filter(|c| c.renews_in_window.is_some()) {
        *by_hour.entry(renewal.at.timestamp() / 3600).or_default() += 1;
    }
    let Some((hour, peak)) = by_hour.iter().max_by_key(|(_, count)| **count) else {
        return (0, 0.0);
    };
    let around: u32 = by_hour.range(hour - 24..hour + 24).map(|(_, count)| count).sum();
    (*peak, f64::from(around) / 48.0)
}

/// `SIMULATED_DOMAINS=1000 make soak` is what `docs/BENCHMARKS.md` tells of.
#[tokio::test]
async fn in_ninety_days_nothing_expires_and_no_limit_is_passed() {
    let domains = std::env::var("CHAOS_SIMULATED_DOMAINS").map_or(24, |n| n.parse().expect("a number"));
    simulate(async |mut world| {
        world.add_domains(domains).await;
        for _ in 0..90 * 24 {
            world.pass(TICK).await;
        }
        let issued = world.ca.issued();
        assert_eq!(expired(&issued, world.clock.now()), BTreeSet::new());
        assert_eq!(world.ca.refusals(), 0, "orders beyond the limits");
        let renewals: Vec<bool> = issued.iter().filter_map(|c| c.renews_in_window).collect();
        assert_eq!(renewals.len(), domains, "each was renewed once");
        assert!(renewals.iter().all(|in_window| *in_window));
        assert_eq!(issued.len(), 2 * domains, "nothing was ordered beside that");
        let (peak, mean) = peak_and_mean(&issued);
        // Of a few, some fall into one hour by chance.
        assert!(
            f64::from(peak) <= (3.0 * mean).max(5.0),
            "{peak} in an hour, {mean} on average"
        );
        let told = format!(
            "{domains} domains: {peak} renewals in the peak hour, {mean:.1} on average in the two days around it\n"
        );
        std::io::stdout().write_all(told.as_bytes()).expect("written");
    })
    .await;
}

#[tokio::test]
async fn many_orders_at_once_stay_within_what_a_ca_allows() {
    simulate(async |mut world| {
        world.add_domains(340).await;
        world.pass(TICK).await;
        assert_eq!(world.ca.refusals(), 0);
        // Of the 68 below one registered domain fifty may be new in a week, of all 300 in three hours.
        let waiting = world.rows().await.into_iter().filter(|row| row.error.is_some()).count();
        assert_eq!(world.ca.issued().len() + waiting, 340);
        assert!(world.ca.issued().len() <= 300);
        for _ in 0..4 {
            world.pass(TICK).await;
        }
        assert_eq!((world.ca.issued().len(), world.ca.refusals()), (322, 0));
    })
    .await;
}

#[tokio::test]
async fn a_ca_that_is_shut_for_a_week_when_renewals_are_due_lets_nothing_expire() {
    simulate(async |mut world| {
        world.add_domains(12).await;
        world.pass(TICK).await;
        world.clock.turn(TimeDelta::days(58));
        world.ca_clock.turn(TimeDelta::days(58));
        world.ca.refuse_until(world.clock.now() + TimeDelta::days(7));
        for _ in 0..10 * 24 {
            world.pass(TICK).await;
        }
        let issued = world.ca.issued();
        assert_eq!(issued.len(), 24, "{:?}", world.rows().await);
        assert_eq!(expired(&issued, world.clock.now()), BTreeSet::new());
    })
    .await;
}

#[tokio::test]
async fn a_ca_with_windows_that_takes_no_note_of_what_is_replaced_renews_all_the_same() {
    simulate(async |mut world| {
        world.ca.ignore_replaces();
        world.add_domains(5).await;
        world.pass(TICK).await;
        for clock in [&world.clock, &world.ca_clock] {
            clock.turn(TimeDelta::days(62));
        }
        world.pass(TICK).await;
        assert_eq!(world.ca.issued().len(), 10, "{:?}", world.rows().await);
    })
    .await;
}

/// F-56: some CAs answer who asks for an order that they forgot without a word.
#[tokio::test]
async fn f56_an_order_that_a_ca_forgot_is_made_anew_at_once() {
    simulate(async |mut world| {
        world.ca.stall(true);
        world.add_domains(1).await;
        world.pass(TICK).await;
        assert_eq!(world.rows().await[0].failures, 1);
        world.ca.stall(false);
        world.ca.forget_orders();
        world.pass(TICK).await;
        assert_eq!(world.ca.issued().len(), 1, "{:?}", world.rows().await);
    })
    .await;
}

/// F-56: of two CAs the one that looked at the name says what is to be mended.
#[tokio::test]
async fn f56_a_ca_that_is_away_does_not_hide_what_the_next_one_says() {
    simulate(async |mut world| {
        world.has_first("https://127.0.0.1:1/directory");
        world.ca.refuse_until(world.clock.now() + TimeDelta::hours(5));
        world.add_domains(1).await;
        world.pass(TICK).await;
        let row = world.rows().await.remove(0);
        assert_eq!(row.error.expect("a reason").code, "ca_rate_limited");
    })
    .await;
}

/// F-56: a CA that says "too many" is believed, and what it says is told.
#[tokio::test]
async fn f56_what_a_ca_says_of_its_limits_is_told_with_the_time_of_the_next_attempt() {
    simulate(async |mut world| {
        let until = world.clock.now() + TimeDelta::hours(5);
        world.ca.refuse_until(until);
        world.add_domains(1).await;
        world.pass(TimeDelta::seconds(10)).await;
        let row = world.rows().await.remove(0);
        let told = row.error.clone().expect("a reason");
        assert_eq!(told.code, "ca_rate_limited", "{told:?}");
        assert!(told.detail.contains("too many new orders"), "{told:?}");
        assert!(row.next_try_at >= Some(until - TimeDelta::seconds(1)), "{row:?}");
        assert!(world.ca.issued().is_empty());
        world.pass(TimeDelta::hours(5)).await;
        assert_eq!(world.ca.issued().len(), 1);
    })
    .await;
}

/// F-57: they come back within the limits, and what has to wait says until when.
#[tokio::test]
async fn f57_certificates_and_accounts_that_are_lost_come_back_by_a_plan_within_the_limits() {
    simulate(async |mut world| {
        world.add_domains(300).await;
        for _ in 0..8 * 24 {
            world.pass(TICK).await;
        }
        assert_eq!(world.ca.issued().len(), 300);
        world.loses_everything().await;
        world.pass(TICK).await;
        // Of the sixty below one registered domain fifty may be had in a week, and ten were had yesterday.
        let now = world.clock.now();
        let rows = world.rows().await;
        let plan: Vec<_> = rows.iter().filter(|row| row.not_after.is_none()).collect();
        assert_eq!((rows.len(), plan.len()), (300, 20));
        for row in plan {
            assert_eq!(
                row.error.as_ref().map(|reason| reason.code.as_str()),
                Some("ca_budget"),
                "{row:?}"
            );
            assert!(
                row.next_try_at
                    .is_some_and(|at| at > now && at < now + TimeDelta::days(8)),
                "{row:?}"
            );
        }
        for _ in 0..8 * 24 {
            world.pass(TICK).await;
        }
        assert!(world.rows().await.iter().all(|row| row.not_after.is_some()));
        assert_eq!(world.ca.refusals(), 0);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_ordered_for_the_platforms_own_name_while_it_is_not_in_dns() {
    simulate(async |mut world| {
        world.records.are_there(false);
        world.answers_at("console.example.org");
        world.pass(TICK).await;
        let row = world.rows().await.remove(0);
        assert_eq!(row.error.expect("a reason").code, "no_such_name");
        world.pass(TICK).await;
        assert!(world.ca.issued().is_empty());
        world.records.are_there(true);
        world.pass(TimeDelta::minutes(6)).await;
        assert_eq!(world.ca.issued().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn somebody_is_told_of_the_platforms_own_certificate_too_and_that_it_is_over() {
    simulate(async |mut world| {
        world.answers_at("console.example.org");
        world.pass(TICK).await;
        assert_eq!(world.ca.issued().len(), 1);
        for clock in [&world.clock, &world.ca_clock] {
            clock.turn(TimeDelta::days(70));
        }
        world.ca.refuse_until(world.clock.now() + TimeDelta::days(5));
        for _ in 0..12 {
            world.pass(TICK).await;
        }
        let alerts = world.alerts().await;
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        assert_eq!(alerts[0].place, None);
        let said = &alerts[0].message;
        assert!(said.contains("console.example.org ends within 21 days"), "{said}");
        assert!(said.contains("too many new orders"), "{said}");
        for _ in 0..7 * 24 {
            world.pass(TICK).await;
        }
        assert_eq!(world.ca.issued().len(), 2);
        assert_eq!(world.alerts().await, []);
    })
    .await;
}

/// F-59: our clock, not the CA's, is wrong.
#[tokio::test]
async fn f59_a_clock_that_jumps_ahead_renews_a_few_and_one_that_jumps_back_nothing() {
    simulate(async |mut world| {
        world.add_domains(60).await;
        world.pass(TICK).await;
        world.clock.turn(TimeDelta::days(40));
        world.ca_clock.turn(TimeDelta::days(40));
        world.pass(TICK).await;
        assert_eq!(world.ca.issued().len(), 60);

        // The CA's day 40 is our day 10: what was got is valid from tomorrow on.
        world.clock.turn(TimeDelta::days(-41));
        world.pass(TICK).await;
        assert_eq!(world.ca.issued().len(), 60, "to order anew does not set a clock");
        world.clock.turn(TimeDelta::days(41));

        world.clock.turn(TimeDelta::days(30));
        world.pass(TICK).await;
        let renewed = world.ca.issued().len() - 60;
        assert!((1..=16).contains(&renewed), "{renewed} at once");
        let reasons: Vec<_> = world.rows().await.into_iter().filter_map(|row| row.error).collect();
        assert_eq!(reasons.len(), 60 - renewed);
        assert!(reasons.iter().all(|reason| reason.code == "clock_wrong"), "{reasons:?}");

        // Set right, all goes on as if nothing had been.
        world.clock.turn(TimeDelta::days(-30));
        for _ in 0..6 {
            world.pass(TICK).await;
        }
        let tomorrow = world.clock.now() + TimeDelta::days(1);
        let waits: Vec<_> = world
            .rows()
            .await
            .into_iter()
            .filter(|row| row.next_try_at > Some(tomorrow))
            .collect();
        assert!(waits.is_empty(), "{waits:?}");
        for clock in [&world.clock, &world.ca_clock] {
            clock.turn(TimeDelta::days(18));
        }
        for _ in 0..6 * 24 - 6 {
            world.pass(TICK).await;
        }
        let issued = world.ca.issued();
        assert_eq!(expired(&issued, world.clock.now()), BTreeSet::new());
        assert_eq!(issued.len(), 120);
        assert_eq!(world.ca.refusals(), 0);
    })
    .await;
}
