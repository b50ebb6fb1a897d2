//! What the proxies counted, as they last told it, and the comparison of two releases over the time of a canary's step.
//!
//! Promises: nothing is kept but each proxy's last word, and its last minute of what is in flight; a word that is older than [`FRESH`] is no word. A comparison
//! begins with the first word after the step did, so that a process that takes over judges on what it saw itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use parking_lot::Mutex;
use slipway_domain::Timestamp;
use slipway_domain::ids::{DeploymentId, EnvironmentId, ProxyId};
use slipway_domain::traffic::{Load as Told, Tally, TrafficReport};
use slipway_planner::autoscale::{PANIC_WINDOW, STABLE_WINDOW};
use slipway_planner::world::{Load, Sample, Traffic};

/// A report counts for so long.
const FRESH: chrono::TimeDelta = chrono::TimeDelta::seconds(10);
/// At most so many proxies are listened to.
const PROXIES_MAX: usize = 64;

/// Of one environment: by proxy and instance.
type Counts = BTreeMap<(ProxyId, String), Tally>;

/// What a proxy told of an environment's load, oldest first.
type History = VecDeque<(Timestamp, Told)>;

/// The last report of each proxy, and what it told of the load over the last minute.
#[derive(Debug, Default)]
pub struct TrafficBoard {
    reports: Mutex<HashMap<ProxyId, (Timestamp, TrafficReport)>>,
    loads: Mutex<HashMap<EnvironmentId, BTreeMap<ProxyId, History>>>,
}

impl TrafficBoard {
    /// Takes a report in place of the proxy's last one.
    pub fn take(&self, report: TrafficReport, now: Timestamp) {
        self.note_load(&report, now);
        let mut reports = self.reports.lock();
        reports.retain(|_, (at, _)| now - *at < FRESH);
        if reports.len() < PROXIES_MAX || reports.contains_key(&report.proxy) {
            reports.insert(report.proxy, (now, report));
        }
    }

    fn note_load(&self, report: &TrafficReport, now: Timestamp) {
        let mut loads = self.loads.lock();
        for (environment, load) in &report.load {
            let proxies = loads.entry(*environment).or_default();
            if proxies.len() >= PROXIES_MAX && !proxies.contains_key(&report.proxy) {
                continue;
            }
            let history = proxies.entry(report.proxy).or_default();
            history.push_back((now, *load));
            while history.front().is_some_and(|(at, _)| *at <= now - STABLE_WINDOW) {
                history.pop_front();
            }
        }
        loads.retain(|_, proxies| {
            proxies.retain(|_, history| history.back().is_some_and(|(at, _)| now - *at < FRESH));
            !proxies.is_empty()
        });
    }

    /// How much all these proxies have to do for an environment; `None` unless each has told it a moment ago.
    pub(crate) fn load(&self, environment: EnvironmentId, proxies: &[ProxyId], now: Timestamp) -> Option<Load> {
        let loads = self.loads.lock();
        let told = loads.get(&environment)?;
        let known = proxies.iter().map(|proxy| told.get(proxy));
        let histories = known.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty())?;
        together(&histories, now)
    }

    /// What the proxies that told anything say of every environment they told it of: enough for a second look.
    pub(crate) fn loads(&self, now: Timestamp) -> Vec<(EnvironmentId, Load)> {
        let loads = self.loads.lock();
        let all = loads.iter();
        all.filter_map(|(id, told)| Some((*id, together(&told.values().collect::<Vec<_>>(), now)?)))
            .collect()
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

/// The load of all proxies together. What a window lacks at its beginning counts as quiet.
fn together(histories: &[&History], now: Timestamp) -> Option<Load> {
    let mut all = Load {
        stable_milli: 0,
        panic_milli: 0,
        quiet: chrono::TimeDelta::MAX,
    };
    for history in histories {
        let (_, last) = history.back().filter(|(at, _)| now - *at < FRESH)?;
        let average = |window: chrono::TimeDelta| {
            let within = history.iter().filter(|(at, _)| *at > now - window);
            let (sum, count) = within.fold((0, 0), |(sum, count), (_, load)| {
                (sum + load.in_flight_milli, count + 1)
            });
            let wanted = u64::try_from(window.num_seconds()).unwrap_or(1);
            sum / wanted.max(count).max(1)
        };
        all.stable_milli += average(STABLE_WINDOW);
        all.panic_milli += average(PANIC_WINDOW);
        let quiet = i64::try_from(last.quiet_ms).unwrap_or(i64::MAX / 4);
        // Nothing is known of the time since the report.
        all.quiet = all
            .quiet
            .min(chrono::TimeDelta::milliseconds(quiet).max(chrono::TimeDelta::zero()));
    }
    Some(all)
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
            load: BTreeMap::new(),
        }
    }

    fn environment() -> EnvironmentId {
        EnvironmentId::mint(at(0), &FixedEntropy(1))
    }

    #[test]
    fn a_load_is_known_when_every_proxy_has_told_it_a_moment_ago() {
        let board = TrafficBoard::default();
        let proxy = |n| ProxyId::mint(at(0), &FixedEntropy(n));
        let tell = |n, second: i64, in_flight: u64, quiet_ms| {
            let load = Told {
                in_flight_milli: in_flight * 1000,
                quiet_ms,
            };
            let report = TrafficReport {
                proxy: proxy(n),
                environments: BTreeMap::new(),
                load: [(environment(), load)].into(),
            };
            board.take(report, at(second * 1000));
        };
        for second in 1..=60 {
            tell(1, second, if second > 54 { 60 } else { 0 }, 0);
        }
        let known = |proxies: &[ProxyId], second: i64| board.load(environment(), proxies, at(second * 1000));
        let load = known(&[proxy(1)], 60).expect("known");
        assert_eq!((load.stable_milli, load.panic_milli), (6_000, 60_000));
        assert_eq!(known(&[proxy(1), proxy(2)], 60), None, "the other has told nothing");
        assert_eq!(known(&[], 60), None, "nobody is there to tell");
        tell(2, 60, 0, 5_000);
        let both = known(&[proxy(1), proxy(2)], 60).expect("known");
        assert_eq!((both.stable_milli, both.quiet.num_seconds()), (6_000, 0));
        assert_eq!(known(&[proxy(2)], 60).expect("known").quiet.num_seconds(), 5);
        assert_eq!(known(&[proxy(2)], 70), None, "that was too long ago");
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
