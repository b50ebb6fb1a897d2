//! The real time and the real randomness: the only place that asks the machine for either.

use slipway_domain::{Clock, Entropy, Timestamp};

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }
}

/// The kernel's randomness.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // Fails only on a kernel without a random source, where nothing safe can be done.
        getrandom::fill(buffer).unwrap_or_else(|error| panic!("the kernel gives no randomness: {error}"));
    }
}
