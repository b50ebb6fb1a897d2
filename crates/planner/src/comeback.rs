//! What a request meets while nothing can answer it.
//!
//! Promises: it waits for what is on its way, and is told so at once where that may take long; proxies are not told
//! anything new where what waits may go on waiting.

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::observed::Instance;
use slipway_domain::routing::RouteState;
use slipway_domain::spec::Strategy;

use crate::conditions;
use crate::instances::wake_at;
use crate::liveness;
use crate::plan::{Op, Plan};
use crate::world::{Health, OpFailure, ReleaseFacts, World};

/// A request waits so long for an app that wakes; then it is told that the app starts.
const WAKING_MAX: TimeDelta = TimeDelta::seconds(30);
/// The same for one that ended by itself.
const RESTARTING_MAX: TimeDelta = TimeDelta::seconds(10);
/// A start that failed and is tried again within so long is still on its way, whatever it failed of: what somebody
/// removes while it is started comes to be after all.
const RETRY_MAX: TimeDelta = TimeDelta::seconds(3);

/// What a request meets while nothing can answer it.
pub(crate) fn waiting(world: &World, plan: &mut Plan, serving: &ReleaseFacts, own: &[&Instance]) -> RouteState {
    let is_waking = serving.scale.sleeps() && world.rest_since.is_some_and(|at| world.now < at + WAKING_MAX);
    match serving.strategy {
        // What waits goes on waiting: no proxy needs to be told anything.
        _ if is_waking && world.route.state == RouteState::Asleep => RouteState::Asleep,
        _ if is_waking => RouteState::Holding,
        Strategy::Recreate => RouteState::Holding,
        _ if is_there_soon(world, plan, serving, own) => RouteState::Holding,
        _ => RouteState::Starting,
    }
}

/// Whether an instance is on its way: not one that ends again and again, cannot be started, or takes too long.
fn is_there_soon(world: &World, plan: &mut Plan, serving: &ReleaseFacts, own: &[&Instance]) -> bool {
    let is_start = |op: &Op| matches!(op, Op::Apply(release, _) if serving.is(*release));
    let is_late = |failure: &OpFailure| failure.retry_at > world.now + RETRY_MAX;
    let cannot_start = world
        .failed
        .iter()
        .any(|(op, failure)| is_start(op) && is_late(failure));
    let mut comes = |slot: u32| match own.iter().find(|i| i.slot == slot) {
        None => !cannot_start,
        Some(i) if i.is_running() => match world.health.get(&i.id) {
            Some(Health::Unproven { since }) => is_before(world, plan, *since + RESTARTING_MAX),
            // One that does not answer comes back once it is started again.
            Some(Health::Failing { .. }) => liveness::is_due(world, serving, i),
            Some(Health::Healthy) | None => true,
        },
        Some(i) => !cannot_start && conditions::crash_loop(world, serving, i).is_none(),
    };
    (0..serving.replicas).any(&mut comes)
}

/// Whether it is not yet so late; looks again when it is.
fn is_before(world: &World, plan: &mut Plan, at: Timestamp) -> bool {
    let before = world.now < at;
    if before {
        wake_at(plan, at);
    }
    before
}
