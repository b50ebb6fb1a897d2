//! Small questions about instances that both regimes ask.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::ids::ReleaseId;
use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::quantity::Span;

use crate::plan::{Op, Plan, Route, Step};
use crate::world::{Health, World};

/// How often to look when something is awaited that gives no sign of its own.
pub(crate) const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(5);

pub(crate) fn of(instances: &[Instance], release: ReleaseId) -> impl Iterator<Item = &Instance> {
    instances.iter().filter(move |i| i.release == release)
}

pub(crate) fn is_healthy(world: &World, instance: &Instance) -> bool {
    instance.is_running()
        && instance.address.is_some()
        && matches!(world.health.get(&instance.id), Some(Health::Healthy))
}

/// Whether it ended, or is being restarted by the engine after it ended.
pub(crate) fn has_ended(instance: &Instance) -> bool {
    matches!(
        instance.state,
        InstanceState::Exited { .. } | InstanceState::Restarting | InstanceState::Dead
    )
}

/// Starts an operation unless it is under way or must wait, and remembers when to look again.
pub(crate) fn start(world: &World, plan: &mut Plan, op: Op) {
    if world.running.contains(&op) {
        return;
    }
    match world.failed.get(&op) {
        Some(failure) if failure.retry_at > world.now => wake_at(plan, failure.retry_at),
        _ => plan.steps.push(Step::Start(op)),
    }
}

pub(crate) fn wake_at(plan: &mut Plan, at: Timestamp) {
    plan.wake = Some(plan.wake.map_or(at, |other| other.min(at)));
}

/// Publishes the route unless it is published already.
pub(crate) fn publish(world: &World, plan: &mut Plan, route: Route) -> bool {
    let published = world.route.state == route.state && world.route.instances == route.instances;
    if !published {
        plan.steps.push(Step::Publish(route));
    }
    published
}

/// Removes the instances that are out of every proxy's table and have no requests on them, or have had their time.
/// Those that never served or have ended go at once.
pub(crate) fn retire<'a>(
    world: &World,
    plan: &mut Plan,
    instances: impl Iterator<Item = &'a Instance>,
    keep: &BTreeSet<String>,
    drain_timeout: Span,
) {
    for instance in instances.filter(|i| !keep.contains(&i.id)) {
        let op = Op::Remove(instance.id.clone());
        if !instance.is_running() {
            start(world, plan, op);
            continue;
        }
        if world.route.instances.contains(&instance.id) || !world.route.acknowledged {
            wake_at(plan, world.now + LOOK_AGAIN);
            continue;
        }
        let since = world
            .route
            .unrouted_since
            .get(&instance.id)
            .copied()
            .unwrap_or(world.now);
        let deadline = since + drain_timeout.to_chrono();
        if !world.route.draining.contains(&instance.id) || world.now >= deadline {
            start(world, plan, op);
        } else {
            wake_at(plan, deadline);
        }
    }
}
