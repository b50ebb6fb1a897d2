//! What is kept of what is stored: every moment of the last days, and beyond that a copy for each day, week and month.
//!
//! Promises: what is asked to be kept can be restored from what is kept; the newest copy is never given up, however old.

use std::collections::BTreeSet;

use chrono::{Datelike as _, TimeDelta};

use crate::Timestamp;
use crate::backup::{Lsn, StoredCopy};
use crate::ids::{BackupId, SpanId};

/// How long what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Every moment since so long ago.
    pub window: TimeDelta,
    /// The last copy of so many days,
    pub days: usize,
    /// weeks
    pub weeks: usize,
    /// and months that have one.
    pub months: usize,
}

impl Retention {
    /// What is kept where nobody says.
    pub const DEFAULT: Self = Self {
        window: TimeDelta::days(7),
        days: 7,
        weeks: 4,
        months: 12,
    };
}

/// What is kept, and what of the log that takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// The copies.
    pub copies: BTreeSet<BackupId>,
    /// Stretches of the log from one place to another: the last of each has no end.
    pub log: Vec<(SpanId, Lsn, Option<Lsn>)>,
}

impl Kept {
    /// Whether a piece of a log is needed.
    pub fn needs(&self, span: SpanId, (from, to): (Lsn, Lsn)) -> bool {
        let mut of_span = self.log.iter().filter(|(of, _, _)| *of == span);
        of_span.any(|(_, start, end)| to > *start && end.is_none_or(|end| from < end))
    }
}

/// Decides what is kept of copies that are stored, the oldest first.
pub fn kept(copies: &[StoredCopy], policy: Retention, now: Timestamp) -> Kept {
    let Some(newest) = copies.iter().max_by_key(|copy| copy.ended_at) else {
        return Kept::default();
    };
    let begins = now - policy.window;
    // From it on every moment of the window can be had.
    let before = copies.iter().filter(|copy| copy.ended_at <= begins);
    let anchor = before.max_by_key(|copy| copy.ended_at);
    let since = anchor.map_or(begins, |copy| copy.ended_at);
    let in_window: Vec<&StoredCopy> = copies.iter().filter(|copy| copy.ended_at >= since).collect();
    let mut kept: BTreeSet<BackupId> = in_window.iter().map(|copy| copy.id).collect();
    kept.insert(newest.id);
    kept.extend(last_of_each(copies, policy.days, |at| (at.year(), at.ordinal())));
    kept.extend(last_of_each(copies, policy.weeks, |at| {
        (at.iso_week().year(), at.iso_week().week())
    }));
    kept.extend(last_of_each(copies, policy.months, |at| (at.year(), at.month())));
    let mut log = Vec::new();
    for copy in copies.iter().filter(|copy| kept.contains(&copy.id)) {
        let whole = in_window.iter().any(|other| other.id == copy.id) || copy.id == newest.id;
        log.push((copy.span, copy.from, (!whole).then_some(copy.to)));
    }
    Kept { copies: kept, log }
}

/// The last copy of each of the newest periods that have one.
fn last_of_each(copies: &[StoredCopy], periods_max: usize, period: impl Fn(Timestamp) -> (i32, u32)) -> Vec<BackupId> {
    let mut last = std::collections::BTreeMap::new();
    for copy in copies {
        let entry = last.entry(period(copy.ended_at)).or_insert(copy);
        if copy.ended_at >= entry.ended_at {
            *entry = copy;
        }
    }
    last.into_values().rev().take(periods_max).map(|copy| copy.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::{Stretch, Target, choose};
    use crate::clock::testing::{FixedEntropy, at};
    use proptest::prelude::*;

    fn hour(n: i64) -> Timestamp {
        at(n * 3_600_000)
    }

    fn span(n: u8) -> SpanId {
        SpanId::mint(at(0), &FixedEntropy(n))
    }

    /// One copy a day, each a thousand bytes of log after the one before.
    fn daily(days: i64) -> Vec<StoredCopy> {
        let copy = |day: i64| {
            let place = u64::try_from(day).unwrap_or_default() * 1_000 + 100;
            StoredCopy {
                id: BackupId::mint(hour(day * 24), &FixedEntropy(1)),
                span: span(1),
                from: Lsn(place),
                to: Lsn(place + 10),
                ended_at: hour(day * 24),
            }
        };
        (0..days).map(copy).collect()
    }

    fn days_kept(copies: &[StoredCopy], now: Timestamp) -> Vec<i64> {
        let kept = kept(copies, Retention::DEFAULT, now);
        let of = copies.iter().filter(|copy| kept.copies.contains(&copy.id));
        of.map(|copy| (copy.ended_at - hour(0)).num_days()).collect()
    }

    #[test]
    fn a_year_of_copies_is_thinned_out_with_age() {
        // Day 0 is Thursday, January the first of 1970; day 364 the last of December.
        let copies = daily(365);
        let kept = days_kept(&copies, hour(364 * 24 + 1));
        // The window and its anchor; the Sundays of the weeks before; the last days of the months.
        let expected = [
            30, 58, 89, 119, 150, 180, 211, 242, 272, 303, 333, 346, 353, 357, 358, 359, 360, 361, 362, 363, 364,
        ];
        assert_eq!(kept, expected);
    }

    #[test]
    fn the_newest_copy_is_kept_however_old_and_nothing_is_kept_of_nothing() {
        assert_eq!(days_kept(&daily(1), hour(24 * 4_000)), [0]);
        assert_eq!(kept(&[], Retention::DEFAULT, hour(0)), Kept::default());
    }

    #[test]
    fn of_the_log_of_an_old_copy_only_what_belongs_to_it_is_needed() {
        let copies = daily(60);
        let found = kept(&copies, Retention::DEFAULT, hour(59 * 24 + 1));
        let needs = |from, to| found.needs(span(1), (Lsn(from), Lsn(to)));
        assert!(needs(30_100, 30_110), "the last of January");
        assert!(needs(30_000, 30_101) && needs(30_109, 31_000), "what overlaps it");
        assert!(
            !needs(30_110, 31_100) && !needs(31_100, 31_110),
            "a copy that is not kept"
        );
        assert!(
            needs(52_100, 52_110) && needs(55_500, 55_600) && needs(70_000, 80_000),
            "the window"
        );
        assert!(!found.needs(span(2), (Lsn(0), Lsn(u64::MAX))));
    }

    proptest! {
        #[test]
        fn every_moment_of_the_window_can_be_restored_from_what_is_kept(
            days in proptest::collection::btree_set(0_i64..400, 1..60),
            asked_hours in 0_i64..168,
        ) {
            let all = daily(400);
            let copies: Vec<StoredCopy> = days.iter().map(|day| all[usize::try_from(*day).unwrap_or_default()].clone()).collect();
            let now = hour(400 * 24);
            let found = kept(&copies, Retention::DEFAULT, now);
            let left: Vec<StoredCopy> = copies.iter().filter(|copy| found.copies.contains(&copy.id)).cloned().collect();
            let stretch = Stretch { id: span(1), to: Lsn(u64::MAX), covered_at: now };
            let target = Target::At(now - TimeDelta::hours(asked_hours));
            let stretches = [stretch];
            let before = choose(&stretches, &copies, target);
            let after = choose(&stretches, &left, target);
            prop_assert_eq!(before.is_ok(), after.is_ok());
            if let Ok(choice) = after {
                prop_assert!(found.needs(span(1), (choice.copy.from, choice.copy.to)));
                prop_assert!(found.needs(span(1), (choice.copy.to, Lsn(u64::MAX))));
            }
        }
    }
}
