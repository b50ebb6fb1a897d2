//! What holds in every world, tried on many: the plan's effects are applied to a model of engine and proxies until
//! nothing changes, with crashes (all memory lost) thrown in between.

use std::collections::BTreeSet;

use proptest::prelude::*;
use slipway_domain::deployment::{DeploymentState, StepState};
use slipway_domain::ids::ReleaseId;
use slipway_domain::observed::{Instance, InstanceState, Observed};
use slipway_domain::routing::RouteState;
use slipway_domain::spec::Strategy;
use slipway_domain::{Epoch, ReleaseNumber};
use slipway_planner::plan::{Op, Step};
use slipway_planner::world::{CanaryProgress, CommandFacts, DeploymentFacts, Desired, Health, World};

use crate::fixture::{empty_world, facts, names, release, world};

/// Batches within which every world must come to rest.
const BATCHES_MAX: usize = 1000;

fn instances(world: &mut World) -> &mut Vec<Instance> {
    match &mut world.instances {
        Observed::Known(instances) => instances,
        Observed::Unknown { .. } => unreachable!("the model's engine always answers"),
    }
}

/// Does one step to the model. New instances are healthy unless their release is `sick`.
fn perform(world: &mut World, step: &Step, sick: bool) {
    match step {
        Step::Begin(_) => world.deployment.as_mut().expect("deployment").state = DeploymentState::Running,
        Step::Mark(_, name, state) => {
            let now = world.now;
            if let Some(d) = &mut world.deployment {
                d.steps.insert(*name, (*state, now));
            } else if *state == StepState::Succeeded {
                world.draining = None;
            }
        }
        Step::Canary(_, step, _) => {
            let since = world.now;
            let progress = CanaryProgress { step: *step, since };
            world.deployment.as_mut().expect("deployment").canary = Some(progress);
        }
        Step::Start(op) => operate(world, op, sick),
        Step::Publish(route) => {
            for id in &route.instances {
                assert!(is_running(world, id), "{id} does not run and was routed");
            }
            world.route.state = route.state;
            world.route.instances.clone_from(&route.instances);
            world.route.split = route.split;
            world.route.acknowledged = false;
        }
        Step::Succeed(_) => {
            let done = world.deployment.take().expect("deployment");
            world.draining = Some(done.id);
            world.previous = world.serving.replace(done.target);
            world.serving_since = Some(world.now);
        }
        Step::Fail(..) => {
            world.deployment = None;
            world.last_failed = true;
        }
        Step::RollBack { .. } => panic!("nothing fails after it has the traffic"),
        Step::Scale(_) | Step::Rest(_) => panic!("nothing follows a load"),
        Step::Raise(..) | Step::Clear(_) => panic!("nothing ends by itself"),
        Step::PassNumber(_) => panic!("every release is known"),
        Step::Purge => assert!(instances(world).is_empty()),
    }
}

fn operate(world: &mut World, op: &Op, sick: bool) {
    match op {
        Op::Pull(_) => world.deployment.as_mut().expect("deployment").image_present = Some(true),
        Op::Command(_) => {
            let d = world.deployment.as_mut().expect("deployment");
            assert!(
                !matches!(d.release_command, Some(CommandFacts::Ended { .. })),
                "a release command runs once"
            );
            d.release_command = Some(CommandFacts::Ended { exit_code: 0 });
        }
        Op::RemoveCommand(_) => {}
        Op::Apply(id, slots) => slots.iter().for_each(|slot| apply(world, *id, *slot, sick)),
        Op::Smoke(id) => world.smoked = Some(*id),
        Op::Resume(_) | Op::Pause(_) | Op::Stop(_) => panic!("nothing rests"),
        Op::Remove(id) => {
            assert!(
                !world.route.instances.contains(id) || !is_running(world, id),
                "{id} is routed and was removed"
            );
            instances(world).retain(|i| i.id != *id);
        }
        Op::Clean => world.cleaned = true,
    }
}

fn apply(world: &mut World, id: ReleaseId, slot: u32, sick: bool) {
    let name = names().remove(&id).expect("known");
    let key = format!("{name}#{slot}");
    let started_at = world.now;
    instances(world).retain(|i| i.id != key);
    let others = instances(world).iter().any(|i| i.release != id && i.is_running());
    let alone = |d: &DeploymentFacts| d.target.strategy == Strategy::Recreate;
    assert!(
        !(others && world.deployment.as_ref().is_some_and(alone)),
        "two releases run beside each other"
    );
    let instance = Instance {
        id: key.clone(),
        environment: slipway_domain::ids::EnvironmentId::from_uuid(release("r1").uuid()),
        release: id,
        release_number: ReleaseNumber(1),
        slot,
        epoch: Epoch(1),
        state: InstanceState::Running { started_at },
        address: Some(([10, 210, 0, 2], 8080).into()),
    };
    instances(world).push(instance);
    let health = if sick && name == "r2" {
        Health::Unproven { since: started_at }
    } else {
        Health::Healthy
    };
    world.health.insert(key, health);
}

fn is_running(world: &World, id: &str) -> bool {
    world
        .instances
        .known()
        .is_some_and(|all| all.iter().any(|i| i.id == id && i.is_running()))
}

/// Runs until nothing changes; `crash_at` loses what only memory knew.
fn run(mut world: World, sick: bool, crash_at: usize) -> World {
    let before = world.route.instances.len();
    let wanted = world
        .serving
        .as_ref()
        .map_or(0, |s| usize::try_from(s.replicas).expect("small"));
    let recreate = |d: &DeploymentFacts| d.target.strategy == Strategy::Recreate;
    let recreate = world.deployment.as_ref().is_some_and(recreate);
    for batch in 0..BATCHES_MAX {
        let plan = slipway_planner::plan(&world);
        if batch == crash_at {
            world.failed.clear();
            world.route.unrouted_since.clear();
            continue;
        }
        for step in &plan.steps {
            perform(&mut world, step, sick);
        }
        let serving_now = world.route.instances.iter().filter(|id| is_running(&world, id)).count();
        // Where the old instances stop first, nobody is served for a while, and the plan says so.
        let gap = recreate || world.route.state == RouteState::Holding;
        if before >= wanted && wanted > 0 && world.desired == Desired::Running && !gap {
            let count = |replicas: u32| usize::try_from(replicas).expect("small");
            let target = world.deployment.as_ref().map_or(wanted, |d| count(d.target.replicas));
            let floor = world
                .serving
                .as_ref()
                .map_or(wanted, |s| count(s.replicas))
                .min(wanted)
                .min(target);
            assert!(serving_now >= floor, "{serving_now} of {floor} serve");
        }
        if plan.steps == [Step::Purge] {
            return world;
        }
        world.route.acknowledged = true;
        if plan.steps.is_empty() {
            match plan.wake {
                Some(wake) if wake > world.now => world.now = wake,
                _ => return world,
            }
        }
    }
    panic!("no rest after {BATCHES_MAX} batches: {world:?}");
}

fn serving(replicas: u32) -> World {
    let mut text = format!("serving r1 x{replicas}\nroute serving\n");
    for slot in 0..replicas {
        text.push_str("r1#");
        text.push_str(&slot.to_string());
        text.push_str(" running healthy routed\n");
    }
    world(&text)
}

fn deploying(mut world: World, replicas: u32, way: &[&str], present: bool) -> World {
    let id = slipway_domain::ids::DeploymentId::from_uuid(release("r3").uuid());
    world.deployment = Some(DeploymentFacts {
        id,
        state: DeploymentState::Pending,
        target: facts("r2", replicas, way),
        steps: std::collections::BTreeMap::new(),
        image_present: Some(present),
        release_command: Some(CommandFacts::Absent),
        canary: None,
        promoted: false,
    });
    world
}

/// The words of a fixture for one of the four ways.
fn way(strategy: usize, command: bool) -> Vec<&'static str> {
    let mut words = vec![["rolling", "bluegreen", "canary", "recreate"][strategy]];
    words.extend(command.then_some("command"));
    words.extend(command.then_some("smoke"));
    words
}

proptest! {
    #[test]
    fn every_deployment_comes_to_rest_on_exactly_the_new_release(
        old in 0_u32..6, new in 1_u32..6, strategy in 0_usize..4, command: bool, present: bool, crash_at in 0_usize..20
    ) {
        let begin = if old == 0 { empty_world() } else { serving(old) };
        let end = run(deploying(begin, new, &way(strategy, command), present), false, crash_at);
        let wanted: BTreeSet<String> = (0..new).map(|s| format!("r2#{s}")).collect();
        prop_assert_eq!(&end.route.instances, &wanted);
        let left: BTreeSet<String> = end.instances.known().expect("seen").iter().map(|i| i.id.clone()).collect();
        prop_assert_eq!(left, wanted);
    }

    #[test]
    fn a_sick_release_leaves_the_old_one_serving_and_nothing_behind(
        old in 1_u32..6, new in 1_u32..6, strategy in 0_usize..4, crash_at in 0_usize..20
    ) {
        let end = run(deploying(serving(old), new, &way(strategy, false), true), true, crash_at);
        let wanted: BTreeSet<String> = (0..old).map(|s| format!("r1#{s}")).collect();
        prop_assert_eq!(&end.route.instances, &wanted);
        let left: BTreeSet<String> = end.instances.known().expect("seen").iter().map(|i| i.id.clone()).collect();
        prop_assert_eq!(left, wanted);
        prop_assert!(end.last_failed);
    }

    #[test]
    fn a_deleted_environment_leaves_nothing(old in 0_u32..6, crash_at in 0_usize..10) {
        let mut begin = if old == 0 { empty_world() } else { serving(old) };
        begin.desired = Desired::Deleted;
        let end = run(begin, false, crash_at);
        prop_assert!(end.instances.known().expect("seen").is_empty());
        prop_assert!(end.cleaned);
    }

    #[test]
    fn the_same_world_gives_the_same_plan(old in 0_u32..6, new in 1_u32..6, strategy in 0_usize..4, present: bool) {
        let begin = deploying(serving(old), new, &way(strategy, false), present);
        prop_assert_eq!(slipway_planner::plan(&begin), slipway_planner::plan(&begin));
    }
}
