//! What the proxies counted, as they last told it, and the comparison of two releases over the time of a canary's step.
//!
//! Promises: nothing is kept but each proxy's last word; one that is older than [`FRESH`] is no word. A comparison
//! begins with the first word after the step did, so that a process that takes over judges on what it saw itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;
use slipway_domain::Timestamp;
use slipway_domain::ids::{DeploymentId, EnvironmentId, ProxyId};
use slipway_domain::traffic::{Tally, TrafficReport};
use slipway_planner::world::{Sample, Traffic};

/// A report counts for so long.
const FRESH: chrono::TimeDelta = chrono::TimeDelta::seconds(10);
/// At most so many proxies are listened to.
const PROXIES_MAX: usize = 64;

/// Of one environment: by proxy and instance.
type Counts = BTreeMap<(ProxyId, String), Tally>;

/// The last report of each proxy.
#[derive(Debug, Default)]
pub struct TrafficBoard {
    reports: Mutex<HashMap<ProxyId, (Timestamp, TrafficReport)>>,
}

impl TrafficBoard {
    /// Takes a report in place of the proxy's last one.
    pub fn take(&self, report: TrafficReport, now: Timestamp) {
        let mut reports = self.reports.lock();
        reports.retain(|_, (at, _)| now - *at < FRESH);
        if reports.len() < PROXIES_MAX || reports.contains_key(&report.proxy) {
            reports.insert(report.proxy, (now, report));
        }
    }

    /// What is known of an environment.
    pub(crate) fn of(&self, environment: EnvironmentId, now: Timestamp) -> Counts {
        let reports = self.reports.lock();
        let fresh = reports.values().filter(|(at, _)| now - *at < FRESH);
        fresh
            .filter_map(|(_, report)| Some((report.proxy, report.environments.get(&environment)?)))
            .flat_map(|(proxy, tallies)| tallies.iter().map(move |(id, t)| ((proxy, id.clone()), t.clone())))
            .collect()
    }
}

/// The counts that a canary's step began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Baseline {
    deployment: DeploymentId,
    step: u32,
    counts: Counts,
}

/// What the new release and the others did since the step began; `None` while nothing is known.
pub(crate) fn compare(
    baseline: &mut Option<Baseline>,
    (deployment, step): (DeploymentId, u32),
    counts: Counts,
    new: &BTreeSet<String>,
) -> Option<Traffic> {
    if baseline
        .as_ref()
        .is_none_or(|b| (b.deployment, b.step) != (deployment, step))
    {
        *baseline = Some(Baseline {
            deployment,
            step,
            counts: Counts::new(),
        });
    }
    let begun = &mut baseline.as_mut()?.counts;
    if counts.is_empty() {
        return None;
    }
    let (mut of_new, mut of_old) = (Tally::default(), Tally::default());
    for (key, tally) in counts {
        let since = tally.since(begun.entry(key.clone()).or_insert_with(|| tally.clone()));
        let side = if new.contains(&key.1) { &mut of_new } else { &mut of_old };
        side.add(&since);
    }
    // Rounded in the new release's favour: only what is surely slower counts against it.
    let sample = |tally: &Tally, p99_ms: u64| Sample {
        requests: tally.requests,
        failed: tally.failed,
        p99_ms,
    };
    Some(Traffic {
        new: sample(&of_new, of_new.p99_ms().map_or(0, |(low, _)| low)),
        old: sample(&of_old, of_old.p99_ms().map_or(0, |(_, high)| high)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};

    fn report(requests: [u64; 2], failed: u64) -> TrafficReport {
        let tally = |requests, failed| Tally {
            requests,
            failed,
            latency: Vec::new(),
        };
        let instances = [("new", tally(requests[0], failed)), ("old", tally(requests[1], 0))];
        TrafficReport {
            proxy: ProxyId::mint(at(0), &FixedEntropy(1)),
            environments: [(environment(), instances.map(|(id, t)| (id.to_owned(), t)).into())].into(),
        }
    }

    fn environment() -> EnvironmentId {
        EnvironmentId::mint(at(0), &FixedEntropy(1))
    }

    #[test]
    fn a_step_is_judged_by_what_came_after_its_first_report() {
        let board = TrafficBoard::default();
        let deployment = DeploymentId::mint(at(0), &FixedEntropy(1));
        let new: BTreeSet<String> = ["new".to_owned()].into();
        let mut baseline = None;
        let mut seen = |step, now| {
            let counts = board.of(environment(), at(now));
            compare(&mut baseline, (deployment, step), counts, &new)
                .map(|t| (t.new.requests, t.new.failed, t.old.requests))
        };
        assert_eq!(seen(0, 0), None, "nothing was told yet");
        board.take(report([5, 100], 4), at(1_000));
        assert_eq!(seen(0, 1_000), Some((0, 0, 0)));
        board.take(report([25, 300], 5), at(2_000));
        assert_eq!(seen(0, 2_000), Some((20, 1, 200)));
        assert_eq!(seen(1, 2_000), Some((0, 0, 0)), "the next step begins from there");
        assert_eq!(seen(1, 12_000), None, "an old report is no report");
    }
}
