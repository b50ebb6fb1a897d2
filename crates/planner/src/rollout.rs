//! One deployment under way: rolling, with a surge, never below the wanted count.
//!
//! | situation | step |
//! |---|---|
//! | stopped or deleted meanwhile | fail as cancelled |
//! | image not here | pull |
//! | release command not run | run it once; its failure ends the deployment |
//! | fewer unproven instances than the surge | start the next slots |
//! | an instance ended, or is not healthy in time | fail; the serving release is settled again |
//! | a new instance is healthy | route it, and one old instance less |
//! | all wanted instances healthy, only they routed, every proxy confirmed | succeed |
//! | an old instance is out of all proxies and idle, or its drain time is over | remove it |
//!
//! Promises: with n wanted and n serving, at least n healthy instances are routed at every moment.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use slipway_domain::deployment::{DeploymentState, ReasonCode, StepName, StepState};
use slipway_domain::observed::Instance;
use slipway_domain::routing::RouteState;

use crate::instances::{LOOK_AGAIN, has_ended, is_healthy, of, publish, retire, start, wake_at};
use crate::plan::{Failure, Op, Plan, Route, Step};
use crate::world::{CommandFacts, DeploymentFacts, Desired, Health, World};

/// A pull may take so long in all.
const PULL_MAX: TimeDelta = TimeDelta::minutes(30);
/// The release command may take so long.
const COMMAND_MAX: TimeDelta = TimeDelta::minutes(10);
/// Creating and starting the instances of one surge may take so long.
const START_MAX: TimeDelta = TimeDelta::minutes(5);
/// All proxies must confirm the switch within this.
const SWITCH_MAX: TimeDelta = TimeDelta::seconds(60);

/// How many unproven instances of the new release may run at once.
fn surge(replicas: u32) -> u32 {
    replicas.div_ceil(4).max(1)
}

/// The next batch for an unfinished deployment.
pub fn plan(world: &World, deployment: &DeploymentFacts, instances: &[Instance]) -> Plan {
    let mut plan = Plan::default();
    if world.desired != Desired::Running {
        plan.steps.push(Step::Fail(deployment.id, Failure::Cancelled));
        return plan;
    }
    match deployment.state {
        DeploymentState::Pending => plan.steps.push(Step::Begin(deployment.id)),
        DeploymentState::Running => {}
        _ => return plan,
    }
    if let Some(failure) = fatal(world, deployment) {
        plan.steps.push(Step::Fail(deployment.id, failure));
        return plan;
    }
    if pull(world, deployment, &mut plan) && command(world, deployment, &mut plan) {
        roll(world, deployment, instances, &mut plan);
    }
    plan
}

/// The engine cannot be looked at: nothing is done, but a deployment does not wait for ever.
pub fn without_sight(world: &World) -> Plan {
    let mut plan = Plan {
        wake: Some(world.now + LOOK_AGAIN),
        ..Plan::default()
    };
    let Some(deployment) = &world.deployment else {
        return plan;
    };
    if deployment.state == DeploymentState::Pending {
        plan.steps.push(Step::Begin(deployment.id));
    }
    if let Some(step) = overdue(world, deployment) {
        plan.steps.push(Step::Fail(deployment.id, Failure::Overdue { step }));
    }
    plan
}

fn mark(plan: &mut Plan, deployment: &DeploymentFacts, step: StepName, state: StepState) {
    if deployment.steps.get(&step).map(|(s, _)| *s) != Some(state) {
        plan.steps.push(Step::Mark(deployment.id, step, state));
    }
}

fn is_done(deployment: &DeploymentFacts, step: StepName) -> bool {
    matches!(
        deployment.steps.get(&step),
        Some((StepState::Succeeded | StepState::Skipped, _))
    )
}

/// An operation of this release that cannot succeed.
fn fatal(world: &World, deployment: &DeploymentFacts) -> Option<Failure> {
    let ours = |op: &Op| match op {
        Op::Pull(r) | Op::Command(r) | Op::Apply(r, _) => *r == deployment.target.id,
        Op::RemoveCommand(_) | Op::Remove(_) | Op::Clean => false,
    };
    let failed = world
        .failed
        .iter()
        .filter(|(op, _)| ours(op))
        .find_map(|(_, f)| f.fatal.clone());
    if let Some((code, detail)) = failed {
        return Some(Failure::Operation { code, detail });
    }
    let step = overdue(world, deployment)?;
    let last = world
        .failed
        .iter()
        .find(|(op, _)| ours(op))
        .map(|(_, f)| f.error.clone());
    match (step, last) {
        (StepName::ReleaseCommand, _) => Some(Failure::Command { exit_code: None }),
        (StepName::Pull, Some(detail)) => Some(Failure::Operation {
            code: ReasonCode::RegistryUnavailable,
            detail,
        }),
        (StepName::Start, Some(detail)) => Some(Failure::Operation {
            code: ReasonCode::EngineUnavailable,
            detail,
        }),
        (step, _) => Some(Failure::Overdue { step }),
    }
}

/// The step that has taken longer than it may. Health has its own deadline per instance; its bound here only ends
/// a deployment whose instances cannot be seen.
fn overdue(world: &World, deployment: &DeploymentFacts) -> Option<StepName> {
    let rounds = i32::try_from(deployment.target.replicas.div_ceil(surge(deployment.target.replicas))).unwrap_or(1);
    let health_max = (deployment.target.health_deadline.to_chrono() + START_MAX) * rounds;
    deployment.steps.iter().find_map(|(step, (state, since))| {
        let max = match step {
            StepName::Pull => PULL_MAX,
            StepName::ReleaseCommand => COMMAND_MAX,
            StepName::Start => START_MAX,
            StepName::Health => health_max,
            StepName::Switch => SWITCH_MAX,
            StepName::Drain | StepName::Stop => return None,
        };
        (*state == StepState::Running && world.now > *since + max).then_some(*step)
    })
}

/// True when the image is here.
fn pull(world: &World, deployment: &DeploymentFacts, plan: &mut Plan) -> bool {
    if is_done(deployment, StepName::Pull) {
        return true;
    }
    match deployment.image_present {
        Some(true) => {
            mark(plan, deployment, StepName::Pull, StepState::Succeeded);
            true
        }
        Some(false) => {
            mark(plan, deployment, StepName::Pull, StepState::Running);
            start(world, plan, Op::Pull(deployment.target.id));
            wake_at(plan, world.now + LOOK_AGAIN);
            false
        }
        None => false,
    }
}

/// True when the release command has run or there is none.
fn command(world: &World, deployment: &DeploymentFacts, plan: &mut Plan) -> bool {
    if is_done(deployment, StepName::ReleaseCommand) {
        return true;
    }
    if !deployment.target.has_release_command {
        mark(plan, deployment, StepName::ReleaseCommand, StepState::Skipped);
        return true;
    }
    let begun = deployment.steps.contains_key(&StepName::ReleaseCommand);
    match deployment.release_command {
        Some(CommandFacts::Ended { exit_code: 0 }) => {
            mark(plan, deployment, StepName::ReleaseCommand, StepState::Succeeded);
            start(world, plan, Op::RemoveCommand(deployment.target.id));
            true
        }
        Some(CommandFacts::Ended { exit_code }) => {
            plan.steps.push(Step::Fail(
                deployment.id,
                Failure::Command {
                    exit_code: Some(exit_code),
                },
            ));
            false
        }
        Some(CommandFacts::Running) => {
            mark(plan, deployment, StepName::ReleaseCommand, StepState::Running);
            wake_at(plan, world.now + TimeDelta::seconds(1));
            false
        }
        Some(CommandFacts::Absent) => {
            mark(plan, deployment, StepName::ReleaseCommand, StepState::Running);
            start(world, plan, Op::Command(deployment.target.id));
            wake_at(plan, world.now + TimeDelta::seconds(if begun { 1 } else { 5 }));
            false
        }
        None => false,
    }
}

fn roll(world: &World, deployment: &DeploymentFacts, instances: &[Instance], plan: &mut Plan) {
    let target = &deployment.target;
    let new: Vec<&Instance> = of(instances, target.id).collect();
    if let Some(failure) = lost(world, deployment, &new) {
        plan.steps.push(Step::Fail(deployment.id, failure));
        return;
    }

    let healthy: Vec<&Instance> = new
        .iter()
        .copied()
        .filter(|i| i.slot < target.replicas && is_healthy(world, i))
        .collect();
    let healthy_count = u32::try_from(healthy.len()).unwrap_or(u32::MAX);
    let unproven = new.iter().filter(|i| i.is_running() && !is_healthy(world, i)).count();
    let room = surge(target.replicas).saturating_sub(u32::try_from(unproven).unwrap_or(u32::MAX));
    let missing: BTreeSet<u32> = (0..target.replicas)
        .filter(|slot| !new.iter().any(|i| i.slot == *slot && i.is_running()))
        .take(usize::try_from(room).unwrap_or(0))
        .collect();
    if !missing.is_empty() {
        mark(plan, deployment, StepName::Start, StepState::Running);
        start_slots(world, plan, deployment, &missing);
    }
    if new.iter().any(|i| i.is_running()) && !is_done(deployment, StepName::Health) {
        if healthy_count + u32::try_from(unproven).unwrap_or(0) >= target.replicas {
            mark(plan, deployment, StepName::Start, StepState::Succeeded);
        }
        if healthy_count < target.replicas {
            mark(plan, deployment, StepName::Health, StepState::Running);
        }
    }
    wake_at(plan, world.now + LOOK_AGAIN);

    switch(world, deployment, instances, &healthy, plan);
}

/// Starts slots unless an operation that starts some of them is under way.
fn start_slots(world: &World, plan: &mut Plan, deployment: &DeploymentFacts, slots: &BTreeSet<u32>) {
    let busy: BTreeSet<u32> = world
        .running
        .iter()
        .filter_map(|op| match op {
            Op::Apply(release, slots) if *release == deployment.target.id => Some(slots),
            _ => None,
        })
        .flatten()
        .copied()
        .collect();
    let free: BTreeSet<u32> = slots.difference(&busy).copied().collect();
    if !free.is_empty() && busy.is_empty() {
        start(world, plan, Op::Apply(deployment.target.id, free));
    }
}

/// A new instance that ended, or was not healthy in time.
fn lost(world: &World, deployment: &DeploymentFacts, new: &[&Instance]) -> Option<Failure> {
    if let Some(ended) = new
        .iter()
        .find(|i| has_ended(i) || (i.restarts > 0 && !is_healthy(world, i)))
    {
        return Some(Failure::Exited {
            instance: ended.id.clone(),
        });
    }
    let deadline = deployment.target.health_deadline.to_chrono();
    new.iter()
        .find(|i| match world.health.get(&i.id) {
            Some(Health::Unproven { since }) => i.is_running() && world.now >= *since + deadline,
            Some(Health::Failing) => true,
            Some(Health::Healthy) | None => false,
        })
        .map(|i| Failure::Unhealthy { instance: i.id.clone() })
}

fn switch(world: &World, deployment: &DeploymentFacts, instances: &[Instance], healthy: &[&Instance], plan: &mut Plan) {
    let wanted = usize::try_from(deployment.target.replicas).unwrap_or(usize::MAX);
    let mut old: Vec<&Instance> = instances
        .iter()
        .filter(|i| i.release != deployment.target.id && i.is_running() && world.route.instances.contains(&i.id))
        .collect();
    old.sort_by_key(|i| i.slot);
    // Before the first new instance is proven the old ones stay as they are, even when fewer are wanted.
    let kept_max = if healthy.is_empty() {
        old.len()
    } else {
        wanted.saturating_sub(healthy.len())
    };
    let kept = old.iter().take(kept_max);
    let routed: BTreeSet<String> = healthy.iter().chain(kept).map(|i| i.id.clone()).collect();

    let complete = healthy.len() >= wanted;
    if complete {
        mark(plan, deployment, StepName::Start, StepState::Succeeded);
        mark(plan, deployment, StepName::Health, StepState::Succeeded);
    }
    if !routed.is_empty() {
        let published = publish(
            world,
            plan,
            Route {
                state: RouteState::Serving,
                instances: routed.clone(),
            },
        );
        if complete && !(published && world.route.acknowledged) {
            mark(plan, deployment, StepName::Switch, StepState::Running);
        }
        if complete && published && world.route.acknowledged {
            mark(plan, deployment, StepName::Switch, StepState::Succeeded);
            let drains = instances.iter().any(|i| i.release != deployment.target.id);
            let after = if drains { StepState::Running } else { StepState::Skipped };
            mark(plan, deployment, StepName::Drain, after);
            if !drains {
                mark(plan, deployment, StepName::Stop, after);
            }
            plan.steps.push(Step::Succeed(deployment.id));
            return;
        }
    } else if world.route.instances.is_empty() {
        publish(
            world,
            plan,
            Route {
                state: RouteState::Starting,
                instances: BTreeSet::new(),
            },
        );
    }
    // Old instances that are not routed any more make room while the rest is still rolling.
    let keep: BTreeSet<String> = routed
        .into_iter()
        .chain(of(instances, deployment.target.id).map(|i| i.id.clone()))
        .collect();
    let drain = world
        .serving
        .as_ref()
        .map_or(deployment.target.drain_timeout, |s| s.drain_timeout);
    retire(world, plan, instances.iter(), &keep, drain);
    let deadlines = of(instances, deployment.target.id).filter_map(|i| match world.health.get(&i.id) {
        Some(Health::Unproven { since }) => Some(*since + deployment.target.health_deadline.to_chrono()),
        _ => None,
    });
    for deadline in deadlines {
        wake_at(plan, deadline);
    }
}
