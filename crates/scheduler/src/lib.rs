//! Brings about what the API wrote down: one reconciler per environment, led by one process at a time.
//!
//! Promises: it answers no HTTP and holds no policy: `planner` decides. Notifications are hints; losing all of them
//! only adds latency. Every write is fenced by the lease's epoch, in database time.

mod alerts;
mod assemble;
mod board;
mod by_itself;
mod collect;
mod databases;
mod evidence;
mod execute;
mod group;
mod memory;
mod operate;
mod probe;
mod promotion;
mod reconcile;
mod rollback;
mod runs;
mod session;
mod settings;
mod smoke;
mod traffic;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use slipway_domain::Epoch;
use slipway_domain::ids::EnvironmentId;
use slipway_store::{Hint, StoreError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use runs::OUTPUT_LINES_MAX as RUN_OUTPUT_LINES_MAX;
pub use settings::{Deps, DiskFloor, Link, Observer, Settings};
pub use traffic::TrafficBoard;

use session::Session;

/// The lease every leader holds.
const LEASE: &str = "scheduler";
/// How long it lasts without renewal.
const LEASE_MS: i64 = 10_000;
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(3);
/// How often a process that does not lead asks again.
const CANDIDATE_PAUSE: Duration = Duration::from_secs(1);
/// Behind every hint stands a look of our own.
const POLL: Duration = Duration::from_secs(5);
/// Everything is looked at this often, hints or not.
const SWEEP: Duration = Duration::from_mins(1);
/// How often it is asked whether the load calls for another number of instances.
const FOLLOW: Duration = Duration::from_secs(1);
/// How often images are collected.
const COLLECT: Duration = Duration::from_mins(10);
/// How long operations may go on when the term ends.
const GRACE: Duration = Duration::from_secs(5);

/// Rings the scheduler's bells from outside: hints only.
#[derive(Clone, Default)]
pub struct Bell {
    intent: Arc<Notify>,
    acknowledged: Arc<Notify>,
    wanted: Arc<Mutex<BTreeSet<EnvironmentId>>>,
}

impl Bell {
    /// An intent was written.
    pub fn intent(&self) {
        self.intent.notify_one();
    }

    /// Requests wait for these environments, which is written down.
    pub fn wanted(&self, environments: &[EnvironmentId]) {
        self.wanted.lock().extend(environments);
        self.acknowledged.notify_one();
    }

    /// A proxy said what it did.
    pub fn acknowledged(&self) {
        self.acknowledged.notify_one();
    }
}

/// Leads when it can, until it is told to stop.
pub async fn run(deps: Deps, bell: Bell, shutdown: CancellationToken) {
    let mut stands_by = false;
    while !shutdown.is_cancelled() {
        match acquire(&deps).await {
            Ok(Some(epoch)) => {
                tracing::info!(%epoch, "lease.acquired: this process schedules");
                deps.observer.leading(true);
                Box::pin(term(&deps, epoch, &bell, &shutdown)).await;
                deps.observer.leading(false);
                stands_by = false;
            }
            Ok(None) if stands_by => {}
            Ok(None) => {
                tracing::info!("lease.held: another process schedules, this one stands by");
                stands_by = true;
            }
            Err(error) => tracing::warn!(%error, "lease.unknown: the database does not answer"),
        }
        tokio::select! {
            () = tokio::time::sleep(CANDIDATE_PAUSE) => {}
            () = shutdown.cancelled() => {}
        }
    }
}

async fn acquire(deps: &Deps) -> Result<Option<Epoch>, StoreError> {
    let mut tx = deps.store.begin().await?;
    let epoch = tx.acquire_lease(LEASE, deps.settings.holder, LEASE_MS).await?;
    tx.commit().await?;
    Ok(epoch)
}

/// One term of leadership, from the lease to its loss or the shutdown.
async fn term(deps: &Deps, epoch: Epoch, bell: &Bell, shutdown: &CancellationToken) {
    let stop = shutdown.child_token();
    let session = Session::begin(deps.clone(), epoch, stop.clone());
    tokio::select! {
        () = keep_lease(deps, epoch) => tracing::warn!(%epoch, "lease.lost"),
        () = lead(&session, bell) => {}
        () = engine_hints(&session) => {}
        () = runs::drive(&session) => {}
        () = databases::drive(&session) => {}
        () = collect_images(&session) => {}
        () = alerts::tell(&session) => {}
        () = stop.cancelled() => {}
    }
    stop.cancel();
    session.board.clear();
    session.tasks.close();
    if tokio::time::timeout(GRACE, session.tasks.wait()).await.is_err() {
        tracing::info!("shutdown: operations are left to the engine and found again at the next start");
    }
    if shutdown.is_cancelled() {
        let released = async {
            let mut tx = deps.store.begin().await?;
            tx.release_lease(LEASE, deps.settings.holder, epoch).await?;
            tx.commit().await
        };
        // A lease that cannot be given back runs out by itself.
        let _ = tokio::time::timeout(Duration::from_secs(2), released).await;
    }
}

/// Returns when the lease is lost, or could not be renewed for as long as it lasts.
async fn keep_lease(deps: &Deps, epoch: Epoch) {
    let mut renewed_at = deps.clock.now();
    loop {
        tokio::time::sleep(RENEW).await;
        let renewed = async {
            let mut tx = deps.store.begin().await?;
            let held = tx.renew_lease(LEASE, deps.settings.holder, epoch, LEASE_MS).await?;
            tx.commit().await?;
            Ok::<_, StoreError>(held)
        };
        match renewed.await {
            Ok(true) => renewed_at = deps.clock.now(),
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, "lease.unknown: it could not be renewed");
                if (deps.clock.now() - renewed_at).num_milliseconds() > LEASE_MS {
                    return;
                }
            }
        }
    }
}

async fn lead(session: &Arc<Session>, bell: &Bell) {
    let mut hints = None;
    let mut swept = tokio::time::interval(SWEEP);
    let mut followed = tokio::time::interval(FOLLOW);
    followed.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut polled = tokio::time::interval(POLL);
    polled.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if hints.is_none() {
            hints = session
                .deps
                .store
                .hints()
                .await
                .inspect_err(|error| tracing::warn!(%error, "hints.lost"))
                .ok();
        }
        let (due, next) = session.due();
        for id in due {
            session.wake(id);
        }
        let now = session.deps.clock.now();
        let rest = next.map_or(POLL, |at| (at - now).to_std().unwrap_or_default().min(POLL));
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            // Only what says that an intent changed leads to the rows. An environment that was just looked at has said
            // itself when it wants to be looked at again.
            _ = polled.tick() => wake_changed(session).await,
            () = bell.intent.notified() => wake_changed(session).await,
            () = session.rescheduled.notified() => {}
            () = bell.acknowledged.notified() => {
                let wanted = std::mem::take(&mut *bell.wanted.lock());
                session.waiting().into_iter().chain(wanted).for_each(|id| session.wake(id));
            }
            _ = swept.tick() => wake_all(session).await,
            _ = followed.tick() => session.follow_load(),
            hint = next_hint(session, &mut hints) => match hint {
                Some(()) => wake_changed(session).await,
                None => hints = None,
            },
        }
    }
}

/// The next hint that concerns us; pends for ever without a listener.
async fn next_hint(session: &Session, hints: &mut Option<slipway_store::Hints>) -> Option<()> {
    let Some(listener) = hints else {
        return std::future::pending().await;
    };
    loop {
        match listener.next().await {
            Ok(Hint::Environments | Hint::Reconnected) => return Some(()),
            Ok(Hint::Databases) => session.databases.notify_one(),
            Ok(Hint::Routes | Hint::Events | Hint::Domains) => {}
            Err(error) => {
                tracing::warn!(%error, "hints.lost");
                return None;
            }
        }
    }
}

async fn wake_changed(session: &Session) {
    session.runs.notify_one();
    let changed = async {
        let mut tx = session.deps.store.begin().await?;
        tx.due_environments().await
    };
    match changed.await {
        Ok(ids) => ids.into_iter().for_each(|id| session.wake(id)),
        Err(error) => tracing::warn!(%error, "environments.unknown: the database does not answer"),
    }
}

async fn wake_all(session: &Session) {
    let all = async {
        let mut tx = session.deps.store.begin().await?;
        tx.all_environment_ids().await
    };
    match all.await {
        Ok(ids) => ids.into_iter().for_each(|id| session.wake(id)),
        Err(error) => tracing::warn!(%error, "environments.unknown: the database does not answer"),
    }
}

/// The engine's own hints; without them the sweep finds everything later.
async fn engine_hints(session: &Session) {
    loop {
        match session.deps.engine.events().await {
            Ok(mut events) => {
                wake_all(session).await;
                while let Some(event) = events.next().await {
                    session.wake(event.environment);
                    session.runs.notify_one();
                }
            }
            Err(error) => tracing::warn!(%error, "engine.events: no hints"),
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn collect_images(session: &Session) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(COLLECT) => {}
            () = session.purged.notified() => {}
        }
        if let Err(error) = collect::images(&session.deps).await {
            tracing::warn!(%error, "images.collect: given up for now");
        }
    }
}
