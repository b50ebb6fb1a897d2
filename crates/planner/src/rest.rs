//! An idle environment goes to rest, and wakes.
//!
//! | state | situation | step |
//! |---|---|---|
//! | any | a request waits, or something is to be deployed | awake, and its instances are started |
//! | dozing | some proxy may still forward, or has a request in flight | wait |
//! | dozing | an instance is frozen | go on with it |
//! | dozing | none | paused if the spec says so, else asleep |
//! | paused | an instance runs and is in nobody's use | freeze it |
//! | paused | paused for long enough | asleep |
//! | asleep | an instance is frozen, or runs and is in nobody's use | stop it; one is kept for the next start, the others go |
//!
//! Promises: while anything may be on its way to a stop, nothing is forwarded to it: it wakes when it has stopped. The
//! same holds for what is being frozen, which takes milliseconds.

use std::collections::BTreeSet;

use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::rest::Rest;
use slipway_domain::routing::RouteState;

use crate::instances::{LOOK_AGAIN, of, publish, start, wake_at};
use crate::plan::{Op, Plan, Route, Step};
use crate::world::{ReleaseFacts, World};

/// The next batch for an environment that rests.
pub(crate) fn plan(world: &World, serving: &ReleaseFacts, instances: &[Instance]) -> Plan {
    let mut plan = Plan::default();
    let live = || {
        instances
            .iter()
            .filter(|i| i.is_running() || i.state == InstanceState::Paused)
    };
    let wanted = world.wake_asked || world.deployment.is_some() || !serving.scale.sleeps();
    let is_stopping = world.rest == Rest::Asleep && live().next().is_some();
    // What is begun may still have its effect, also on an instance that has ended by itself meanwhile.
    let is_ending = world.running.iter().any(|op| matches!(op, Op::Pause(_) | Op::Stop(_)));
    if wanted && !is_stopping && !is_ending {
        wake(world, serving, instances, &mut plan);
        return plan;
    }
    let held = publish(world, &mut plan, Route::nowhere(RouteState::Asleep)) && world.route.acknowledged;
    // Where the database was put back to a time when it rested, what runs may be in use.
    let is_in_use = |i: &Instance| i.is_running() && (!held || world.route.draining.contains(&i.id));
    match world.rest {
        Rest::Awake => {}
        Rest::Dozing => {
            // Where the database was put back to a time before it was frozen, a request may be on its way to it.
            for frozen in instances.iter().filter(|i| i.state == InstanceState::Paused) {
                start(world, &mut plan, Op::Resume(frozen.id.clone()));
            }
            let is_used = instances.iter().any(|i| world.route.draining.contains(&i.id));
            if held && !is_used {
                let next = if serving.scale.pause_for.as_millis() > 0 {
                    Rest::Paused
                } else {
                    Rest::Asleep
                };
                plan.steps.push(Step::Rest(next));
            } else {
                wake_at(&mut plan, world.now + LOOK_AGAIN);
            }
        }
        Rest::Paused => {
            for instance in instances.iter().filter(|i| i.is_running() && !is_in_use(i)) {
                start(world, &mut plan, Op::Pause(instance.id.clone()));
            }
            let end = world.rest_since.unwrap_or(world.now) + serving.scale.pause_for.to_chrono();
            if world.now >= end {
                plan.steps.push(Step::Rest(Rest::Asleep));
            } else {
                wake_at(&mut plan, end);
            }
            plan.settled = held && instances.iter().all(|i| !i.is_running());
            if !plan.settled {
                wake_at(&mut plan, world.now + LOOK_AGAIN);
            }
        }
        Rest::Asleep => {
            let kept = sleep(world, serving, instances, is_in_use, &mut plan);
            plan.settled = held && live().next().is_none() && instances.len() <= usize::from(kept.is_some());
            if !plan.settled {
                wake_at(&mut plan, world.now + LOOK_AGAIN);
            }
        }
    }
    plan
}

/// Stops what runs or is frozen; one is kept for the next start, the others go. Gives whether one is kept.
fn sleep<'a>(
    world: &World,
    serving: &ReleaseFacts,
    instances: &'a [Instance],
    is_in_use: impl Fn(&Instance) -> bool,
    plan: &mut Plan,
) -> Option<&'a str> {
    let kept = kept(serving, instances);
    for instance in instances.iter().filter(|i| !is_in_use(i)) {
        let is_kept = Some(instance.id.as_str()) == kept;
        match (&instance.state, is_kept) {
            (InstanceState::Running { .. } | InstanceState::Paused, true) => {
                start(world, plan, Op::Stop(instance.id.clone()));
            }
            (_, true) => {}
            (_, false) => start(world, plan, Op::Remove(instance.id.clone())),
        }
    }
    kept
}

/// The instance that is started again on the first request.
fn kept<'a>(serving: &ReleaseFacts, instances: &'a [Instance]) -> Option<&'a str> {
    of(instances, serving)
        .into_iter()
        .find(|i| i.slot == 0 && i.state != InstanceState::Dead)
        .map(|i| i.id.as_str())
}

/// Awake again: what served is started in the same batch, unless something else is to take its place anyway.
fn wake(world: &World, serving: &ReleaseFacts, instances: &[Instance], plan: &mut Plan) {
    plan.steps.push(Step::Rest(Rest::Awake));
    if world.deployment.is_some() {
        return;
    }
    let own = of(instances, serving);
    let mut missing = BTreeSet::new();
    for slot in 0..serving.replicas {
        match own.iter().find(|i| i.slot == slot) {
            Some(instance) if instance.is_running() => {}
            // What was kept goes on as it is: to make it anew would take longer.
            Some(instance) if matches!(instance.state, InstanceState::Paused | InstanceState::Exited { .. }) => {
                start(world, plan, Op::Resume(instance.id.clone()));
            }
            _ => drop(missing.insert(slot)),
        }
    }
    if !missing.is_empty() {
        start(world, plan, Op::Apply(serving.id, missing));
    }
}
