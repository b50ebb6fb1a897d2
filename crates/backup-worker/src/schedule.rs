//! When a copy of a whole server is due, without anybody asking for it.

use chrono::TimeDelta;
use slipway_domain::Timestamp;

/// A copy a day: the log that has to be replayed on top of it stays short.
const EVERY: TimeDelta = TimeDelta::hours(24);
/// How long after so many failures in a row it is tried again.
const AGAIN_MINUTES: [i64; 4] = [1, 5, 15, 60];

/// When the next copy is due: at once where a stretch of the log has none, for until then nothing of it is restorable.
pub(crate) fn due_at(last_begun: Option<Timestamp>, now: Timestamp) -> Timestamp {
    last_begun.map_or(now, |last| last + EVERY)
}

/// When it is tried again after failures in a row.
pub(crate) fn again_at(failures: u32, now: Timestamp) -> Timestamp {
    let at = usize::try_from(failures.saturating_sub(1)).unwrap_or(usize::MAX);
    now + TimeDelta::minutes(AGAIN_MINUTES[at.min(AGAIN_MINUTES.len() - 1)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;

    #[test]
    fn a_stretch_without_a_copy_gets_one_at_once_and_then_one_a_day() {
        let now = at(90_000);
        assert_eq!(due_at(None, now), now);
        assert_eq!(due_at(Some(at(1_000)), now), at(1_000) + TimeDelta::days(1));
    }

    #[test]
    fn failures_are_tried_again_less_and_less_often() {
        let minutes = [1, 2, 4, 5, u32::MAX].map(|failures| (again_at(failures, at(0)) - at(0)).num_minutes());
        assert_eq!(minutes, [1, 5, 60, 60, 60]);
    }
}
