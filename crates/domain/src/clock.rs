//! Time and randomness as arguments: the real ones live in `server`, the fixed ones in tests.

/// A moment in UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

/// Where the present moment comes from.
pub trait Clock: Send + Sync + 'static {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// Where unpredictable bytes come from.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the buffer with bytes nobody can guess.
    fn fill(&self, buffer: &mut [u8]);
}

/// Fixed time and randomness for tests of this and other crates.
pub mod testing {
    use super::{Clock, Entropy, Timestamp};

    /// So many milliseconds after the Unix epoch.
    pub fn at(millis: i64) -> Timestamp {
        Timestamp::from_timestamp_millis(millis).unwrap_or_default()
    }

    /// A clock that stands still.
    #[derive(Debug, Clone, Copy)]
    pub struct FixedClock(pub Timestamp);

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    /// "Random" bytes that are all the same.
    #[derive(Debug, Clone, Copy)]
    pub struct FixedEntropy(pub u8);

    impl Entropy for FixedEntropy {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0);
        }
    }
}
