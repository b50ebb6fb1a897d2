//! Small questions about instances that both regimes ask.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::quantity::Span;

use crate::plan::{Op, Plan, Route, Step};
use crate::world::{Health, ReleaseFacts, World};

/// How often to look when something is awaited that gives no sign of its own.
pub(crate) const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(5);

/// The instances that count as a release's own, at most one for each place: a running one before any other.
pub(crate) fn of<'a>(instances: &'a [Instance], release: &ReleaseFacts) -> Vec<&'a Instance> {
    let mut own: Vec<&Instance> = instances.iter().filter(|i| release.owns(i)).collect();
    own.sort_by_key(|i| (i.slot, !i.is_running(), i.release != release.id));
    own.dedup_by_key(|i| i.slot);
    own
}

/// Whether the app itself is to blame for an instance's end, as far as can be told: one that was killed or asked to
/// stop from outside is not.
pub(crate) fn failed_by_itself(instance: &Instance) -> bool {
    const SIGKILL: i64 = 137;
    const SIGTERM: i64 = 143;
    matches!(instance.state, InstanceState::Exited { exit_code, oom_killed, .. }
        if oom_killed || !matches!(exit_code, SIGKILL | SIGTERM))
}

/// Whether a stop or a removal of it is under way: what it meets when it runs again, or answers again meanwhile.
pub(crate) fn is_ending(world: &World, instance: &Instance) -> bool {
    let id = || instance.id.clone();
    world.running.contains(&Op::Stop(id())) || world.running.contains(&Op::Remove(id()))
}

pub(crate) fn is_healthy(world: &World, instance: &Instance) -> bool {
    instance.is_running()
        && instance.address.is_some()
        && !is_ending(world, instance)
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

/// Starts the places of a serving release that nothing runs in, each when its time has come. Gives those that are due.
pub(crate) fn restart_missing(
    world: &World,
    plan: &mut Plan,
    serving: &ReleaseFacts,
    own: &[&Instance],
) -> BTreeSet<u32> {
    let mut due = BTreeSet::new();
    for slot in 0..serving.replicas {
        let instance = own.iter().find(|i| i.slot == slot);
        if instance.is_some_and(|i| i.is_running() || is_ending(world, i)) {
            continue;
        }
        let release = instance.map_or(serving.id, |i| i.release);
        match world.restarts.get(&(release, slot)) {
            Some(restart) if restart.at > world.now => wake_at(plan, restart.at),
            _ => drop(due.insert(slot)),
        }
    }
    if !due.is_empty() && !is_applying(world, serving) {
        start(world, plan, Op::Apply(serving.id, due.clone()));
    }
    due
}

/// Whether instances of the release are being started.
pub(crate) fn is_applying(world: &World, release: &ReleaseFacts) -> bool {
    let is_its = |op: &Op| matches!(op, Op::Apply(id, _) if *id == release.id);
    world.running.iter().any(is_its)
}

/// Publishes the route unless it is published already.
pub(crate) fn publish(world: &World, plan: &mut Plan, route: Route) -> bool {
    let now = &world.route;
    let published =
        now.state == route.state && now.instances == route.instances && now.split == route.split && !now.moved;
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
        after_drain(world, plan, instance, Op::Remove(instance.id.clone()), drain_timeout);
    }
}

/// Begins an operation that ends an instance: at once if it does not run, else when it is out of every proxy's table and
/// has no requests on it, or they have had their time.
pub(crate) fn after_drain(world: &World, plan: &mut Plan, instance: &Instance, op: Op, drain_timeout: Span) {
    if !instance.is_running() {
        return start(world, plan, op);
    }
    if world.route.instances.contains(&instance.id) || !world.route.acknowledged {
        return wake_at(plan, world.now + LOOK_AGAIN);
    }
    let unrouted_since = world.route.unrouted_since.get(&instance.id).copied();
    let deadline = unrouted_since.unwrap_or(world.now) + drain_timeout.to_chrono();
    if !world.route.draining.contains(&instance.id) || world.now >= deadline {
        start(world, plan, op);
    } else {
        wake_at(plan, deadline);
    }
}
