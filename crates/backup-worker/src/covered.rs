//! Up to when logs are covered that nothing is written to: noted for all of them at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use slipway_domain::Timestamp;
use slipway_domain::ids::SpanId;
use slipway_store::StoreError;
use tokio::time::MissedTickBehavior;

use crate::Deps;
use crate::lead::Lead;

/// How often it is noted.
const EVERY: Duration = Duration::from_secs(2);

/// What is to be noted.
#[derive(Clone, Default)]
pub(crate) struct Covered(Arc<Mutex<HashMap<SpanId, Timestamp>>>);

impl Covered {
    /// What was committed in this stretch before a moment is stored.
    pub(crate) fn until(&self, span: SpanId, at: Timestamp) {
        self.0.lock().insert(span, at);
    }

    fn take(&self) -> Vec<(SpanId, Timestamp)> {
        self.0.lock().drain().collect()
    }
}

/// Notes it for as long as it leads.
pub(crate) async fn keep_noting(deps: &Deps, lead: Lead) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let all = deps.covered.take();
        if all.is_empty() {
            continue;
        }
        if let Err(error) = note(deps, lead, &all).await {
            tracing::warn!(%error, "backup.covered_not_noted");
        }
    }
}

async fn note(deps: &Deps, lead: Lead, all: &[(SpanId, Timestamp)]) -> Result<(), StoreError> {
    let mut tx = lead.begin(&deps.store).await?;
    tx.cover_spans(all).await?;
    tx.commit().await
}
