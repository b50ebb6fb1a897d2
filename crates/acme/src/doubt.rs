//! Whether the clock of this machine can be believed.
//!
//! What a CA has just issued tells what time it is there. A clock that is days ahead makes all renewals due at once; so
//! while the two disagree renewals are put off by an hour, and a few of them see whether they still do.

use std::sync::Mutex;

use chrono::{SecondsFormat, TimeDelta};
use slipway_domain::Timestamp;
use slipway_domain::domains::Reason;

/// CAs date certificates back, by less than that.
const TOLERATED: TimeDelta = TimeDelta::days(2);
/// So long renewals are put off.
pub(crate) const PUT_OFF: TimeDelta = TimeDelta::hours(1);

/// What is known of the clock.
#[derive(Debug, Default)]
pub struct ClockDoubt(Mutex<Option<Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    here: Timestamp,
    there: Timestamp,
}

impl ClockDoubt {
    /// A certificate that was issued just now is valid from a time.
    pub(crate) fn issued(&self, now: Timestamp, not_before: Timestamp) {
        let differs = (now - not_before).abs() > TOLERATED;
        let seen = Seen {
            here: now,
            there: not_before,
        };
        if let Ok(mut doubt) = self.0.lock() {
            *doubt = differs.then_some(seen);
        }
        if differs {
            tracing::error!(here = %now, there = %not_before, "clock.wrong: renewals are put off, set the clock");
        }
    }

    /// Why renewals are put off, if they are.
    pub(crate) fn reason(&self, now: Timestamp) -> Option<Reason> {
        let seen = (*self.0.lock().ok()?)?;
        // A clock that was set back since is another one.
        let is_recent = seen.here <= now && now < seen.here + PUT_OFF;
        let time = |t: Timestamp| t.to_rfc3339_opts(SecondsFormat::Secs, true);
        is_recent.then(|| Reason {
            code: "clock_wrong".into(),
            detail: format!(
                "This machine's clock said {} when a CA issued a certificate that is valid from {}.",
                time(seen.here),
                time(seen.there)
            ),
            hint: "Set the clock, best by NTP. Renewals go on slowly meanwhile.".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;

    #[test]
    fn a_clock_that_differs_from_the_cas_by_days_is_doubted_for_an_hour_or_until_it_is_set() {
        let hour = |h: i64| at(h * 3_600_000);
        let doubt = ClockDoubt::default();
        for backdated in [0, 1, 47, -47] {
            doubt.issued(hour(1000), hour(1000 - backdated));
            assert!(doubt.reason(hour(1000)).is_none(), "{backdated} hours");
        }
        for wrong in [49, 720, -49] {
            doubt.issued(hour(1000), hour(1000 - wrong));
            assert!(doubt.reason(hour(1000)).is_some(), "{wrong} hours");
        }
        assert!(doubt.reason(hour(1001)).is_none(), "a few may see again");
        assert!(doubt.reason(hour(999)).is_none(), "the clock was set back");
        doubt.issued(hour(1000), hour(1000));
        assert!(doubt.reason(hour(1000)).is_none(), "they agree again");
    }
}
