//! Lines of several sources as one text in the order of time, for the message of a failed run.
//!
//! Promises: the seed comes first; lines of the same instant stay in the order they were given; of too many lines the
//! last ones are shown and the rest is counted.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::faults::Call;
use crate::load::Loss;

/// Lines that are shown.
pub const LINES_MAX: usize = 2_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: DateTime<Utc>,
    /// Who says so.
    pub source: String,
    /// What it was. May have several lines.
    pub text: String,
}

impl Line {
    /// A line of a source.
    pub fn new(at: DateTime<Utc>, source: &str, text: impl Into<String>) -> Self {
        Self {
            at,
            source: source.to_owned(),
            text: text.into(),
        }
    }
}

impl From<&Loss> for Line {
    fn from(loss: &Loss) -> Self {
        Self::new(loss.at, "load", format!("lost: {loss}"))
    }
}

impl From<&Call> for Line {
    fn from(call: &Call) -> Self {
        Self::new(call.at, "calls", call.to_string())
    }
}

/// Renders lines of any order.
pub fn timeline(seed: u64, mut lines: Vec<Line>) -> String {
    lines.sort_by_key(|line| line.at);
    let left_out = lines.len().saturating_sub(LINES_MAX);
    let shown = &lines[left_out..];
    let width = shown.iter().map(|line| line.source.chars().count()).max().unwrap_or(0);
    let mut text = format!("seed {seed}\n");
    // Writing to a string does not fail.
    if left_out > 0 {
        let _ = writeln!(text, "({left_out} earlier lines are left out)");
    }
    for line in shown {
        let at = line.at.to_rfc3339_opts(SecondsFormat::Millis, true);
        let source = &line.source;
        let mut parts = line.text.lines();
        let _ = writeln!(text, "{at} {source:width$} {}", parts.next().unwrap_or(""));
        for part in parts {
            let _ = writeln!(text, "{:indent$} {:width$} {part}", "", "", indent = at.len());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Kind;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(millis).expect("in range")
    }

    #[test]
    fn lines_of_all_sources_are_in_order_below_the_seed() {
        let loss = Loss {
            at: at(2_000),
            kind: Kind::Http1,
            id: "7-0-1".into(),
            reason: "status 503".into(),
        };
        let lines = vec![
            Line::new(at(3_000), "log", "first\nsecond"),
            Line::from(&loss),
            Line::new(at(1_000), "test", "kill -9"),
            Line::new(at(3_000), "test", "after it"),
        ];
        let text = timeline(42, lines);
        let expected = "\
seed 42
1970-01-01T00:00:01.000Z test kill -9
1970-01-01T00:00:02.000Z load lost: http/1.1 7-0-1: status 503
1970-01-01T00:00:03.000Z log  first
                              second
1970-01-01T00:00:03.000Z test after it
";
        assert_eq!(text, expected);
    }

    #[test]
    fn of_too_many_lines_the_last_are_shown() {
        let count = i64::try_from(LINES_MAX).expect("small") + 2;
        let lines = (0..count).map(|n| Line::new(at(n), "test", format!("line {n}.")));
        let text = timeline(1, lines.collect());
        assert!(text.starts_with("seed 1\n(2 earlier lines are left out)\n"), "{text}");
        assert!(!text.contains("line 1.") && text.contains("line 2."));
    }
}
