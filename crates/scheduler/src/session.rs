//! One term of leadership: everything that lives and ends with the lease.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use slipway_domain::ids::{EnvironmentId, ReleaseId};
use slipway_domain::name::CronName;
use slipway_domain::{Epoch, Timestamp};
use slipway_planner::autoscale::{Verdict, judge};
use slipway_planner::plan::{Plan, Step};
use slipway_planner::world::Load;
use slipway_store::EnvironmentWorld;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::board::Board;
use crate::memory::Memories;
use crate::reconcile;
use crate::settings::Deps;

/// So many environments are looked at at once.
const ACTIVATIONS_MAX: usize = 8;
/// After a failed look, the next one.
const RETRY: chrono::TimeDelta = chrono::TimeDelta::seconds(2);

/// After a look that was overtaken by a new intent.
const OVERTAKEN_RETRY: chrono::TimeDelta = chrono::TimeDelta::milliseconds(50);

/// Whether an environment is being looked at, and whether it must be looked at again.
#[derive(Default, Clone, Copy)]
struct Turn {
    running: bool,
    again: bool,
}

/// One term of leadership.
pub(crate) struct Session {
    /// What it works with.
    pub(crate) deps: Deps,
    /// The fence of this term.
    pub(crate) epoch: Epoch,
    /// Probes.
    pub(crate) board: Board,
    /// What is remembered between looks.
    pub(crate) memories: Memories,
    /// Activations and operations.
    pub(crate) tasks: TaskTracker,
    turns: Mutex<HashMap<EnvironmentId, Turn>>,
    permits: Arc<Semaphore>,
    /// Rings when a one-off command was asked for or called off.
    pub(crate) runs: Notify,
    /// Rings when something is wanted of a managed database.
    pub(crate) databases: Notify,
    /// Rings when an environment is gone: its images may go too.
    pub(crate) purged: Notify,
    /// Rings when somebody is to be told something.
    pub(crate) alerts: Notify,
    /// When each command by the clock is due next, of which release.
    pub(crate) cron_next: Mutex<HashMap<(EnvironmentId, CronName), (ReleaseId, Timestamp)>>,
    /// Rings when a wake-up time may have moved.
    pub(crate) rescheduled: Notify,
    stop: CancellationToken,
    me: std::sync::Weak<Session>,
}

impl Session {
    /// A term that ends with the token.
    pub(crate) fn begin(deps: Deps, epoch: Epoch, stop: CancellationToken) -> Arc<Self> {
        Arc::new_cyclic(|me: &std::sync::Weak<Self>| {
            let waker = me.clone();
            let changed = Arc::new(move |id| {
                if let Some(session) = waker.upgrade() {
                    session.wake(id);
                }
            });
            Self {
                board: Board::new(Arc::clone(&deps.clock), changed),
                deps,
                epoch,
                memories: Memories::default(),
                tasks: TaskTracker::new(),
                turns: Mutex::default(),
                permits: Arc::new(Semaphore::new(ACTIVATIONS_MAX)),
                runs: Notify::new(),
                databases: Notify::new(),
                purged: Notify::new(),
                alerts: Notify::new(),
                cron_next: Mutex::default(),
                rescheduled: Notify::new(),
                stop,
                me: me.clone(),
            }
        })
    }

    /// Has the environment looked at soon. Many calls before the look are one.
    pub(crate) fn wake(&self, id: EnvironmentId) {
        if self.stop.is_cancelled() {
            return;
        }
        {
            let mut turns = self.turns.lock();
            let turn = turns.entry(id).or_default();
            if turn.running {
                turn.again = true;
                return;
            }
            turn.running = true;
        }
        let Some(session) = self.me.upgrade() else { return };
        self.tasks.spawn(async move { session.turn(id).await });
    }

    async fn turn(self: Arc<Self>, id: EnvironmentId) {
        loop {
            let Ok(_permit) = Arc::clone(&self.permits).acquire_owned().await else {
                return;
            };
            self.turns.lock().entry(id).or_default().again = false;
            self.look(id).await;
            let mut turns = self.turns.lock();
            let turn = turns.entry(id).or_default();
            if !turn.again || self.stop.is_cancelled() {
                turns.remove(&id);
                break;
            }
        }
        self.rescheduled.notify_one();
    }

    async fn look(self: &Arc<Self>, id: EnvironmentId) {
        let begun = self.deps.clock.now();
        let result = tokio::select! {
            result = reconcile::activate(self, id) => result,
            () = self.stop.cancelled() => return,
        };
        let now = self.deps.clock.now();
        self.deps
            .observer
            .reconciled((now - begun).as_seconds_f64(), result.is_ok());
        match result {
            Ok(()) => {}
            Err(slipway_store::StoreError::Fenced) => {
                tracing::warn!(environment = %id, "lease.lost: a write was refused");
                self.stop.cancel();
            }
            // Somebody wanted something else while it was looked at: look again at what is wanted now.
            Err(slipway_store::StoreError::LostRace(what)) => {
                tracing::debug!(environment = %id, what, "reconcile.overtaken");
                self.memories.lock().entry(id).or_default().wake = Some(now + OVERTAKEN_RETRY);
            }
            Err(error) => {
                tracing::warn!(environment = %id, %error, "reconcile.failed");
                self.memories.lock().entry(id).or_default().wake = Some(now + RETRY);
            }
        }
    }

    /// Environments whose time has come, and when the next one's will.
    pub(crate) fn due(&self) -> (Vec<EnvironmentId>, Option<Timestamp>) {
        let now = self.deps.clock.now();
        let mut memories = self.memories.lock();
        let mut due = Vec::new();
        let mut next: Option<Timestamp> = None;
        for (id, memory) in memories.iter_mut() {
            match memory.wake {
                Some(at) if at <= now => {
                    memory.wake = None;
                    due.push(*id);
                }
                Some(at) => next = Some(next.map_or(at, |n| n.min(at))),
                None => {}
            }
        }
        (due, next)
    }

    /// Environments that wait for something: they are looked at when a proxy says what it did.
    pub(crate) fn waiting(&self) -> Vec<EnvironmentId> {
        self.memories
            .lock()
            .iter()
            .filter(|(_, m)| m.wake.is_some())
            .map(|(id, _)| *id)
            .collect()
    }

    /// Has those environments looked at whose load calls for another number of instances, or for none.
    pub(crate) fn follow_load(&self) {
        let now = self.deps.clock.now();
        let loads = self.deps.traffic.loads(now);
        let calls = |id: &EnvironmentId, load: Load| {
            let memories = self.memories.lock();
            let follows = memories.get(id).and_then(|memory| memory.follows);
            follows.is_some_and(|f| judge(&f.scale, f.current, f.scaled_at, load, now) != Verdict::Stay)
        };
        for (id, load) in loads {
            if calls(&id, load) {
                self.wake(id);
            }
        }
    }

    /// Takes back operations that were noted as begun by a plan that could not be written.
    pub(crate) fn unbegin(&self, id: EnvironmentId, plan: &Plan) {
        let mut memories = self.memories.lock();
        let memory = memories.entry(id).or_default();
        for step in &plan.steps {
            if let Step::Start(op) = step {
                memory.running.remove(op);
            }
        }
    }

    /// Forgets an environment that is gone.
    pub(crate) fn forget(&self, id: EnvironmentId) {
        self.memories.lock().remove(&id);
        self.board.keep(id, Vec::new(), &Span::none());
    }

    /// The span of the deployment under way, in the trace of the request that began it.
    pub(crate) fn deploy_span(&self, rows: &EnvironmentWorld) -> Span {
        let Some(deployment) = &rows.deployment else {
            return Span::none();
        };
        let mut memories = self.memories.lock();
        let memory = memories.entry(rows.environment.id).or_default();
        if let Some((id, span)) = &memory.span
            && *id == deployment.id
        {
            return span.clone();
        }
        let span = tracing::info_span!(
            parent: None,
            "deploy.run",
            deployment.id = %deployment.id,
            deployment.environment.name = %rows.environment.name,
            app = %rows.environment.app_name,
        );
        if let Some(context) = &deployment.trace_context {
            (self.deps.link)(&span, context);
        }
        memory.span = Some((deployment.id, span.clone()));
        span
    }
}
