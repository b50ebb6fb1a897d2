//! Strict-Transport-Security (RFC 6797), step by step: what browsers are told they also remember.
//!
//! | step | `max-age` | the next one comes after | and |
//! |---|---|---|---|
//! | five minutes | 300 | a day | a clean renewal |
//! | a day | 86,400 | a week | a clean renewal |
//! | a month | 2,592,000 | a month | a clean renewal |
//! | a year | 31,536,000 | – | – |
//!
//! Promises: no step is taken while a certificate is hard to get; after the last one is taken back, browsers that come by
//! are told to forget for as long as any of them may remember.

use chrono::TimeDelta;

use crate::clock::Timestamp;

/// How long browsers are told to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HstsStep {
    /// Five minutes.
    FiveMinutes,
    /// A day.
    Day,
    /// Thirty days.
    Month,
    /// A year.
    Year,
}

impl HstsStep {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::FiveMinutes, Self::Day, Self::Month, Self::Year];

    /// In seconds, as the header has it.
    pub const fn max_age_seconds(self) -> u32 {
        match self {
            Self::FiveMinutes => 300,
            Self::Day => 86_400,
            Self::Month => 30 * 86_400,
            Self::Year => 365 * 86_400,
        }
    }

    /// The step with this `max-age`.
    pub fn of(seconds: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.max_age_seconds() == seconds)
    }

    /// For so long browsers remember.
    pub fn memory(self) -> TimeDelta {
        TimeDelta::seconds(i64::from(self.max_age_seconds()))
    }

    /// The one after it, and how long this one lasts at least.
    pub const fn next(self) -> Option<(Self, TimeDelta)> {
        match self {
            Self::FiveMinutes => Some((Self::Day, TimeDelta::days(1))),
            Self::Day => Some((Self::Month, TimeDelta::days(7))),
            Self::Month => Some((Self::Year, TimeDelta::days(30))),
            Self::Year => None,
        }
    }
}

/// What browsers are told of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hsts {
    /// How long to remember; `None` while it is off.
    pub step: Option<HstsStep>,
    /// Since when that is so.
    pub since: Option<Timestamp>,
    /// Whether the same holds for every name below.
    pub include_subdomains: bool,
    /// Whether browsers may have it built in.
    pub preload: bool,
    /// Until when a browser may remember what was told before.
    pub remembered_until: Option<Timestamp>,
}

impl Hsts {
    /// The header.
    pub fn header(&self, now: Timestamp) -> Option<String> {
        let Some(step) = self.step else {
            let is_remembered = self.remembered_until.is_some_and(|until| until > now);
            return is_remembered.then(|| "max-age=0".to_owned());
        };
        let mut text = format!("max-age={}", step.max_age_seconds());
        if self.include_subdomains {
            text.push_str("; includeSubDomains");
        }
        if self.preload {
            text.push_str("; preload");
        }
        Some(text)
    }

    /// Until when browsers may remember it, if nobody came by any more.
    pub fn forgotten_at(&self, now: Timestamp) -> Option<Timestamp> {
        let by_now = self.step.map(|step| now + step.memory());
        by_now.max(self.remembered_until).filter(|until| *until > now)
    }

    /// The same, switched off.
    #[must_use]
    pub fn off(self, now: Timestamp) -> Self {
        Self {
            remembered_until: self.forgotten_at(now),
            ..Self::default()
        }
    }

    /// The step to take now, if one is due. `renewed_at` is when the certificate in use was got without a failure.
    pub fn due(&self, renewed_at: Option<Timestamp>, now: Timestamp) -> Option<HstsStep> {
        let (next, least) = self.step?.next()?;
        let since = self.since?;
        let is_clean = renewed_at.is_some_and(|at| at > since);
        (is_clean && now - since >= least).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::at;

    fn day(d: i64) -> Timestamp {
        at(d * 86_400_000)
    }

    fn on(step: HstsStep) -> Hsts {
        Hsts {
            step: Some(step),
            since: Some(day(100)),
            ..Hsts::default()
        }
    }

    #[test]
    fn a_step_is_taken_after_its_time_and_a_clean_renewal_and_not_before() {
        for (step, least, next) in [
            (HstsStep::FiveMinutes, 1, HstsStep::Day),
            (HstsStep::Day, 7, HstsStep::Month),
            (HstsStep::Month, 30, HstsStep::Year),
        ] {
            let hsts = on(step);
            let clean = Some(day(100) + TimeDelta::seconds(1));
            assert_eq!(hsts.due(clean, day(100 + least)), Some(next));
            assert_eq!(hsts.due(clean, day(100 + least) - TimeDelta::seconds(1)), None);
            assert_eq!(hsts.due(Some(day(100)), day(400)), None, "renewed before the step");
            assert_eq!(hsts.due(None, day(400)), None, "the last renewal failed");
        }
        assert_eq!(on(HstsStep::Year).due(Some(day(200)), day(900)), None);
        assert_eq!(Hsts::default().due(Some(day(200)), day(900)), None);
    }

    #[test]
    fn switched_off_it_is_taken_back_for_as_long_as_a_browser_may_remember() {
        let mut hsts = on(HstsStep::Month);
        hsts.include_subdomains = true;
        hsts.preload = true;
        assert_eq!(
            hsts.header(day(101)).as_deref(),
            Some("max-age=2592000; includeSubDomains; preload")
        );
        let off = hsts.off(day(110));
        assert_eq!(off.forgotten_at(day(110)), Some(day(140)));
        assert_eq!(off.header(day(139)).as_deref(), Some("max-age=0"));
        assert_eq!(off.header(day(140)), None);
        // A shorter step after it does not make what is remembered shorter.
        let again = Hsts {
            remembered_until: off.remembered_until,
            ..on(HstsStep::FiveMinutes)
        };
        assert_eq!(again.forgotten_at(day(120)), Some(day(140)));
        assert_eq!(Hsts::default().off(day(1)), Hsts::default());
    }

    #[test]
    fn a_step_is_known_by_its_seconds() {
        for step in HstsStep::ALL {
            assert_eq!(HstsStep::of(step.max_age_seconds()), Some(step));
        }
        assert_eq!(HstsStep::of(1), None);
    }
}
