//! The one place where a load counts.
//!
//! Promises: the counts that are seen from outside belong together, and whoever waits for them is told of each change.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Kind;
use super::report::{Loss, Report, SoFar};

#[derive(Debug)]
pub(crate) struct Ledger {
    report: Mutex<Report>,
    so_far: watch::Sender<SoFar>,
}

impl Ledger {
    pub(crate) fn new(seed: u64) -> Self {
        let report = Report {
            seed,
            ..Report::default()
        };
        Self {
            report: Mutex::new(report),
            so_far: watch::Sender::new(SoFar::default()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        let mut report = self.report.lock();
        change(&mut report);
        self.so_far.send_replace(report.so_far());
    }

    pub(crate) fn sent(&self) {
        self.change(|report| report.sent += 1);
    }

    pub(crate) fn resent(&self) {
        self.change(|report| report.resent += 1);
    }

    pub(crate) fn reopened(&self) {
        self.change(|report| report.reopened += 1);
    }

    pub(crate) fn unsent(&self) {
        self.change(|report| report.unsent += 1);
    }

    pub(crate) fn lost(&self, loss: Loss) {
        self.change(|report| report.add_loss(loss));
    }

    pub(crate) fn answered(&self, kind: Kind, took: Duration, release: Option<String>) {
        self.change(|report| {
            report.answered += 1;
            report.latency.record(took);
            report.latency_by_kind.entry(kind).or_default().record(took);
            if let Some(release) = release {
                report.add_release(release);
            }
        });
    }

    pub(crate) fn so_far(&self) -> SoFar {
        *self.so_far.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<SoFar> {
        self.so_far.subscribe()
    }

    pub(crate) fn report(&self) -> Report {
        self.report.lock().clone()
    }
}
