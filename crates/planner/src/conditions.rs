//! What is true of an environment, in words for those who look at it. Nothing is decided by it.
//!
//! Promises: what cannot be seen is called so, and is told as it was seen last.

use std::collections::BTreeSet;

use slipway_domain::Timestamp;
use slipway_domain::deployment::{StepName, StepState};
use slipway_domain::observed::{Instance, Observed, UNKNOWN_RELEASE};
use slipway_domain::rest::Rest;

use crate::instances::is_healthy;
use crate::plan::{Plan, Step};
use crate::quarantine;
use crate::world::{DeploymentFacts, Desired, Health, ReleaseFacts, Restart, World};

/// So many ends in a row are a loop.
const CRASHES_MIN: u32 = 3;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionType {
    /// Every wanted instance is healthy and has traffic.
    Ready,
    /// At least one healthy instance has traffic.
    Available,
    /// A deployment is being carried out.
    Progressing,
}

impl ConditionType {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Available => "Available",
            Self::Progressing => "Progressing",
        }
    }
}

/// Something that is so or not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What.
    pub kind: ConditionType,
    /// Whether it is so.
    pub status: bool,
    /// Why, for scripts: one of a few words.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

fn condition(kind: ConditionType, status: bool, reason: &'static str, message: impl Into<String>) -> Condition {
    Condition {
        kind,
        status,
        reason,
        message: message.into(),
    }
}

/// The environment as it is when the plan's rows are written.
struct After<'a> {
    serving: Option<&'a ReleaseFacts>,
    deployment: Option<&'a DeploymentFacts>,
    last_failed: bool,
    rest: Rest,
    routed: &'a BTreeSet<String>,
}

fn after<'a>(world: &'a World, plan: &'a Plan) -> After<'a> {
    let mut after = After {
        serving: world.serving.as_ref(),
        deployment: world.deployment.as_ref(),
        last_failed: world.last_failed,
        rest: world.rest,
        routed: &world.route.instances,
    };
    for step in &plan.steps {
        match step {
            Step::Rest(rest) => after.rest = *rest,
            Step::Publish(route) => after.routed = &route.instances,
            Step::Succeed(_) => {
                after.serving = after.deployment.take().map(|d| &d.target);
                after.last_failed = false;
            }
            Step::Fail(..) => {
                after.deployment = None;
                after.last_failed = true;
            }
            _ => {}
        }
    }
    after
}

/// What can be said once the plan's rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// All of it.
    Seen([Condition; 3]),
    /// The engine cannot be looked at: how far a deployment is, and why the rest is as it was seen last.
    Blind {
        /// The one thing that is known.
        progress: Condition,
        /// For scripts: what the others say instead of their own reason.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

/// All conditions, once the plan's rows are written.
pub fn conditions(world: &World, plan: &Plan) -> Said {
    let after = after(world, plan);
    let progress = progress(&after);
    match &world.instances {
        Observed::Known(instances) => {
            let (ready, available) = service(world, &after, instances);
            Said::Seen([ready, available, progress])
        }
        Observed::Unknown { .. } => Said::Blind {
            progress,
            reason: "EngineUnavailable",
            message: "the container engine does not answer: this is what was seen last".into(),
        },
    }
}

fn service(world: &World, after: &After<'_>, instances: &[Instance]) -> (Condition, Condition) {
    let routed = |i: &&Instance| after.routed.contains(&i.id) && is_healthy(world, i);
    if let Some(unknown) = quarantine::of(world, instances) {
        let (reason, message) = (UNKNOWN_RELEASE, quarantine::told(&unknown));
        let available = instances.iter().any(|i| routed(&i));
        return (
            condition(ConditionType::Ready, false, reason, message.clone()),
            condition(ConditionType::Available, available, reason, message),
        );
    }
    let both = |reason, message: &str| {
        let of = |kind| condition(kind, false, reason, message);
        (of(ConditionType::Ready), of(ConditionType::Available))
    };
    let serving = match (world.desired, after.serving) {
        (Desired::Deleted, _) => return both("Deleting", "it is being deleted"),
        (Desired::Stopped, _) => return both("Stopped", "it was stopped"),
        (Desired::Running, None) if after.last_failed => {
            return both(
                "DeploymentFailed",
                "the last deployment failed, and nothing served before",
            );
        }
        (Desired::Running, None) => return both("NothingServes", "no deployment has succeeded yet"),
        (Desired::Running, Some(serving)) => serving,
    };
    if after.rest != Rest::Awake {
        let idle = serving.scale.idle_timeout;
        let message = format!("no request came for {idle}; the next one wakes it");
        return (
            condition(ConditionType::Ready, false, "Asleep", message.clone()),
            condition(ConditionType::Available, true, "Asleep", message),
        );
    }
    let healthy = instances.iter().filter(routed).count();
    let wanted = serving.replicas;
    let is_whole = healthy >= usize::try_from(wanted).unwrap_or(usize::MAX);
    let plural = if wanted == 1 { "instance" } else { "instances" };
    // While a deployment is under way more may serve than are wanted.
    let shown = u32::try_from(healthy).map_or(wanted, |healthy| healthy.min(wanted));
    let silent = instances.iter().find_map(|i| failing_since(world, serving, i));
    let silent = silent.map_or_else(String::new, |since| {
        let since = since.format("%H:%M:%S UTC");
        format!("; one has not answered its health check since {since}")
    });
    let message = format!("{shown} of {wanted} {plural} healthy and with traffic{silent}");
    let reason = |holds: bool| if holds { "Healthy" } else { "Unhealthy" };
    let loops = instances.iter().find_map(|i| crash_loop(world, serving, i));
    if let Some(loops) = loops.filter(|_| !is_whole) {
        let looping = format!("{message}; {loops}; {}", next_start(world, &loops));
        return (
            condition(ConditionType::Ready, false, "CrashLoop", looping),
            condition(ConditionType::Available, healthy > 0, reason(healthy > 0), message),
        );
    }
    (
        condition(ConditionType::Ready, is_whole, reason(is_whole), message.clone()),
        condition(ConditionType::Available, healthy > 0, reason(healthy > 0), message),
    )
}

/// Since when an instance that was healthy does not answer any more.
fn failing_since(world: &World, serving: &ReleaseFacts, instance: &Instance) -> Option<Timestamp> {
    match world.health.get(&instance.id) {
        Some(Health::Failing { since }) if serving.owns(instance) && instance.is_running() => Some(*since),
        _ => None,
    }
}

/// How an instance of the release ended that ends again and again, if one does.
pub(crate) fn crash_loop(world: &World, serving: &ReleaseFacts, instance: &Instance) -> Option<Restart> {
    let is_wanted = serving.owns(instance) && instance.slot < serving.replicas;
    let restart = world.restarts.get(&(instance.release, instance.slot));
    restart.copied().filter(|r| is_wanted && r.count >= CRASHES_MIN)
}

/// When it is started again, in words.
fn next_start(world: &World, restart: &Restart) -> String {
    if restart.at > world.now {
        format!("it is started again at {}", restart.at.format("%H:%M:%S UTC"))
    } else {
        "it was started again".to_owned()
    }
}

fn progress(after: &After<'_>) -> Condition {
    let kind = ConditionType::Progressing;
    match after.deployment {
        Some(deployment) => condition(kind, true, "Deploying", step(deployment)),
        None if after.last_failed => condition(kind, false, "DeploymentFailed", "the last deployment failed"),
        None => condition(kind, false, "Settled", "no deployment is under way"),
    }
}

fn step(deployment: &DeploymentFacts) -> String {
    let running = |(name, (state, _)): (&StepName, &(StepState, _))| (*state == StepState::Running).then_some(*name);
    match deployment.steps.iter().find_map(running) {
        Some(name) => format!("at the step `{}`", name.as_str()),
        None => "between two steps".into(),
    }
}
