//! Who leads, and what the leader does.

use std::time::Duration;

use chrono::TimeDelta;
use slipway_domain::ports::BoxFuture;
use slipway_domain::{Epoch, Timestamp};
use slipway_store::{Hint, Hints, Store, StoreError, Tx};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Deps, certificates, looks, requests};

const LEASE: &str = "acme";
const LEASE_TTL_MS: i64 = 15_000;
/// How often the lease is prolonged, and asked for by who does not have it.
const LEASE_EVERY: Duration = Duration::from_secs(5);
/// Behind every hint stands a look of our own.
const POLL: Duration = Duration::from_secs(15);
/// Nothing is done more often than that.
const PAUSE: Duration = Duration::from_millis(50);

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

/// Looks at domains and gets certificates while it leads, until told to stop.
pub async fn run(deps: Deps, shutdown: CancellationToken) {
    loop {
        match acquire(&deps).await {
            Ok(Some(epoch)) => {
                tracing::info!(epoch = epoch.0, "acme.leads");
                tokio::select! {
                    () = keep(&deps, epoch) => tracing::warn!("acme.lead_lost"),
                    () = work(&deps, Lead(epoch)) => {}
                    () = shutdown.cancelled() => {}
                }
                if shutdown.is_cancelled() {
                    return release(&deps, epoch).await;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "acme.lead: the database does not answer"),
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
            Err(error) => tracing::warn!(%error, "acme.lease_not_prolonged"),
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
        tracing::debug!(%error, "acme.lease_not_released");
    }
}

/// Domains and certificates go their own ways, so that a slow CA holds up no look and a slow DNS no renewal.
async fn work(deps: &Deps, lead: Lead) {
    tokio::join!(
        each(deps, lead, Round::Looks),
        each(deps, lead, Round::Certificates),
        each(deps, lead, Round::Requests)
    );
}

/// What is done again and again.
#[derive(Clone, Copy)]
enum Round {
    Looks,
    Certificates,
    Requests,
}

impl Round {
    fn run(self, deps: &Deps, lead: Lead) -> BoxFuture<'_, Result<Option<Timestamp>, StoreError>> {
        match self {
            Self::Looks => Box::pin(looks::round(deps, lead)),
            Self::Certificates => Box::pin(certificates::round(deps, lead)),
            Self::Requests => Box::pin(async move { requests::round(deps, lead).await.map(|()| None) }),
        }
    }
}

/// Does something whenever there is a hint, and whenever it says that it is due.
async fn each(deps: &Deps, lead: Lead, round: Round) {
    let mut hints: Option<Hints> = None;
    loop {
        if hints.is_none() {
            hints = deps.store.hints().await.ok();
        }
        let due = match round.run(deps, lead).await {
            Ok(due) => due,
            // Another leads: `keep` is about to see it and end this.
            Err(StoreError::Fenced) => return std::future::pending().await,
            Err(error) => {
                tracing::warn!(%error, "acme.database_away");
                None
            }
        };
        let until = Instant::now() + due.map_or(POLL, |at| wait(at - deps.clock.now()));
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = sleep_until(until) => {}
            broken = hinted(&mut hints) => if broken { hints = None },
        }
    }
}

fn wait(delta: TimeDelta) -> Duration {
    delta.to_std().unwrap_or_default().min(POLL)
}

/// Returns when a domain or a route changed; whether the line is broken.
async fn hinted(hints: &mut Option<Hints>) -> bool {
    let Some(hints) = hints else {
        return std::future::pending().await;
    };
    loop {
        match hints.next().await {
            Ok(Hint::Domains | Hint::Reconnected) => return false,
            Ok(Hint::Environments | Hint::Routes | Hint::Events) => {}
            Err(_) => return true,
        }
    }
}
