//! Who leads, and which databases are looked after: one task for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use slipway_domain::Epoch;
use slipway_domain::ids::DatabaseId;
use slipway_store::{Hint, Hints, Store, StoreError, Tx};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::{Deps, covered, keeper, restore, retain};

const LEASE: &str = "backup-worker";
const LEASE_TTL_MS: i64 = 15_000;
/// How often the lease is prolonged, and asked for by who does not have it.
const LEASE_EVERY: Duration = Duration::from_secs(5);
/// Behind every hint stands a look of our own.
const POLL: Duration = Duration::from_secs(30);

/// The lead, as long as it lasts.
#[derive(Clone, Copy)]
pub(crate) struct Lead(Epoch);

impl Lead {
    /// A transaction that is refused once another leads.
    pub(crate) async fn begin(self, store: &Store) -> Result<Tx, StoreError> {
        let mut tx = store.begin().await?;
        tx.hold_lease(LEASE, self.0).await?;
        Ok(tx)
    }
}

/// Looks after all databases while it leads, until told to stop.
pub async fn run(deps: Deps, shutdown: CancellationToken) {
    let deps = Arc::new(deps);
    loop {
        match acquire(&deps).await {
            Ok(Some(epoch)) => {
                tracing::info!(epoch = epoch.0, "backup.leads");
                tokio::select! {
                    () = keep(&deps, epoch) => tracing::warn!("backup.lead_lost"),
                    () = work(&deps, Lead(epoch)) => {}
                    () = shutdown.cancelled() => {}
                }
                if shutdown.is_cancelled() {
                    return release(&deps, epoch).await;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "backup.lead: the database does not answer"),
        }
        tokio::select! {
            () = tokio::time::sleep(LEASE_EVERY) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn acquire(deps: &Deps) -> Result<Option<Epoch>, StoreError> {
    let mut tx = deps.store.begin().await?;
    let epoch = tx.acquire_lease(LEASE, deps.holder, LEASE_TTL_MS).await?;
    tx.commit().await?;
    Ok(epoch)
}

/// Prolongs the lease; returns when it is not held any more.
async fn keep(deps: &Deps, epoch: Epoch) {
    loop {
        tokio::time::sleep(LEASE_EVERY).await;
        let renewed = async {
            let mut tx = deps.store.begin().await?;
            let held = tx.renew_lease(LEASE, deps.holder, epoch, LEASE_TTL_MS).await?;
            tx.commit().await?;
            Ok::<_, StoreError>(held)
        };
        match renewed.await {
            Ok(true) => {}
            Ok(false) => return,
            // It lasts a while longer; what is written meanwhile is checked by the database.
            Err(error) => tracing::warn!(%error, "backup.lease_not_prolonged"),
        }
    }
}

async fn release(deps: &Deps, epoch: Epoch) {
    let released = async {
        let mut tx = deps.store.begin().await?;
        tx.release_lease(LEASE, deps.holder, epoch).await?;
        tx.commit().await
    };
    if let Err(error) = released.await {
        tracing::debug!(%error, "backup.lease_not_released");
    }
}

/// The tasks that look after databases; they end with it.
#[derive(Default)]
struct Keepers(HashMap<DatabaseId, AbortHandle>);

impl Drop for Keepers {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

async fn work(deps: &Arc<Deps>, lead: Lead) {
    let changed = watch::Sender::new(());
    let mut seen = changed.subscribe();
    let mut keepers = Keepers::default();
    let mut listening = std::pin::pin!(listen(deps, &changed));
    let mut noting = std::pin::pin!(covered::keep_noting(deps, lead));
    let mut retaining = std::pin::pin!(retain::drive(deps, lead, changed.subscribe()));
    let mut restoring = std::pin::pin!(restore::drive(deps, lead, changed.subscribe()));
    loop {
        match all(deps).await {
            Ok(all) => {
                keepers.0.retain(|id, task| {
                    let stays = all.contains(id) && !task.is_finished();
                    if !stays {
                        task.abort();
                    }
                    stays
                });
                for id in all {
                    keepers.0.entry(id).or_insert_with(|| {
                        let (deps, hints) = (Arc::clone(deps), changed.subscribe());
                        tokio::spawn(async move { keeper::keep(&deps, lead, id, hints).await }).abort_handle()
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "backup.databases_unknown"),
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = seen.changed() => {}
            () = &mut listening => {}
            () = &mut restoring => {}
            () = &mut noting => {}
            () = &mut retaining => {}
        }
    }
}

async fn all(deps: &Deps) -> Result<Vec<DatabaseId>, StoreError> {
    let mut tx = deps.store.begin().await?;
    let all = tx.all_databases().await?;
    Ok(all.into_iter().map(|(id, _)| id).collect())
}

/// Passes on that something of a database changed, on one line for all.
async fn listen(deps: &Deps, changed: &watch::Sender<()>) {
    let mut hints: Option<Hints> = None;
    loop {
        match &mut hints {
            None => {
                hints = deps.store.hints().await.ok();
                if hints.is_none() {
                    tokio::time::sleep(LEASE_EVERY).await;
                }
                // Anything may have changed meanwhile.
                changed.send_replace(());
            }
            Some(line) => match line.next().await {
                Ok(Hint::Databases | Hint::Reconnected) => {
                    changed.send_replace(());
                }
                Ok(Hint::Environments | Hint::Routes | Hint::Events | Hint::Domains) => {}
                Err(_) => hints = None,
            },
        }
    }
}
