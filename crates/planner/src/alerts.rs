//! When an alert begins and when it is over.
//!
//! Promises: one alert for one loop, however long it goes on and whoever leads meanwhile; it is over only when the app
//! has run steadily for as long as forgives its ends, when another release serves, or when nothing is to run.

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::alert::AlertKind;
use slipway_domain::ids::ReleaseId;
use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::rest::Rest;

use crate::conditions;
use crate::instances::{is_healthy, wake_at};
use crate::plan::{Plan, Step};
use crate::world::{Desired, ReleaseFacts, World};

/// After so long a life an end is the first one again.
pub const STEADY_AFTER: TimeDelta = TimeDelta::minutes(10);

/// Begins and ends the environment's alerts.
pub(crate) fn follow(world: &World, plan: &mut Plan, instances: &[Instance]) {
    if plan.steps.contains(&Step::Purge) {
        return;
    }
    // A deployment that fails leaves it as it was.
    if world.unknown_alert.is_some() && world.deployment.is_none() {
        plan.steps.push(Step::Clear(AlertKind::UnknownRelease));
    }
    match world.crash_alert {
        Some(release) => match over(world, release, instances) {
            Over::Yes => plan.steps.push(Step::Clear(AlertKind::CrashLoop)),
            Over::NotBefore(at) => wake_at(plan, at),
            Over::No => {}
        },
        None => plan.steps.extend(crash_loop(world, instances)),
    }
}

/// The release that is to serve and is awake.
fn awake(world: &World) -> Option<&ReleaseFacts> {
    let wanted = world.desired == Desired::Running && world.rest == Rest::Awake;
    world.serving.as_ref().filter(|_| wanted)
}

fn crash_loop(world: &World, instances: &[Instance]) -> Option<Step> {
    let serving = awake(world)?;
    // One that runs has been forgiven, or is about to be.
    let ended = |i: &&Instance| matches!(i.state, InstanceState::Exited { .. });
    let mut ended = instances.iter().filter(ended);
    let loops = ended.find_map(|i| conditions::crash_loop(world, serving, i))?;
    Some(Step::Raise(AlertKind::CrashLoop, serving.id, loops.to_string()))
}

/// Whether an alert is over.
enum Over {
    Yes,
    NotBefore(Timestamp),
    No,
}

fn over(world: &World, release: ReleaseId, instances: &[Instance]) -> Over {
    let Some(serving) = awake(world).filter(|serving| serving.is(release)) else {
        return Over::Yes;
    };
    let steady_at = |slot| {
        let of_slot = |i: &&Instance| serving.owns(i) && i.slot == slot && is_healthy(world, i);
        instances.iter().filter(of_slot).find_map(|i| match i.state {
            InstanceState::Running { started_at } => Some(started_at + STEADY_AFTER),
            _ => None,
        })
    };
    let steady: Option<Vec<Timestamp>> = (0..serving.replicas).map(steady_at).collect();
    match steady.and_then(|all| all.into_iter().max()) {
        None => Over::No,
        Some(at) if at > world.now => Over::NotBefore(at),
        Some(_) => Over::Yes,
    }
}
