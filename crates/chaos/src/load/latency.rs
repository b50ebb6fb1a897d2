//! How long exchanges took: counts in buckets that are a thirty-second of their value wide, from 1 µs to 71 minutes.
//!
//! Promises: a fixed size whatever the number of samples; a quantile is never below the true one and at most about
//! 3 % above it; the maximum is exact to the microsecond.

use std::fmt;
use std::time::Duration;

/// Bits of a value that are kept below its highest.
const PRECISION_BITS: u32 = 5;
const STEPS: usize = 1 << PRECISION_BITS;
/// Enough for every value of 32 bits.
const BUCKETS: usize = (32 - PRECISION_BITS as usize + 1) * STEPS;

/// A summary of many durations.
#[derive(Clone, PartialEq, Eq)]
pub struct Latency {
    buckets: Vec<u64>,
    count: u64,
    micros_max: u32,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            micros_max: 0,
        }
    }
}

impl Latency {
    /// Adds one. What is longer than the last bucket counts as its end.
    pub fn record(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.micros_max = self.micros_max.max(micros);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Half of them took no longer. Zero if there are none.
    pub fn p50(&self) -> Duration {
        self.quantile(50)
    }

    /// Of a hundred, ninety-nine took no longer. Zero if there are none.
    pub fn p99(&self) -> Duration {
        self.quantile(99)
    }

    /// The longest. Zero if there are none.
    pub fn max(&self) -> Duration {
        Duration::from_micros(u64::from(self.micros_max))
    }

    fn quantile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return Duration::from_micros(end(index)).min(self.max());
            }
        }
        Duration::ZERO
    }
}

/// Small values have a bucket each; of others the highest bits count.
fn bucket(micros: u32) -> usize {
    let shift = micros
        .checked_ilog2()
        .map_or(0, |highest| highest.saturating_sub(PRECISION_BITS));
    shift as usize * STEPS + (micros >> shift) as usize
}

/// The largest value of a bucket.
fn end(index: usize) -> u64 {
    let shift = (index / STEPS).saturating_sub(1);
    let step = (index - shift * STEPS) as u64;
    ((step + 1) << shift) - 1
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latency({self})")
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:?}, p99 {:?}, max {:?}", self.p50(), self.p99(), self.max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_ends_little_above_it() {
        let values = (0..5_000_u32).chain((13..32).map(|bit: u32| (1_u32 << bit) + 12_345 % (1_u32 << bit)));
        for micros in values.chain([u32::MAX]) {
            let end = end(bucket(micros));
            assert!(end >= u64::from(micros), "{micros} ends at {end}");
            assert!(
                end <= u64::from(micros) + u64::from(micros) / 32,
                "{micros} ends at {end}"
            );
        }
        assert_eq!(bucket(u32::MAX), BUCKETS - 1);
    }

    #[test]
    fn buckets_follow_each_other() {
        for index in 1..BUCKETS {
            let first = u32::try_from(end(index - 1) + 1).expect("32 bits");
            assert_eq!(bucket(first), index);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_samples() {
        let mut latency = Latency::default();
        assert_eq!([latency.p50(), latency.p99(), latency.max()], [Duration::ZERO; 3]);
        for micros in 1..=60 {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!(latency.p50(), Duration::from_micros(30));
        assert_eq!(latency.p99(), Duration::from_micros(60));
        latency.record(Duration::from_hours(2));
        assert_eq!(latency.max(), Duration::from_micros(u64::from(u32::MAX)));
        assert_eq!(latency.count(), 61);
    }
}
