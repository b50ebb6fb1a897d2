//! Instances that left the snapshot and still answer requests.
//!
//! Promises: an instance is in the list from the moment the new table is in force until its last request, event
//! stream or WebSocket has ended; whoever waits is told about each change; the list is bounded by what is open.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::table::Table;
use crate::upstream::Instance;

/// The instances on their way out.
#[derive(Debug)]
pub(crate) struct Draining {
    leaving: Mutex<Vec<Arc<Instance>>>,
    changed: Arc<Notify>,
}

impl Draining {
    pub(crate) fn new() -> Self {
        Self {
            leaving: Mutex::new(Vec::new()),
            changed: Arc::new(Notify::new()),
        }
    }

    /// Told when an instance on its way out ends its last request.
    pub(crate) fn changed(&self) -> &Arc<Notify> {
        &self.changed
    }

    /// Sends away instances that the table in force no longer has.
    pub(crate) fn retire(&self, gone: Vec<Arc<Instance>>) {
        for instance in &gone {
            instance.retire();
        }
        self.leaving
            .lock()
            .extend(gone.into_iter().filter(|instance| instance.counted()));
    }

    /// The names to acknowledge, sorted: instances with requests that are under no address in the table.
    pub(crate) fn names(&self, table: &Table) -> Vec<String> {
        let mut leaving = self.leaving.lock();
        leaving.retain(|instance| instance.in_flight() > 0);
        let mut names: Vec<String> = leaving.iter().map(|instance| instance.name().to_owned()).collect();
        drop(leaving);
        names.retain(|name| !table.names_instance(name));
        names.sort_unstable();
        names.dedup();
        names
    }

    pub(crate) fn len(&self) -> usize {
        self.leaving
            .lock()
            .iter()
            .filter(|instance| instance.in_flight() > 0)
            .count()
    }
}
