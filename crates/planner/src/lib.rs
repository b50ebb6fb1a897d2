//! Desired × observed × now → plan.
//!
//! Promises: no I/O, no `async`, no clock. The same world gives the same plan. A plan is a batch of independent,
//! idempotent steps and a time to look again; nothing of it is remembered, the world is looked at again instead.

pub mod alerts;
pub mod autoscale;
pub mod conditions;
pub mod databases;
pub mod diagnose;
pub mod domains;
pub mod plan;
pub mod render;
pub mod rollout;
pub mod runs;
pub mod settle;
pub mod world;

mod comeback;
mod instances;
mod liveness;
mod quarantine;
mod rest;

pub use plan::{Failure, Op, Plan, Route, Step};
pub use world::World;

use slipway_domain::rest::Rest;
use world::Desired;

/// Decides what to do next for one environment.
pub fn plan(world: &World) -> Plan {
    let Some(instances) = world.instances.known() else {
        return rollout::without_sight(world);
    };
    if let Some(unknown) = quarantine::of(world, instances) {
        return quarantine::plan(world, &unknown, instances);
    }
    let rests = world.rest != Rest::Awake && world.desired == Desired::Running;
    let mut plan = match (&world.serving, &world.deployment) {
        (Some(serving), _) if rests => rest::plan(world, serving, instances),
        (_, Some(deployment)) => rollout::plan(world, deployment, instances),
        (_, None) => settle::plan(world, instances),
    };
    autoscale::follow(world, &mut plan);
    // A command that ended badly, was called off or was overtaken is nobody's any more.
    let current = world.deployment.as_ref().map(|d| d.target.id);
    for release in world.commands.iter().filter(|r| Some(**r) != current) {
        instances::start(world, &mut plan, Op::RemoveCommand(*release));
    }
    alerts::follow(world, &mut plan, instances);
    plan
}
