//! Which `ReadyForQuery` answers which call, and how a call is told in the log. Pure.

use std::collections::VecDeque;

use super::super::control::Arrived;
use super::wire::QUERY;

/// Kinds of messages of one batch that are told.
const KINDS_MAX: usize = 16;
/// Of a query that is told.
const WORDS_CHARS_MAX: usize = 160;

/// Round trips of one connection, in order. Number 0 is the startup, whose end is a `ReadyForQuery` too.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    begun: u64,
    watched: VecDeque<(u64, Arrived)>,
}

/// A round trip whose answer is not passed on, or never will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watched {
    pub(crate) discarded: bool,
}

impl Rounds {
    /// The next round trip begins, and its answer may be watched.
    pub(crate) fn begin(&mut self, watched: Option<Arrived>) {
        self.begun += 1;
        if let Some(arrived) = watched {
            self.watched.push_back((self.begun, arrived));
        }
    }

    /// Whether what the server says now, in this round trip, is to be held back.
    pub(crate) fn watched(&self, round: u64) -> Option<Watched> {
        let (at, arrived) = self.watched.front()?;
        let discarded = arrived.is_discarded();
        (*at == round).then_some(Watched { discarded })
    }

    /// The round trip is over.
    pub(crate) fn end(&mut self, round: u64) -> Option<Arrived> {
        if self.watched.front()?.0 != round {
            return None;
        }
        self.watched.pop_front().map(|(_, arrived)| arrived)
    }
}

/// Messages since the last call.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    kinds: String,
    statement: Option<String>,
}

impl Batch {
    pub(crate) fn add(&mut self, kind: u8) {
        if self.kinds.len() < KINDS_MAX {
            self.kinds.push(char::from(kind));
        }
    }

    /// A statement: its name, and after that its text.
    pub(crate) fn add_parse(&mut self, body: &[u8]) {
        self.add(super::wire::PARSE);
        let text = body.split(|byte| *byte == 0).nth(1).unwrap_or_default();
        self.statement = Some(words(text));
    }

    /// The call that ends the batch, for the log.
    pub(crate) fn told(self, kind: u8, body: &[u8]) -> String {
        if kind == QUERY {
            return words(body.split(|byte| *byte == 0).next().unwrap_or_default());
        }
        let statement = self.statement.map_or_else(String::new, |text| format!(": {text}"));
        format!("Sync after {}{statement}", self.kinds)
    }
}

fn words(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::super::wire::SYNC;
    use super::*;
    use crate::faults::{Control, Fault, Script};

    #[test]
    fn a_call_is_watched_in_its_own_round_trip_and_in_no_other() {
        let control = Control::new(Script::new().onwards(1, Fault::CutAfter));
        let mut rounds = Rounds::default();
        rounds.begin(None);
        rounds.begin(Some(control.arrive("two".into())));
        assert_eq!(rounds.watched(0), None);
        assert!(rounds.end(0).is_none());
        assert_eq!(rounds.watched(1), None);
        assert!(rounds.end(1).is_none());
        assert_eq!(rounds.watched(2), Some(Watched { discarded: true }));
        assert!(rounds.end(2).is_some_and(|arrived| arrived.call().what == "two"));
        assert_eq!(rounds.watched(2), None);
    }

    #[test]
    fn a_call_is_told_by_its_statement() {
        assert_eq!(Batch::default().told(QUERY, b"COMMIT\0"), "COMMIT");
        let mut batch = Batch::default();
        batch.add_parse(b"name\0select 1\n  from t\0\0\0");
        batch.add(b'D');
        assert_eq!(batch.told(SYNC, b""), "Sync after PD: select 1 from t");
        let mut batch = Batch::default();
        for _ in 0..100 {
            batch.add(b'E');
        }
        assert_eq!(batch.told(SYNC, b""), format!("Sync after {}", "E".repeat(KINDS_MAX)));
    }
}
