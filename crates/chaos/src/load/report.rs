//! What a load found: counts, losses with their reasons, latencies.
//!
//! Promises: plain data of a bounded size; after a load has stopped, what was sent is what was answered and what was
//! lost.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

use super::Kind;
use super::latency::Latency;

/// Losses that are kept with their reasons. All are counted.
pub const LOSSES_KEPT_MAX: usize = 100;
/// Releases that are told apart; the answers of any more are counted together.
pub const RELEASES_MAX: usize = 1_000;
/// Losses that [`Report`] shows to people.
const LOSSES_SHOWN_MAX: usize = 10;
/// Where the answers of releases beyond [`RELEASES_MAX`] are counted.
const OTHERS: &str = "(others)";

/// An exchange that did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// When that was clear.
    pub at: DateTime<Utc>,
    /// Of what kind it was.
    pub kind: Kind,
    /// The id it had.
    pub id: String,
    /// What went wrong.
    pub reason: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.id, self.reason)
    }
}

/// Counts while a load is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Begun.
    pub sent: u64,
    /// Ended with the right answer.
    pub answered: u64,
    /// Sent once more, as is allowed.
    pub resent: u64,
    /// Ended in any other way.
    pub lost: u64,
    /// Never begun: too many were under way.
    pub unsent: u64,
}

/// What a load found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What the load was started with.
    pub seed: u64,
    /// Exchanges begun.
    pub sent: u64,
    /// Exchanges that ended with the right answer.
    pub answered: u64,
    /// Exchanges that were begun a second time: the connection had been closed between two of them.
    pub resent: u64,
    /// Sockets that had been closed between two messages and were opened anew.
    pub reopened: u64,
    /// The first losses, at most [`LOSSES_KEPT_MAX`].
    pub lost: Vec<Loss>,
    /// All losses.
    pub lost_count: u64,
    /// Arrivals that found too many exchanges under way. Unless it is zero, the measurement has failed.
    pub unsent: u64,
    /// Answers by the release that gave them, where the answer says so.
    pub by_release: BTreeMap<String, u64>,
    /// How long the answered ones took, from the instant they were due.
    pub latency: Latency,
    /// The same for each kind.
    pub latency_by_kind: BTreeMap<Kind, Latency>,
}

impl Report {
    pub(crate) fn so_far(&self) -> SoFar {
        SoFar {
            sent: self.sent,
            answered: self.answered,
            resent: self.resent,
            lost: self.lost_count,
            unsent: self.unsent,
        }
    }

    pub(crate) fn add_loss(&mut self, loss: Loss) {
        self.lost_count += 1;
        if self.lost.len() < LOSSES_KEPT_MAX {
            self.lost.push(loss);
        }
    }

    pub(crate) fn add_release(&mut self, release: String) {
        let known = self.by_release.len() < RELEASES_MAX || self.by_release.contains_key(&release);
        let place = if known { release } else { OTHERS.to_owned() };
        *self.by_release.entry(place).or_default() += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} sent, {} answered, {} lost, {} unsent, {} resent, {} sockets reopened",
            self.seed, self.sent, self.answered, self.lost_count, self.unsent, self.resent, self.reopened
        )?;
        writeln!(f, "latency: {}", self.latency)?;
        for (kind, latency) in &self.latency_by_kind {
            writeln!(f, "  {kind}: {} answered, {latency}", latency.count())?;
        }
        for (release, count) in &self.by_release {
            writeln!(f, "release {release}: {count} answers")?;
        }
        for loss in self.lost.iter().take(LOSSES_SHOWN_MAX) {
            let at = loss.at.to_rfc3339_opts(SecondsFormat::Millis, true);
            writeln!(f, "lost at {at}: {loss}")?;
        }
        let shown = self.lost.len().min(LOSSES_SHOWN_MAX) as u64;
        if self.lost_count > shown {
            writeln!(f, "and {} more losses", self.lost_count - shown)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(id: &str) -> Loss {
        Loss {
            at: DateTime::UNIX_EPOCH,
            kind: Kind::Http2,
            id: id.into(),
            reason: "status 503 Service Unavailable".into(),
        }
    }

    #[test]
    fn all_losses_are_counted_and_the_first_ones_kept() {
        let mut report = Report::default();
        for n in 0..LOSSES_KEPT_MAX + 5 {
            report.add_loss(loss(&n.to_string()));
        }
        assert_eq!(report.lost_count, 105);
        assert_eq!((report.lost.len(), report.lost[99].id.as_str()), (100, "99"));
    }

    #[test]
    fn a_flood_of_releases_does_not_grow_the_report() {
        let mut report = Report::default();
        for n in 0..RELEASES_MAX + 5 {
            report.add_release(n.to_string());
        }
        report.add_release("7".into());
        assert_eq!(report.by_release.len(), RELEASES_MAX + 1);
        assert_eq!((report.by_release["7"], report.by_release[OTHERS]), (2, 5));
    }

    #[test]
    fn people_see_the_seed_the_counts_and_what_was_lost() {
        let mut report = Report {
            seed: 42,
            sent: 13,
            answered: 1,
            ..Report::default()
        };
        for n in 0..12 {
            report.add_loss(loss(&format!("a-{n}")));
        }
        let text = report.to_string();
        assert!(
            text.starts_with("seed 42: 13 sent, 1 answered, 12 lost, 0 unsent"),
            "{text}"
        );
        assert!(text.contains("http/2 a-9: status 503"), "{text}");
        assert!(text.contains("and 2 more losses") && !text.contains("a-10"), "{text}");
    }
}
