//! What proxies count of each instance, and how two counts are compared.
//!
//! Promises: counts only grow while a proxy runs; a difference is taken between two counts of the same proxy, and one
//! that went down (the proxy was started anew) counts from nothing. Latencies go into buckets that are a fifth apart, so
//! a quantile is known between two bounds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{EnvironmentId, ProxyId};

/// Buckets of latencies: the first ends at 1 ms, each further one a fifth later, the last holds everything above 80 s.
pub const BUCKETS: usize = 64;

/// The upper bound of a bucket in microseconds.
fn bound_us(bucket: usize) -> u64 {
    (0..bucket).fold(1_000, |bound, _| bound + bound / 5)
}

/// The bucket of a latency.
pub fn bucket_of(micros: u64) -> usize {
    let mut bound = 1_000;
    for bucket in 0..BUCKETS - 1 {
        if micros <= bound {
            return bucket;
        }
        bound += bound / 5;
    }
    BUCKETS - 1
}

/// What a proxy counted of one instance since it first sent it a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Requests that were answered or could not be.
    pub requests: u64,
    /// Those answered with a 5xx status, not at all, or not to the end through the app's fault.
    pub failed: u64,
    /// Times to the first byte of the answer, by bucket; trailing zeros may be missing.
    pub latency: Vec<u64>,
}

impl Tally {
    /// What came after an earlier count of the same instance by the same proxy.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        if before.requests > self.requests {
            return self.clone();
        }
        let earlier = |i: usize| before.latency.get(i).copied().unwrap_or(0);
        Self {
            requests: self.requests - before.requests,
            failed: self.failed.saturating_sub(before.failed),
            latency: self
                .latency
                .iter()
                .enumerate()
                .map(|(i, n)| n.saturating_sub(earlier(i)))
                .collect(),
        }
    }

    /// Adds the count of another instance or proxy.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        if self.latency.len() < other.latency.len() {
            self.latency.resize(other.latency.len().min(BUCKETS), 0);
        }
        for (mine, theirs) in self.latency.iter_mut().zip(&other.latency) {
            *mine += theirs;
        }
    }

    /// Between which bounds, in milliseconds, the 99th percentile of the latencies lies; nothing without any.
    pub fn p99_ms(&self) -> Option<(u64, u64)> {
        let all: u64 = self.latency.iter().sum();
        let rank = all - all / 100;
        let mut below = 0;
        let bucket = self.latency.iter().position(|n| {
            below += n;
            below >= rank && rank > 0
        })?;
        let low = if bucket == 0 { 0 } else { bound_us(bucket - 1) };
        Some((low / 1_000, bound_us(bucket).div_ceil(1_000)))
    }
}

/// How much one proxy has to do for an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Requests in flight, in thousandths, on average since the last report; connections that were upgraded count too.
    pub in_flight_milli: u64,
    /// Since when, in milliseconds, no request was in flight; 0 while one is.
    pub quiet_ms: u64,
}

/// What a proxy counted of the instances of some environments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReport {
    /// Who.
    pub proxy: ProxyId,
    /// By environment, and in it by the engine's container id. Only environments in which releases are compared.
    pub environments: BTreeMap<EnvironmentId, BTreeMap<String, Tally>>,
    /// By environment, of those whose number of instances follows the requests.
    #[serde(default)]
    pub load: BTreeMap<EnvironmentId, Load>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(latencies_ms: &[u64]) -> Tally {
        let mut tally = Tally {
            latency: vec![0; BUCKETS],
            ..Tally::default()
        };
        for ms in latencies_ms {
            tally.requests += 1;
            tally.latency[bucket_of(ms * 1_000)] += 1;
        }
        tally
    }

    #[test]
    fn a_latency_lies_within_the_bounds_of_its_bucket() {
        for ms in [0, 1, 2, 10, 99, 1_000, 59_000] {
            let (low, high) = tally(&[ms]).p99_ms().expect("one latency");
            assert!(low <= ms && ms <= high, "{low} <= {ms} <= {high}");
            assert!(
                high <= low + 3 || (high - low) * 4 <= high,
                "{low} to {high} is too wide"
            );
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_99th_percentile_leaves_one_in_a_hundred_above_it() {
        let mut all = vec![10; 99];
        all.push(5_000);
        assert!(tally(&all).p99_ms().expect("some").1 < 20);
        all.push(5_000);
        assert!(tally(&all).p99_ms().expect("some").0 > 4_000);
        assert_eq!(Tally::default().p99_ms(), None);
    }

    #[test]
    fn a_difference_counts_what_came_after_and_all_of_a_proxy_that_began_anew() {
        let (before, after) = (tally(&[10, 10]), tally(&[10, 10, 500]));
        assert_eq!(after.since(&before).requests, 1);
        assert!(after.since(&before).p99_ms().expect("one").0 > 300);
        assert_eq!(before.since(&after), before);
        let mut both = before.clone();
        both.add(&after);
        assert_eq!((both.requests, both.latency.iter().sum::<u64>()), (5, 5));
    }
}
