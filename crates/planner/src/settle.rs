//! No deployment under way: what serves is kept serving, everything else goes.
//!
//! | desired | step |
//! |---|---|
//! | running, a release serves | missing and exited slots are started (with back-off), healthy ones routed, others retired |
//! | running, nothing ever served | an honest page, and what a failed deployment left is removed |
//! | stopped | a page, drain, remove all instances |
//! | deleted | no route, remove instances, network, volumes, then the rows |
//!
//! Promises: the last instance that was routed stays routed while it runs, even when its probes fail: a page of the
//! app is better than none.

use std::collections::BTreeSet;

use slipway_domain::deployment::{StepName, StepState};
use slipway_domain::observed::Instance;
use slipway_domain::quantity::Span;
use slipway_domain::routing::RouteState;

use crate::instances::{is_healthy, of, publish, retire, start, wake_at};
use crate::plan::{Op, Plan, Route, Step};
use crate::world::{Desired, Health, ReleaseFacts, World};

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
    let own: Vec<&Instance> = of(instances, serving.id).collect();

    let mut routed: BTreeSet<String> = own
        .iter()
        .filter(|i| i.slot < serving.replicas && is_healthy(world, i))
        .map(|i| i.id.clone())
        .collect();
    // After a deployment that failed half-way, its healthy instances stand in until the serving release is whole.
    let wanted = usize::try_from(serving.replicas).unwrap_or(usize::MAX);
    let stand_ins: Vec<String> = instances
        .iter()
        .filter(|i| i.release != serving.id && is_healthy(world, i) && world.route.instances.contains(&i.id))
        .take(wanted.saturating_sub(routed.len()))
        .map(|i| i.id.clone())
        .collect();
    routed.extend(stand_ins.iter().cloned());
    if routed.is_empty() {
        routed = own
            .iter()
            .filter(|i| i.is_running() && i.address.is_some() && world.route.instances.contains(&i.id))
            .map(|i| i.id.clone())
            .collect();
    }
    let state = if routed.is_empty() {
        RouteState::Starting
    } else {
        RouteState::Serving
    };
    let published = publish(
        world,
        &mut plan,
        Route {
            state,
            instances: routed.clone(),
        },
    );

    let mut due = BTreeSet::new();
    for slot in 0..serving.replicas {
        let instance = own.iter().find(|i| i.slot == slot);
        if instance.is_some_and(|i| i.is_running()) {
            continue;
        }
        match world.restart_at.get(&(serving.id, slot)) {
            Some(at) if *at > world.now => wake_at(&mut plan, *at),
            _ => drop(due.insert(slot)),
        }
    }
    let applying = world
        .running
        .iter()
        .any(|op| matches!(op, Op::Apply(release, _) if *release == serving.id));
    if !due.is_empty() && !applying {
        start(world, &mut plan, Op::Apply(serving.id, due.clone()));
    }

    let keep: BTreeSet<String> = own
        .iter()
        .filter(|i| i.slot < serving.replicas)
        .map(|i| i.id.clone())
        .chain(stand_ins)
        .collect();
    retire(world, &mut plan, instances.iter(), &keep, serving.drain_timeout);
    record_drain(world, &mut plan, instances.len() == keep.len());
    let proven = own
        .iter()
        .all(|i| !matches!(world.health.get(&i.id), Some(Health::Unproven { .. } | Health::Failing)));
    plan.settled = published && due.is_empty() && proven && !applying && instances.len() == keep.len();
    plan
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
    let published = publish(
        world,
        &mut plan,
        Route {
            state,
            instances: BTreeSet::new(),
        },
    );
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
