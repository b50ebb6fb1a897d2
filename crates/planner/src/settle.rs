//! No deployment under way: what serves is kept serving, everything else goes.
//!
//! | desired | step |
//! |---|---|
//! | running, a release serves | missing and exited slots are started (with back-off), healthy ones routed, hung ones started again, others retired |
//! | running, a release fails within its bake time | back to the one before |
//! | running, nothing ever served | an honest page, and what a failed deployment left is removed |
//! | stopped | a page, drain, remove all instances |
//! | deleted | no route, remove instances, network, volumes, then the rows |
//!
//! Promises: the last instance that was routed stays routed while it runs, even when its probes fail, until it is started
//! again: a page of the app is better than none.

use std::collections::BTreeSet;

use slipway_domain::Timestamp;
use slipway_domain::deployment::{StepName, StepState};
use slipway_domain::observed::Instance;
use slipway_domain::quantity::Span;
use slipway_domain::routing::RouteState;
use slipway_domain::spec::Strategy;

use crate::instances::{
    failed_by_itself, is_applying, is_healthy, of, publish, restart_missing, retire, start, wake_at,
};
use crate::plan::{Failure, Op, Plan, Route, Step};
use crate::world::{Desired, Health, ReleaseFacts, World};
use crate::{comeback, liveness};

/// The next batch for an environment without an unfinished deployment.
pub fn plan(world: &World, instances: &[Instance]) -> Plan {
    match (world.desired, &world.serving) {
        (Desired::Running, Some(serving)) => keep_serving(world, serving, instances),
        (Desired::Running, None) => {
            let state = if world.last_failed {
                RouteState::Failed
            } else {
                RouteState::Empty
            };
            empty_out(world, instances, state)
        }
        (Desired::Stopped, _) => empty_out(world, instances, RouteState::Stopped),
        (Desired::Deleted, _) => delete(world, instances),
    }
}

fn keep_serving(world: &World, serving: &ReleaseFacts, instances: &[Instance]) -> Plan {
    let mut plan = Plan::default();
    let own = of(instances, serving);
    if let Some(step) = take_back(world, serving, &own) {
        plan.steps.push(step);
        return plan;
    }
    let hung = liveness::hung(world, &mut plan, serving, &own);
    let baking = baking(world, serving, instances, &mut plan);
    let stand_ins = stand_ins(world, serving, instances, &own);
    let mut routed = routed(world, serving, &own, &stand_ins);
    if let Some(hung) = hung {
        routed.remove(&hung.id);
        liveness::restart(world, &mut plan, serving, hung);
    }
    let route = if routed.is_empty() {
        Route::nowhere(comeback::waiting(world, &mut plan, serving, &own))
    } else {
        Route::serving(routed)
    };
    let published = publish(world, &mut plan, route);

    // Where releases must not run side by side, what a failed deployment left goes first.
    let alone = serving.strategy != Strategy::Recreate || instances.iter().all(|i| serving.owns(i));
    let due = if alone {
        restart_missing(world, &mut plan, serving, &own)
    } else {
        BTreeSet::new()
    };

    let wanted = own.iter().filter(|i| i.slot < serving.replicas).map(|i| i.id.clone());
    let keep: BTreeSet<String> = wanted.chain(stand_ins).chain(baking).collect();
    retire(world, &mut plan, instances.iter(), &keep, serving.drain_timeout);
    record_drain(world, &mut plan, instances.iter().all(|i| serving.owns(i)));
    let proven = own.iter().all(|i| {
        !matches!(
            world.health.get(&i.id),
            Some(Health::Unproven { .. } | Health::Failing { .. })
        )
    });
    plan.settled =
        published && due.is_empty() && proven && alone && !is_applying(world, serving) && instances.len() == keep.len();
    plan
}

/// The end of the bake time, while it lasts and there is something to go back to.
pub(crate) fn bake_end<'a>(world: &'a World, serving: &ReleaseFacts) -> Option<(Timestamp, &'a ReleaseFacts)> {
    let previous = world.previous.as_ref().filter(|p| !serving.is(p.id))?;
    let end = world.serving_since? + serving.bake_time.to_chrono();
    (world.now < end).then_some((end, previous))
}

/// Goes back to the release before when the one that serves fails within its bake time.
fn take_back(world: &World, serving: &ReleaseFacts, own: &[&Instance]) -> Option<Step> {
    let (_, previous) = bake_end(world, serving).filter(|_| !serving.is_rollback)?;
    let failure = own.iter().find_map(|i| match world.health.get(&i.id) {
        _ if failed_by_itself(i) => Some(Failure::Exited { instance: i.id.clone() }),
        Some(Health::Failing { .. }) => Some(Failure::Unhealthy { instance: i.id.clone() }),
        _ => None,
    })?;
    Some(Step::RollBack {
        from: serving.id,
        to: previous.id,
        failure,
    })
}

/// The old group of a blue/green deployment, kept for its bake time.
fn baking(world: &World, serving: &ReleaseFacts, instances: &[Instance], plan: &mut Plan) -> Vec<String> {
    match bake_end(world, serving) {
        Some((end, previous)) if serving.strategy == Strategy::BlueGreen => {
            wake_at(plan, end);
            let running = instances.iter().filter(|i| previous.owns(i) && i.is_running());
            running.map(|i| i.id.clone()).collect()
        }
        _ => Vec::new(),
    }
}

/// After a deployment that failed half-way, its healthy instances stand in until the serving release is whole; never
/// beside a release that must run alone, which would wait for them to go while they wait for it to be whole.
fn stand_ins(world: &World, serving: &ReleaseFacts, instances: &[Instance], own: &[&Instance]) -> Vec<String> {
    if serving.strategy == Strategy::Recreate {
        return Vec::new();
    }
    let wanted = usize::try_from(serving.replicas).unwrap_or(usize::MAX);
    let whole = own
        .iter()
        .filter(|i| i.slot < serving.replicas && is_healthy(world, i))
        .count();
    instances
        .iter()
        .filter(|i| !serving.owns(i) && is_healthy(world, i) && world.route.instances.contains(&i.id))
        .take(wanted.saturating_sub(whole))
        .map(|i| i.id.clone())
        .collect()
}

/// Who gets the traffic: what is healthy and, without any, what ran and was routed before.
fn routed(world: &World, serving: &ReleaseFacts, own: &[&Instance], stand_ins: &[String]) -> BTreeSet<String> {
    let healthy = own.iter().filter(|i| i.slot < serving.replicas && is_healthy(world, i));
    let routed: BTreeSet<String> = healthy.map(|i| i.id.clone()).chain(stand_ins.iter().cloned()).collect();
    if !routed.is_empty() {
        return routed;
    }
    let left = |i: &&&Instance| i.is_running() && i.address.is_some() && world.route.instances.contains(&i.id);
    own.iter().filter(left).map(|i| i.id.clone()).collect()
}

/// The last deployment's own record of what goes on after it succeeded.
fn record_drain(world: &World, plan: &mut Plan, gone: bool) {
    let Some(deployment) = world.draining else { return };
    if gone {
        plan.steps
            .push(Step::Mark(deployment, StepName::Drain, StepState::Succeeded));
        plan.steps
            .push(Step::Mark(deployment, StepName::Stop, StepState::Succeeded));
    }
}

fn empty_out(world: &World, instances: &[Instance], state: RouteState) -> Plan {
    let mut plan = Plan::default();
    let published = publish(world, &mut plan, Route::nowhere(state));
    let drain = world
        .serving
        .as_ref()
        .map_or_else(|| Span::from_secs(30), |s| s.drain_timeout);
    retire(world, &mut plan, instances.iter(), &BTreeSet::new(), drain);
    record_drain(world, &mut plan, instances.is_empty());
    plan.settled = published && instances.is_empty() && world.running.is_empty();
    plan
}

fn delete(world: &World, instances: &[Instance]) -> Plan {
    let mut plan = empty_out(world, instances, RouteState::Empty);
    if !plan.settled {
        return plan;
    }
    plan.settled = false;
    match world.failed.get(&Op::Clean) {
        _ if world.running.contains(&Op::Clean) => {}
        None if !world.cleaned => plan.steps.push(Step::Start(Op::Clean)),
        Some(_) => start(world, &mut plan, Op::Clean),
        None => plan.steps.push(Step::Purge),
    }
    plan
}
