//! One deployment under way. What all strategies share is here; how the traffic moves is each one's own module.
//!
//! | situation | step |
//! |---|---|
//! | stopped or deleted meanwhile | fail as cancelled |
//! | image not here | pull |
//! | release command not run | run it once; its failure ends the deployment |
//! | an instance is proven, and the app's own checks are not made | make them; nothing has traffic before they pass |
//! | an instance ended, or is not healthy in time | fail; the serving release is settled again |
//! | all wanted instances healthy, only they routed, every proxy confirmed | succeed |
//!
//! Promises: whatever the strategy, a deployment ends within its bounds, and one that fails leaves the traffic where it
//! was before.

mod bluegreen;
mod canary;
mod group;
mod recreate;
mod rolling;

use chrono::TimeDelta;
use slipway_domain::deployment::{DeploymentState, ReasonCode, StepName, StepState};
use slipway_domain::observed::{Instance, Observed};
use slipway_domain::spec::Strategy;

use crate::instances::{LOOK_AGAIN, start, wake_at};
use crate::plan::{Failure, Op, Plan, Step};
use crate::world::{CommandFacts, DeploymentFacts, Desired, World};

use group::Group;

/// A deployment that has not got as far as its image waits so long for an engine that does not answer.
const BLIND_MAX: TimeDelta = TimeDelta::minutes(10);
/// A pull may take so long in all.
const PULL_MAX: TimeDelta = TimeDelta::minutes(30);
/// The release command may take so long.
const COMMAND_MAX: TimeDelta = TimeDelta::minutes(10);
/// Creating and starting the instances of one surge may take so long.
const START_MAX: TimeDelta = TimeDelta::minutes(5);
/// The checks of the app's own may take so long.
const SMOKE_MAX: TimeDelta = TimeDelta::minutes(5);
/// All proxies must confirm the switch within this.
const SWITCH_MAX: TimeDelta = TimeDelta::seconds(60);

/// The next batch for an unfinished deployment.
pub fn plan(world: &World, deployment: &DeploymentFacts, instances: &[Instance]) -> Plan {
    let mut plan = Plan::default();
    if world.desired != Desired::Running {
        let deleted = world.desired == Desired::Deleted;
        plan.steps
            .push(Step::Fail(deployment.id, Failure::Cancelled { deleted }));
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
    if !(pull(world, deployment, &mut plan) && command(world, deployment, &mut plan)) {
        return plan;
    }
    let group = Group::of(world, deployment, instances);
    if let Some(failure) = group.lost() {
        plan.steps.push(Step::Fail(deployment.id, failure));
        return plan;
    }
    wake_at(&mut plan, world.now + LOOK_AGAIN);
    group.smoke(&mut plan);
    match deployment.target.strategy {
        Strategy::Rolling => rolling::roll(&group, &mut plan),
        Strategy::BlueGreen => bluegreen::roll(&group, &mut plan),
        Strategy::Canary => canary::roll(&group, &mut plan),
        Strategy::Recreate => recreate::roll(&group, &mut plan),
    }
    group.wake_at_deadlines(&mut plan);
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
    match deployment.state {
        DeploymentState::Pending => plan.steps.push(Step::Begin(deployment.id)),
        // What it waits for is shown, and has its time.
        DeploymentState::Running if deployment.steps.is_empty() => {
            mark(&mut plan, deployment, StepName::Pull, StepState::Running);
        }
        _ => {}
    }
    let begun = deployment.steps.get(&StepName::Pull);
    if let (Some((StepState::Running, since)), Observed::Unknown { reason }) = (begun, &world.instances)
        && world.now > *since + BLIND_MAX
    {
        let (code, detail) = (ReasonCode::EngineUnavailable, reason.clone());
        plan.steps
            .push(Step::Fail(deployment.id, Failure::Operation { code, detail }));
        return plan;
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
        Op::Pull(r) | Op::Command(r) | Op::Smoke(r) | Op::Apply(r, _) => *r == deployment.target.id,
        Op::RemoveCommand(_) | Op::Resume(_) | Op::Pause(_) | Op::Stop(_) | Op::Remove(_) | Op::Clean => false,
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
/// a deployment whose instances cannot be seen. A canary ends by its own steps.
fn overdue(world: &World, deployment: &DeploymentFacts) -> Option<StepName> {
    let target = &deployment.target;
    let rounds = i32::try_from(target.replicas.div_ceil(target.surge.max(1))).unwrap_or(1);
    let health_max = (target.health_deadline.to_chrono() + START_MAX) * rounds;
    deployment.steps.iter().find_map(|(step, (state, since))| {
        let max = match step {
            StepName::Pull => PULL_MAX,
            StepName::ReleaseCommand => COMMAND_MAX,
            StepName::Start => START_MAX,
            StepName::Health => health_max,
            StepName::Smoke => SMOKE_MAX,
            StepName::Switch => SWITCH_MAX,
            // Under way in an unfinished deployment only where the old instances stop first.
            StepName::Drain => emptied_max(world),
            StepName::Canary | StepName::Stop => return None,
        };
        (*state == StepState::Running && world.now > *since + max).then_some(*step)
    })
}

/// How long the old instances may take to go.
fn emptied_max(world: &World) -> TimeDelta {
    let polite = world.serving.as_ref().map_or(TimeDelta::zero(), |s| {
        s.drain_timeout.to_chrono() + s.kill_timeout.to_chrono()
    });
    polite + START_MAX
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
        None => {
            mark(plan, deployment, StepName::Pull, StepState::Running);
            false
        }
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
