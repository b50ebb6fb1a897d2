//! How much an environment has to do, for those who decide how many instances it has; and which are asked to wake.
//!
//! Promises: a request counts from when its environment is known to the end of its answer, waiting and upgraded ones
//! included; what is asked for is asked for until it is told, once however many wait.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::traffic::Load;
use tokio::sync::Notify;

/// Requests in flight, and since when there are none.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    in_flight: AtomicUsize,
    /// In the proxy's uptime.
    ended_ms: AtomicU64,
    /// Of samples since they were last taken.
    sum: AtomicU64,
    samples: AtomicU64,
}

impl Gauge {
    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end(&self, now_ms: u64) {
        self.ended_ms.fetch_max(now_ms, Ordering::SeqCst);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }

    /// One look, for the average.
    pub(crate) fn sample(&self) {
        let now = u64::try_from(self.in_flight.load(Ordering::SeqCst)).unwrap_or(u64::MAX);
        self.sum.fetch_add(now, Ordering::Relaxed);
        self.samples.fetch_add(1, Ordering::Relaxed);
    }

    /// The average of the samples since it was last asked for, and how long it has been quiet.
    pub(crate) fn take(&self, now_ms: u64) -> Load {
        let (sum, samples) = (
            self.sum.swap(0, Ordering::Relaxed),
            self.samples.swap(0, Ordering::Relaxed),
        );
        let quiet_ms = if self.in_flight.load(Ordering::SeqCst) > 0 {
            0
        } else {
            now_ms.saturating_sub(self.ended_ms.load(Ordering::SeqCst))
        };
        Load {
            in_flight_milli: sum.saturating_mul(1000).checked_div(samples).unwrap_or(0),
            quiet_ms,
        }
    }
}

/// Environments that requests wait for, until the control plane was told.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    wanted: Mutex<BTreeSet<EnvironmentId>>,
    changed: Notify,
}

impl Wakes {
    pub(crate) fn ask(&self, id: EnvironmentId) {
        self.wanted.lock().insert(id);
        self.changed.notify_one();
    }

    /// Waits for somebody to ask, and takes all that is asked for.
    pub(crate) async fn taken(&self) -> Vec<EnvironmentId> {
        loop {
            let wanted = std::mem::take(&mut *self.wanted.lock());
            if !wanted.is_empty() {
                return wanted.into_iter().collect();
            }
            self.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_flight_is_told_on_average_and_its_absence_with_its_age() {
        let gauge = Gauge::default();
        assert_eq!(
            gauge.take(5_000),
            Load {
                in_flight_milli: 0,
                quiet_ms: 5_000
            }
        );
        gauge.begin();
        gauge.sample();
        gauge.begin();
        gauge.sample();
        assert_eq!(
            gauge.take(6_000),
            Load {
                in_flight_milli: 1_500,
                quiet_ms: 0
            }
        );
        gauge.end(6_100);
        gauge.end(6_400);
        gauge.sample();
        assert_eq!(
            gauge.take(7_000),
            Load {
                in_flight_milli: 0,
                quiet_ms: 600
            }
        );
    }

    #[tokio::test]
    async fn many_that_ask_for_one_environment_are_told_once() {
        let id = |n: u128| -> EnvironmentId { format!("env_{n:026}").parse().expect("an id") };
        let wakes = Wakes::default();
        for n in [1, 2, 1, 1] {
            wakes.ask(id(n));
        }
        assert_eq!(wakes.taken().await, [id(1), id(2)]);
        wakes.ask(id(3));
        assert_eq!(wakes.taken().await, [id(3)]);
    }
}
