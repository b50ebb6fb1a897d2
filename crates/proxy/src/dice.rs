//! Cheap numbers that are different each time, for choices, trace ids and request ids.
//!
//! Promises: no lock and no system call per number. They are well spread but NOT secret: never make a key, token or
//! anything that grants access out of them.

use std::sync::atomic::{AtomicU64, Ordering};

use slipway_domain::clock::Entropy;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// `SplitMix64` over a shared counter, seeded once from real entropy.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn seeded(entropy: &dyn Entropy) -> Self {
        let mut seed = [0_u8; 8];
        entropy.fill(&mut seed);
        Self(AtomicU64::new(u64::from_le_bytes(seed)))
    }

    /// Any number.
    pub(crate) fn roll(&self) -> u64 {
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub(crate) fn below(&self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.roll() % end).unwrap_or(0)
    }
}

impl Entropy for Dice {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.roll().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::FixedEntropy;

    #[test]
    fn numbers_below_a_bound_reach_all_of_them() {
        let dice = Dice::seeded(&FixedEntropy(3));
        let mut seen = [0_u32; 5];
        for _ in 0..500 {
            seen[dice.below(5)] += 1;
        }
        assert!(seen.iter().all(|n| *n > 50), "{seen:?}");
        assert_eq!(dice.below(0), 0);
    }
}
