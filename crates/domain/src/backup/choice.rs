//! What a restore is made from: which copy, and how much of the log.
//!
//! Promises: nothing is chosen that passes over a hole; a moment that cannot be had is refused with those that can.

use chrono::{SecondsFormat, TimeDelta};

use crate::Timestamp;
use crate::backup::Lsn;
use crate::ids::{BackupId, SpanId};

/// Clocks of commits and of what carries them differ by less than that.
const SLACK: TimeDelta = TimeDelta::seconds(2);

/// A stretch of a log that is stored without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// Which.
    pub id: SpanId,
    /// Up to here.
    pub to: Lsn,
    /// What was committed before is stored.
    pub covered_at: Timestamp,
}

/// A copy of the whole that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCopy {
    /// Which.
    pub id: BackupId,
    /// The stretch that it belongs to.
    pub span: SpanId,
    /// The log is needed from here on,
    pub from: Lsn,
    /// and at least up to here.
    pub to: Lsn,
    /// From this moment on it can be restored.
    pub ended_at: Timestamp,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// All there is.
    Latest,
    /// As it was at a moment: what was committed until then.
    At(Timestamp),
    /// As it was when a copy was made.
    Copy(BackupId),
}

/// What it is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The copy.
    pub copy: StoredCopy,
    /// The stretch of the log.
    pub stretch: Stretch,
    /// The moment that the log is replayed to; all of what is given, if there is none.
    pub until: Option<Timestamp>,
}

/// Moments that can be restored, the oldest first.
pub fn windows(stretches: &[Stretch], copies: &[StoredCopy]) -> Vec<(Timestamp, Timestamp)> {
    let window = |stretch: &Stretch| {
        let usable = copies.iter().filter(|copy| is_usable(copy, stretch));
        let from = usable.map(|copy| copy.ended_at).min()?;
        // Nothing was committed between the end of a copy and what is stored of the log.
        Some((from, stretch.covered_at.max(from)))
    };
    stretches.iter().filter_map(window).collect()
}

fn is_usable(copy: &StoredCopy, stretch: &Stretch) -> bool {
    copy.span == stretch.id && copy.to <= stretch.to
}

/// Chooses, or says why it cannot be had and what can.
pub fn choose(stretches: &[Stretch], copies: &[StoredCopy], target: Target) -> Result<Choice, String> {
    let usable = |stretch: &Stretch, until: Option<Timestamp>| {
        let of_stretch = copies.iter().filter(|copy| is_usable(copy, stretch));
        let in_time = of_stretch.filter(|copy| until.is_none_or(|until| copy.ended_at <= until));
        in_time.max_by_key(|copy| copy.ended_at).cloned()
    };
    let of = |stretch: &Stretch, copy: StoredCopy, until| Choice {
        copy,
        stretch: stretch.clone(),
        until,
    };
    let found = match target {
        Target::Latest => {
            let newest = stretches.iter().rev();
            newest
                .clone()
                .find_map(|stretch| Some(of(stretch, usable(stretch, None)?, None)))
        }
        Target::Copy(id) => stretches.iter().find_map(|stretch| {
            let copy = copies.iter().find(|copy| copy.id == id && is_usable(copy, stretch))?;
            // Up to its own end.
            let own = Stretch {
                to: copy.to,
                ..stretch.clone()
            };
            Some(of(&own, copy.clone(), None))
        }),
        Target::At(at) => {
            let newest = stretches
                .iter()
                .rev()
                .filter(|stretch| at <= stretch.covered_at + SLACK);
            newest
                .clone()
                .find_map(|stretch| Some(of(stretch, usable(stretch, Some(at))?, Some(at))))
        }
    };
    found.ok_or_else(|| refused(&windows(stretches, copies), target))
}

fn refused(windows: &[(Timestamp, Timestamp)], target: Target) -> String {
    let told = |at: &Timestamp| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let listed: Vec<String> = windows
        .iter()
        .map(|(from, to)| format!("{} to {}", told(from), told(to)))
        .collect();
    let can = if listed.is_empty() {
        "No moment can be restored yet: no copy is stored.".to_owned()
    } else {
        format!("These can: {}.", listed.join(", "))
    };
    match target {
        Target::Latest => can,
        Target::Copy(id) => format!("There is no copy {id} that is stored. {can}"),
        Target::At(at) => format!("What it was at {} cannot be restored. {can}", told(&at)),
    }
}

/// How far the log is needed for a moment: up to the end of the first piece that was sent after it.
pub fn needed_to(pieces: impl IntoIterator<Item = (Lsn, Timestamp)>, choice: &Choice) -> Lsn {
    let Some(until) = choice.until else {
        return choice.stretch.to;
    };
    let after = pieces
        .into_iter()
        .find(|(to, last_at)| *last_at >= until + SLACK && *to >= choice.copy.to);
    after.map_or(choice.stretch.to, |(to, _)| to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::{FixedEntropy, at};

    fn minute(n: i64) -> Timestamp {
        at(n * 60_000)
    }

    fn span(n: u8) -> SpanId {
        SpanId::mint(at(0), &FixedEntropy(n))
    }

    fn backup(n: u8) -> BackupId {
        BackupId::mint(at(0), &FixedEntropy(n))
    }

    fn stretch(n: u8, to: u64, covered: i64) -> Stretch {
        Stretch {
            id: span(n),
            to: Lsn(to),
            covered_at: minute(covered),
        }
    }

    fn copy(n: u8, of: u8, to: u64, ended: i64) -> StoredCopy {
        StoredCopy {
            id: backup(n),
            span: span(of),
            from: Lsn(to - 10),
            to: Lsn(to),
            ended_at: minute(ended),
        }
    }

    /// Two stretches with a hole between minute 60 and 80.
    fn world() -> (Vec<Stretch>, Vec<StoredCopy>) {
        let stretches = vec![stretch(1, 1_000, 60), stretch(2, 900, 100)];
        let copies = vec![
            copy(1, 1, 100, 10),
            copy(2, 1, 500, 40),
            copy(3, 2, 700, 80),
            copy(4, 2, 950, 95),
        ];
        (stretches, copies)
    }

    fn chosen(target: Target) -> Result<(BackupId, SpanId, Option<Timestamp>), String> {
        let (stretches, copies) = world();
        choose(&stretches, &copies, target).map(|c| (c.copy.id, c.stretch.id, c.until))
    }

    #[test]
    fn the_last_copy_before_a_moment_is_taken_in_the_stretch_that_covers_it() {
        assert_eq!(
            chosen(Target::At(minute(20))),
            Ok((backup(1), span(1), Some(minute(20))))
        );
        assert_eq!(
            chosen(Target::At(minute(60))),
            Ok((backup(2), span(1), Some(minute(60))))
        );
        assert_eq!(
            chosen(Target::At(minute(99))),
            Ok((backup(3), span(2), Some(minute(99))))
        );
        // The log that belongs to the fourth is not stored yet.
        assert_eq!(chosen(Target::Latest), Ok((backup(3), span(2), None)));
        assert_eq!(chosen(Target::Copy(backup(1))), Ok((backup(1), span(1), None)));
    }

    #[test]
    fn what_cannot_be_had_is_refused_with_what_can() {
        for target in [
            Target::At(minute(9)),
            Target::At(minute(70)),
            Target::At(minute(101)),
            Target::Copy(backup(4)),
            Target::Copy(backup(9)),
        ] {
            let refused = chosen(target).expect_err("refused");
            assert!(
                refused.contains("1970-01-01T00:10:00Z to 1970-01-01T01:00:00Z, 1970-01-01T01:20:00Z to"),
                "{refused}"
            );
        }
        let nothing = choose(&[stretch(1, 5, 5)], &[], Target::Latest).expect_err("refused");
        assert!(nothing.contains("no copy is stored"), "{nothing}");
    }

    #[test]
    fn no_more_of_the_log_is_needed_than_up_to_what_came_after_the_moment() {
        let (stretches, copies) = world();
        let choice = |target| choose(&stretches, &copies, target).expect("chosen");
        let pieces = [
            (Lsn(100), minute(10)),
            (Lsn(550), minute(45)),
            (Lsn(700), minute(50)),
            (Lsn(1_000), minute(60)),
        ];
        assert_eq!(needed_to(pieces, &choice(Target::At(minute(46)))), Lsn(700));
        assert_eq!(needed_to(pieces, &choice(Target::At(minute(60)))), Lsn(1_000));
        // What belongs to the copy itself is always needed.
        assert_eq!(needed_to(pieces, &choice(Target::At(minute(41)))), Lsn(550));
        assert_eq!(needed_to(pieces, &choice(Target::Latest)), Lsn(900));
        assert_eq!(needed_to(pieces, &choice(Target::Copy(backup(1)))), Lsn(100));
    }
}
