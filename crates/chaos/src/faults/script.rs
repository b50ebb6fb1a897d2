//! What happens to which call.

use std::collections::BTreeMap;
use std::time::Duration;

/// What happens to a call in place of being forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is forwarded later.
    Delay(Duration),
    /// It is never answered. Ends when the client goes away or the proxy is dropped.
    Hang,
    /// The connection is closed, and nothing is forwarded.
    CutBefore,
    /// It is forwarded and has its whole effect; then the connection is closed without a byte of the answer.
    CutAfter,
    /// It is answered with this status, and nothing is forwarded. Only HTTP has one: elsewhere this cuts before.
    Status(u16),
}

/// A point in the life of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It has come, and nothing is forwarded yet. If its client is gone when it goes on, it is not forwarded.
    Before,
    /// It has had its effect, and nothing of the answer is passed on yet.
    After,
}

/// Faults by the number of the call, which counts from 1 when the proxy starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    at: BTreeMap<u64, Fault>,
    onwards: Option<(u64, Fault)>,
}

impl Script {
    /// Everything is forwarded.
    pub fn new() -> Self {
        Self::default()
    }

    /// What happens to one call.
    #[must_use]
    pub fn at(mut self, call: u64, fault: Fault) -> Self {
        self.at.insert(call, fault);
        self
    }

    /// What happens to this call and all after it, except where [`Script::at`] says otherwise.
    #[must_use]
    pub fn onwards(mut self, call: u64, fault: Fault) -> Self {
        self.onwards = Some((call, fault));
        self
    }

    pub(crate) fn fault(&self, call: u64) -> Option<Fault> {
        let onwards = self.onwards.filter(|(first, _)| call >= *first);
        self.at.get(&call).copied().or(onwards.map(|(_, fault)| fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_is_named_before_all_from_another_on() {
        let script = Script::new()
            .at(2, Fault::CutAfter)
            .at(5, Fault::Status(500))
            .onwards(4, Fault::Hang);
        let faults: Vec<Option<Fault>> = (1..=6).map(|call| script.fault(call)).collect();
        let hang = Some(Fault::Hang);
        assert_eq!(
            faults,
            [None, Some(Fault::CutAfter), None, hang, Some(Fault::Status(500)), hang]
        );
    }
}
