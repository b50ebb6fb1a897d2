//! When a certificate is to be replaced.
//!
//! With the CA's own window where it tells one (RFC 9773 section 4.2: at a random time in it), else with about a third
//! of its life left, spread so that certificates that were issued together are not renewed together.

use chrono::TimeDelta;
use slipway_domain::{Entropy, Timestamp};

/// The CA is asked for its window no more often and no less often than that.
pub(crate) const ARI_MIN: TimeDelta = TimeDelta::hours(1);
pub(crate) const ARI_MAX: TimeDelta = TimeDelta::hours(24);

/// A number from 0 to one billion.
fn dice(entropy: &dyn Entropy) -> i64 {
    let mut bytes = [0_u8; 8];
    entropy.fill(&mut bytes);
    i64::try_from(u64::from_le_bytes(bytes) % 1_000_000_000).unwrap_or(0)
}

fn share(span: TimeDelta, dice: i64) -> TimeDelta {
    let ms = i128::from(span.num_milliseconds()) * i128::from(dice) / 1_000_000_000;
    TimeDelta::milliseconds(i64::try_from(ms).unwrap_or(0))
}

/// So long a certificate is used at least.
const KEPT_MIN: TimeDelta = TimeDelta::hours(6);

/// A certificate that is in use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Got {
    /// Since when.
    pub(crate) at: Timestamp,
    /// From its beginning to its end.
    pub(crate) life: TimeDelta,
}

/// When a CA would have a certificate replaced, and when it wants to be asked again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) again: TimeDelta,
}

impl Window {
    /// The time of the renewal, and the one to ask again: what was planned stays as long as it is in the window, so
    /// that asking often does not draw earlier and earlier times. One that was got just now is kept for a while, whatever
    /// the CA says: else one that has its windows wrong would have each replaced as soon as it is there.
    pub(crate) fn plan(
        self,
        planned: Option<Timestamp>,
        got: Got,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> (Timestamp, Option<Timestamp>) {
        let kept = planned.filter(|at| *at >= self.start && *at <= self.end);
        let renew_at = kept.unwrap_or_else(|| in_window(self.start, self.end, entropy));
        let renew_at = renew_at.max(got.at + (got.life / 6).min(KEPT_MIN));
        (renew_at, Some(now + self.again.clamp(ARI_MIN, ARI_MAX)))
    }
}

/// A time in the window that the CA suggests.
fn in_window(start: Timestamp, end: Timestamp, entropy: &dyn Entropy) -> Timestamp {
    start + share((end - start).max(TimeDelta::zero()), dice(entropy))
}

/// Where the CA suggests nothing: with between a third and 43 % of its life left.
pub(crate) fn by_life(not_before: Timestamp, not_after: Timestamp, entropy: &dyn Entropy) -> Timestamp {
    let life = not_after - not_before;
    not_after - life / 3 - share(life / 10, dice(entropy))
}

/// How long to wait after so many failures in a row: twice as long each time, up to a bound.
pub(crate) fn doubled(first: TimeDelta, failures: u32, max: TimeDelta) -> TimeDelta {
    let factor = 1_i32
        .checked_shl(failures.saturating_sub(1))
        .filter(|factor| *factor > 0);
    factor
        .and_then(|factor| first.checked_mul(factor))
        .map_or(max, |pause| pause.min(max))
}

/// Somewhat more or less, by a tenth.
pub(crate) fn jittered(pause: TimeDelta, entropy: &dyn Entropy) -> TimeDelta {
    pause * 9 / 10 + share(pause / 5, dice(entropy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};

    #[test]
    fn a_renewal_is_in_the_window_or_before_the_last_third() {
        for seed in 0..=255 {
            let entropy = FixedEntropy(seed);
            let at_day = |d: i64| at(d * 86_400_000);
            let within = in_window(at_day(60), at_day(62), &entropy);
            assert!(within >= at_day(60) && within <= at_day(62), "{within}");
            let by_life = by_life(at_day(0), at_day(90), &entropy);
            assert!(by_life >= at_day(51) && by_life <= at_day(60), "{by_life}");
            let jittered = jittered(TimeDelta::seconds(10), &entropy);
            assert!(jittered >= TimeDelta::seconds(9) && jittered <= TimeDelta::seconds(11));
        }
    }

    #[test]
    fn what_was_planned_stays_while_it_is_in_the_window_and_moves_with_it() {
        let window = Window {
            start: at(100),
            end: at(200),
            again: TimeDelta::seconds(1),
        };
        let got = Got {
            at: at(-86_400_000),
            life: TimeDelta::days(1),
        };
        let plan = |planned| window.plan(planned, got, at(0), &FixedEntropy(7)).0;
        assert_eq!(plan(Some(at(100))), at(100));
        assert_eq!(plan(Some(at(200))), at(200));
        for outside in [None, Some(at(99)), Some(at(201))] {
            let drawn = plan(outside);
            assert!(drawn >= at(100) && drawn <= at(200), "{drawn}");
        }
        let again = window.plan(None, got, at(0), &FixedEntropy(7)).1;
        assert_eq!(again, Some(at(0) + ARI_MIN));
    }

    #[test]
    fn a_certificate_that_was_got_just_now_is_kept_for_a_while_whatever_its_ca_says() {
        let past = Window {
            start: at(0),
            end: at(1),
            again: TimeDelta::hours(6),
        };
        let now = at(500_000_000);
        for (life, kept) in [(90, TimeDelta::hours(6)), (1, TimeDelta::hours(4))] {
            let life = TimeDelta::days(life);
            let (renew_at, _) = past.plan(None, Got { at: now, life }, now, &FixedEntropy(7));
            assert_eq!(renew_at, now + kept);
        }
    }

    #[test]
    fn a_window_that_has_no_length_or_ends_before_it_begins_is_its_beginning() {
        assert_eq!(in_window(at(5), at(5), &FixedEntropy(200)), at(5));
        assert_eq!(in_window(at(5), at(4), &FixedEntropy(200)), at(5));
    }
}
