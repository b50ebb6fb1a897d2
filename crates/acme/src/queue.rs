//! Things that are due one by one, each of which takes its time: looks, orders, windows, trials.
//!
//! Promises: one that takes long holds up no other, as long as there is a place; none is under way twice; what was under
//! way ends with the lead.

use std::collections::HashMap;

use slipway_domain::Timestamp;
use slipway_domain::ports::BoxFuture;
use slipway_store::StoreError;
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument as _;

use crate::Deps;
use crate::lead::{Lead, Waits};

/// What is due, and how it is done.
pub(crate) trait Queue: 'static {
    /// One thing to do.
    type Item: Send + 'static;
    /// By what one is known from another.
    type Key: PartialEq;
    /// So many are under way at once.
    const AT_ONCE_MAX: usize;

    fn key(item: &Self::Item) -> Self::Key;

    /// What is due now, at most so many, and when the next will be.
    fn due(deps: &Deps, limit: i64) -> BoxFuture<'_, Result<Due<Self::Item>, StoreError>>;

    fn work(deps: &Deps, lead: Lead, item: Self::Item) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// What is to be done.
pub(crate) struct Due<T> {
    /// Now.
    pub(crate) now: Vec<T>,
    /// When more is.
    pub(crate) next: Option<Timestamp>,
}

/// Does what is due for as long as it leads.
pub(crate) async fn follow<Q: Queue>(deps: &Deps, lead: Lead, mut waits: Waits) {
    let mut under_way = UnderWay::<Q>::default();
    loop {
        waits.begin();
        let next = match under_way.begin(deps, lead).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "acme.database_away");
                None
            }
        };
        loop {
            let ended = tokio::select! {
                () = waits.until(deps, next) => break,
                Some(ended) = under_way.tasks.join_next_with_id() => ended,
            };
            match under_way.reap(ended) {
                Ok(()) => break,
                // Another leads: this is about to be ended.
                Err(StoreError::Fenced) => return std::future::pending().await,
                // It is due still: not at once again.
                Err(error) => tracing::warn!(%error, "acme.database_away"),
            }
        }
    }
}

struct UnderWay<Q: Queue> {
    tasks: JoinSet<Result<(), StoreError>>,
    keys: HashMap<Id, Q::Key>,
}

impl<Q: Queue> Default for UnderWay<Q> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            keys: HashMap::new(),
        }
    }
}

impl<Q: Queue> UnderWay<Q> {
    /// Begins what is due and not under way, while there are places; gives when more is due.
    async fn begin(&mut self, deps: &Deps, lead: Lead) -> Result<Option<Timestamp>, StoreError> {
        let places = Q::AT_ONCE_MAX.saturating_sub(self.tasks.len());
        if places == 0 {
            return Ok(None);
        }
        // As many more as are under way, for those are due too.
        let limit = i64::try_from(Q::AT_ONCE_MAX + self.tasks.len()).unwrap_or(i64::MAX);
        let due = Q::due(deps, limit).await?;
        let mut new = due.now;
        new.retain(|item| !self.keys.values().any(|key| *key == Q::key(item)));
        for item in new.into_iter().take(places) {
            let key = Q::key(&item);
            let deps = deps.clone();
            let work = async move { Q::work(&deps, lead, item).await };
            let id = self.tasks.spawn(work.in_current_span()).id();
            self.keys.insert(id, key);
        }
        Ok(due.next)
    }

    fn reap(&mut self, ended: Result<(Id, Result<(), StoreError>), JoinError>) -> Result<(), StoreError> {
        let (id, result) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "acme.work_broke_off: it is tried again");
                (error.id(), Ok(()))
            }
        };
        self.keys.remove(&id);
        result
    }
}
