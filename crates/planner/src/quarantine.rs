//! Instances of a release run here that the database does not know: it was put back to an older point.
//!
//! | situation | step |
//! |---|---|
//! | what should run was decided before that release was made | it goes on serving, what of it has ended or rests is started again; nothing is made, stopped or removed |
//! | the same, and a deployment is under way | it fails: its time was before |
//! | somebody deployed, stopped or deleted after it | as ever: the unknown instances are old ones among others |
//! | the deployment after it failed | what it left is removed, and the unknown release goes on serving |
//!
//! Promises: what the database does not know is not ended because of what the database knows.

use std::collections::BTreeSet;

use slipway_domain::alert::AlertKind;
use slipway_domain::deployment::ReasonCode;
use slipway_domain::ids::ReleaseId;
use slipway_domain::observed::Instance;
use slipway_domain::quantity::Span;
use slipway_domain::rest::Rest;
use slipway_domain::routing::RouteState;
use slipway_domain::{ReleaseNumber, Timestamp};

use crate::instances::{is_ending, is_healthy, publish, retire, start, wake_at};
use crate::plan::{Failure, Op, Plan, Route, Step};
use crate::world::{Desired, World};

/// For requests on what is removed where no release serves that says more.
const DRAIN: Span = Span::from_secs(30);

/// The newest release that the database does not know, if that is newer than what was decided last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unknown {
    newest: ReleaseId,
    number: ReleaseNumber,
}

/// Whether nothing may be done, and because of which release.
pub(crate) fn of(world: &World, instances: &[Instance]) -> Option<Unknown> {
    let unknown = instances.iter().filter(|i| world.unknown.contains(&i.release));
    let newest = unknown.max_by_key(|i| i.release)?;
    let is_newer = decided_at(world).is_none_or(|at| at <= newest.release.minted_at());
    is_newer.then_some(Unknown {
        newest: newest.release,
        number: newest.release_number,
    })
}

/// Since when what is about to be done was wanted. After a deployment that failed that is the release before it.
fn decided_at(world: &World) -> Option<Timestamp> {
    if world.desired == Desired::Running && world.deployment.is_none() {
        return world.serving.as_ref().map(|serving| serving.id.minted_at());
    }
    Some(world.decided_at)
}

/// What is so, in a sentence.
pub(crate) fn told(unknown: &Unknown) -> String {
    format!(
        "{} runs here, which the database does not know: it was put back to an older point. It goes on serving, and nothing \
         is changed until somebody deploys, rolls back, stops or deletes",
        unknown.number
    )
}

/// The next batch while nothing may be done.
pub(crate) fn plan(world: &World, unknown: &Unknown, instances: &[Instance]) -> Plan {
    let mut plan = Plan::default();
    if world.unknown_alert.is_none() {
        plan.steps
            .push(Step::Raise(AlertKind::UnknownRelease, unknown.newest, told(unknown)));
        // Its number is not given to another.
        plan.steps.push(Step::PassNumber(unknown.number));
    }
    if world.rest != Rest::Awake {
        plan.steps.push(Step::Rest(Rest::Awake));
    }
    if let Some(deployment) = &world.deployment {
        let failure = Failure::Operation {
            code: ReasonCode::UnknownRelease,
            detail: told(unknown),
        };
        plan.steps.push(Step::Fail(deployment.id, failure));
    }
    wake(world, unknown, instances, &mut plan);
    let routed = routed(world, unknown, instances);
    let has_traffic = |i: &Instance| i.is_running() && world.route.instances.contains(&i.id);
    if !routed.is_empty() {
        publish(world, &mut plan, Route::serving(routed.clone()));
    } else if world.route.state == RouteState::Serving && !instances.iter().any(has_traffic) {
        // Requests wait, and what comes back is published anew: it may have another address then.
        publish(world, &mut plan, Route::nowhere(RouteState::Holding));
    }
    let later = instances.iter().filter(|i| is_later(world, unknown, i));
    let drain = world.serving.as_ref().map_or(DRAIN, |s| s.drain_timeout);
    retire(world, &mut plan, later, &routed, drain);
    plan
}

/// Starts again what has ended or rests, each when its time has come.
fn wake(world: &World, unknown: &Unknown, instances: &[Instance], plan: &mut Plan) {
    let still = |i: &&Instance| i.release == unknown.newest && !i.is_running() && !is_ending(world, i);
    for instance in instances.iter().filter(still) {
        match world.restarts.get(&(instance.release, instance.slot)) {
            Some(restart) if restart.at > world.now => wake_at(plan, restart.at),
            _ => start(world, plan, Op::Resume(instance.id.clone())),
        }
    }
}

/// Whether it was made by a deployment after the database was put back.
fn is_later(world: &World, unknown: &Unknown, instance: &Instance) -> bool {
    !world.unknown.contains(&instance.release) && instance.release > unknown.newest
}

/// The unknown release's instances that answer; those of a deployment that came after it and has failed stand in where
/// they have traffic.
fn routed(world: &World, unknown: &Unknown, instances: &[Instance]) -> BTreeSet<String> {
    let serves = |i: &&Instance| {
        is_healthy(world, i)
            && (i.release == unknown.newest || is_later(world, unknown, i) && world.route.instances.contains(&i.id))
    };
    instances.iter().filter(serves).map(|i| i.id.clone()).collect()
}
