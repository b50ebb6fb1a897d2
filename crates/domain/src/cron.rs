//! When a command of an app is to run by the clock.
//!
//! Five fields (minute, hour, day of month, month, day of week) as in Vixie's cron, with names, steps, lists, `L` and `#`,
//! in a time zone of the IANA database. Where a clock is put forward, what falls into the gap runs when it is over; where
//! it is put back, what has a fixed hour runs once.

use std::fmt;
use std::str::FromStr;

use chrono_tz::Tz;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::clock::Timestamp;

/// The longest text of a schedule.
const TEXT_BYTES_MAX: usize = 100;

/// When, in a time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    zone: Tz,
    cron: Cron,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Eq for Schedule {}

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The text is no schedule.
    #[error(
        "must be five fields (minute, hour, day of month, month, day of week) such as `*/15 * * * *` or `0 3 * * MON`"
    )]
    Text,
    /// There is no such time zone.
    #[error("must be a time zone of the IANA database such as `UTC` or `Europe/Berlin`")]
    Zone,
    /// It never comes.
    #[error("never comes: there is no such day")]
    Never,
}

impl Schedule {
    /// Reads a schedule and its time zone.
    pub fn parse(text: &str, zone: &str) -> Result<Self, ScheduleError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(ScheduleError::Text);
        }
        let zone = Tz::from_str(zone).map_err(|_| ScheduleError::Zone)?;
        let parser = CronParser::builder()
            .seconds(Seconds::Disallowed)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|_| ScheduleError::Text)?;
        let schedule = Self {
            text: text.to_owned(),
            zone,
            cron,
        };
        match schedule.after(Timestamp::default()) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never),
        }
    }

    /// The first time after that one.
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let local = at.with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&local, false).ok()?;
        Some(next.to_utc())
    }

    /// The last time that has come by `until` after that one, and how many there were; looks at no more than `max`.
    pub fn last_between(&self, after: Timestamp, until: Timestamp, max: u32) -> Option<(Timestamp, u32)> {
        let mut last = None;
        let mut at = after;
        for count in 1..=max {
            match self.after(at).filter(|next| *next <= until) {
                Some(next) => (last, at) = (Some((next, count)), next),
                None => break,
            }
        }
        last
    }

    /// The time zone's name.
    pub fn zone(&self) -> &'static str {
        self.zone.name()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(text: &str, zone: &str, after: &str) -> String {
        let schedule = Schedule::parse(text, zone).expect("a schedule");
        let after: Timestamp = after.parse().expect("a time");
        schedule.after(after).expect("a next time").to_rfc3339()
    }

    #[test]
    fn the_next_time_is_that_of_the_time_zone() {
        for (text, zone, after, expected) in [
            (
                "*/15 * * * *",
                "UTC",
                "2026-11-25T10:07:00Z",
                "2026-11-25T10:15:00+00:00",
            ),
            (
                "*/15 * * * *",
                "UTC",
                "2026-11-25T10:15:00Z",
                "2026-11-25T10:30:00+00:00",
            ),
            (
                "0 3 * * MON",
                "Europe/Berlin",
                "2026-11-25T00:00:00Z",
                "2026-11-30T02:00:00+00:00",
            ),
            ("0 0 29 2 *", "UTC", "2026-11-25T00:00:00Z", "2028-02-29T00:00:00+00:00"),
            // The last day of the month, its last Friday, and its second Monday.
            ("0 0 L * *", "UTC", "2026-11-25T00:00:00Z", "2026-11-30T00:00:00+00:00"),
            (
                "0 0 * * FRIL",
                "UTC",
                "2026-11-28T00:00:00Z",
                "2026-12-25T00:00:00+00:00",
            ),
            (
                "0 0 * * MON#2",
                "UTC",
                "2026-11-25T00:00:00Z",
                "2026-12-14T00:00:00+00:00",
            ),
        ] {
            assert_eq!(next(text, zone, after), expected, "{text} in {zone}");
        }
    }

    #[test]
    fn an_hour_that_is_left_out_or_comes_twice_is_met_once() {
        // Clocks in Berlin go from 2:00 to 3:00 on 2026-03-29, and from 3:00 back to 2:00 on 2026-10-25.
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z"),
            "2026-03-29T01:00:00+00:00"
        );
        let first = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z");
        assert_eq!(first, "2026-10-25T00:30:00+00:00");
        assert_eq!(next("30 2 * * *", "Europe/Berlin", &first), "2026-10-26T01:30:00+00:00");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for (text, zone, error) in [
            ("* * * *", "UTC", ScheduleError::Text),
            ("* * * * * *", "UTC", ScheduleError::Text),
            ("61 * * * *", "UTC", ScheduleError::Text),
            ("every day", "UTC", ScheduleError::Text),
            ("* * * * *", "Berlin", ScheduleError::Zone),
            ("0 0 30 2 *", "UTC", ScheduleError::Never),
        ] {
            assert_eq!(Schedule::parse(text, zone).expect_err(text), error, "{text}");
        }
    }

    #[test]
    fn times_that_were_missed_are_counted_up_to_a_bound() {
        let schedule = Schedule::parse("0 * * * *", "UTC").expect("a schedule");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (from, until) = (at("2026-11-25T00:00:00Z"), at("2026-11-25T05:30:00Z"));
        assert_eq!(
            schedule.last_between(from, until, 100),
            Some((at("2026-11-25T05:00:00Z"), 5))
        );
        assert_eq!(
            schedule.last_between(from, until, 2),
            Some((at("2026-11-25T02:00:00Z"), 2))
        );
        assert_eq!(schedule.last_between(until, until, 100), None);
    }
}
