//! Who leads, and what the leader does.

use std::time::Duration;

use chrono::TimeDelta;
use slipway_domain::ports::BoxFuture;
use slipway_domain::{Epoch, Timestamp};
use slipway_store::{Hint, Hints, Store, StoreError, Tx};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::certificates::Orders;
use crate::looks::Looks;
use crate::requests::Trials;
use crate::windows::Windows;
use crate::{Deps, dns01, queue, requests, upkeep};

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

    #[cfg(test)]
    pub(crate) async fn for_an_hour(deps: &Deps) -> Option<Self> {
        let mut tx = deps.store.begin().await.ok()?;
        let epoch = tx.acquire_lease(LEASE, deps.holder, 3_600_000).await.ok()??;
        tx.commit().await.ok()?;
        Some(Self(epoch))
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

/// Each goes its own way, so that a slow CA holds up no look, a slow DNS no renewal and neither what the database alone
/// decides.
async fn work(deps: &Deps, lead: Lead) {
    let hints = watch::Sender::new(());
    let waits = || Waits(hints.subscribe());
    tokio::join!(
        listen(deps, &hints),
        queue::follow::<Looks>(deps, lead, waits()),
        queue::follow::<Orders>(deps, lead, waits()),
        queue::follow::<Windows>(deps, lead, waits()),
        queue::follow::<Trials>(deps, lead, waits()),
        each(deps, lead, Round::Upkeep, waits()),
        each(deps, lead, Round::Requests, waits()),
        each(deps, lead, Round::Records, waits()),
    );
}

/// What is done again and again.
#[derive(Clone, Copy)]
enum Round {
    Upkeep,
    Requests,
    Records,
}

impl Round {
    fn run(self, deps: &Deps, lead: Lead) -> BoxFuture<'_, Result<(), StoreError>> {
        match self {
            Self::Upkeep => Box::pin(upkeep::round(deps, lead)),
            Self::Requests => Box::pin(requests::round(deps, lead)),
            Self::Records => Box::pin(dns01::tidy(deps, lead)),
        }
    }
}

/// Does something whenever there is a hint.
async fn each(deps: &Deps, lead: Lead, round: Round, mut waits: Waits) {
    loop {
        waits.begin();
        match round.run(deps, lead).await {
            Ok(()) => {}
            // Another leads: `keep` is about to see it and end this.
            Err(StoreError::Fenced) => return std::future::pending().await,
            Err(error) => tracing::warn!(%error, "acme.database_away"),
        }
        waits.until(deps, None).await;
    }
}

/// Passes on that a domain or a route changed, on one line to the database for all.
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
                Ok(Hint::Domains | Hint::Reconnected) => changed.send_replace(()),
                Ok(Hint::Environments | Hint::Routes | Hint::Events | Hint::Databases) => {}
                Err(_) => hints = None,
            },
        }
    }
}

/// Waits until something may be due.
pub(crate) struct Waits(watch::Receiver<()>);

impl Waits {
    /// What changes from now on ends the next wait.
    pub(crate) fn begin(&mut self) {
        self.0.mark_unchanged();
    }

    /// Until there is a hint, or a time has come; not long, if there is neither.
    pub(crate) async fn until(&mut self, deps: &Deps, due: Option<Timestamp>) {
        let until = Instant::now() + due.map_or(POLL, |at| wait(at - deps.clock.now()));
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = sleep_until(until) => {}
            // They end together.
            _ = self.0.changed() => {}
        }
    }
}

fn wait(delta: TimeDelta) -> Duration {
    delta.to_std().unwrap_or_default().min(POLL)
}
