//! An instance that runs and does not answer is started again; one that no network reaches is made anew.
//!
//! Promises: never before its time; one at a time, and not while another is still starting; requests that are under way
//! on it have their time first. What is healthy is never touched.

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::observed::{Instance, InstanceState};

use crate::instances::{after_drain, is_applying, wake_at};
use crate::plan::{Op, Plan};
use crate::world::{Health, ReleaseFacts, World};

/// So long an instance may run before the engine tells its address.
const ADDRESS_MAX: TimeDelta = TimeDelta::seconds(5);

/// The instance that is to be started again now, if one is. Remembers when the next one may be.
pub(crate) fn hung<'a>(
    world: &World,
    plan: &mut Plan,
    serving: &ReleaseFacts,
    own: &[&'a Instance],
) -> Option<&'a Instance> {
    let wanted = own.iter().filter(|i| i.slot < serving.replicas && i.is_running());
    let (due, instance) = wanted
        .filter_map(|i| Some((due(world, serving, i)?, *i)))
        .min_by_key(|(due, i)| (*due, i.slot))?;
    if due > world.now {
        wake_at(plan, due);
        return None;
    }
    let is_starting = |i: &&&Instance| {
        let unproven = matches!(world.health.get(&i.id), Some(Health::Unproven { .. }));
        unproven && due_of(world, serving, i).is_some_and(|at| at > world.now)
    };
    (!is_applying(world, serving) && !own.iter().any(|i| is_starting(&i))).then_some(instance)
}

/// Starts it again once no proxy has a request on it any more, or those have had their time.
pub(crate) fn restart(world: &World, plan: &mut Plan, serving: &ReleaseFacts, hung: &Instance) {
    let op = if hung.address.is_some() {
        Op::Stop(hung.id.clone())
    } else {
        Op::Remove(hung.id.clone())
    };
    after_drain(world, plan, hung, op, serving.drain_timeout);
}

/// Whether it has had its time to answer, and is started again.
pub(crate) fn is_due(world: &World, serving: &ReleaseFacts, instance: &Instance) -> bool {
    due_of(world, serving, instance).is_some_and(|at| at <= world.now)
}

/// When an instance that runs has had its time to answer; never, for one that answers or may be silent.
fn due(world: &World, serving: &ReleaseFacts, instance: &Instance) -> Option<Timestamp> {
    match instance.state {
        InstanceState::Running { started_at } if instance.address.is_none() => Some(started_at + ADDRESS_MAX),
        _ => due_of(world, serving, instance),
    }
}

fn due_of(world: &World, serving: &ReleaseFacts, instance: &Instance) -> Option<Timestamp> {
    if serving.restart_after.as_millis() == 0 {
        return None;
    }
    match world.health.get(&instance.id)? {
        Health::Healthy => None,
        Health::Failing { since } => Some(*since + serving.restart_after.to_chrono()),
        Health::Unproven { since } => {
            let time = serving.restart_after.max(serving.health_deadline);
            Some(*since + time.to_chrono())
        }
    }
}
