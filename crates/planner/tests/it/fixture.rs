//! A tiny language for worlds. One fact a line:
//!
//! ```text
//! now 10                        seconds
//! desired running|stopped|deleted
//! serving r1 x2 [WAY]           release and wanted count; WAY: `bluegreen`, `canary` (10 %, 50 %), `recreate`,
//!                               `surge 2`, `like r1` (the same contents), `rollback`, `max 4`, `sleeps` (after 60 s),
//!                               `pauses` (for 600 s before it sleeps)
//! serving since 4 | previous r1 x2 [WAY]
//! deploying r2 x2 [command] [WAY]  the unfinished deployment, running unless `pending`; `promoted`
//! canary 0 since 4              the canary's step
//! traffic new 100 3 40 old 900 1 20    requests, failed, 99th percentile in ms
//! step pull succeeded 3         a step, its state, since
//! image here|away
//! command running|exit 0
//! r1#0 running healthy routed draining since 4
//! route serving [unacked] [10% to r2]
//! busy pull r2 | busy start r2 0 | busy remove r1#0
//! failed pull r2 until 20 [fatal] | failed start r2 0 until 20
//! smoked r2                     its own checks (`smoke` among the WAY) have passed
//! rest dozing|paused|asleep since 4 | woken since 4 | asked    a request waits for it to wake
//! load 80 160 quiet 0           requests in flight over a minute and over six seconds; since when none
//! scaled at 4
//! restart r1#0 at 30 [5]        the next start, and the number of ends in a row
//! told of r1                    somebody was told that it ends again and again
//! unknown r3 | decided at 4      a release that the database does not know; when what should run was last changed
//! told of unknown r3            somebody was told that it runs
//! blind                         the engine cannot be looked at
//! last failed | draining | cleaned | left command r1
//! ```

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use slipway_domain::clock::testing::{FixedEntropy, at};
use slipway_domain::deployment::{DeploymentState, ReasonCode, StepName, StepState};
use slipway_domain::ids::{DeploymentId, EnvironmentId, ReleaseId};
use slipway_domain::observed::{Instance, InstanceState, Observed};
use slipway_domain::quantity::Span;
use slipway_domain::rest::Rest;
use slipway_domain::routing::{RouteState, Split};
use slipway_domain::spec::{CanaryStep, Scale, Strategy};
use slipway_domain::{Epoch, ReleaseNumber, Timestamp};
use slipway_planner::plan::{Op, Plan};
use slipway_planner::render::render;
use slipway_planner::world::{
    CanaryProgress, CommandFacts, DeploymentFacts, Desired, Health, Load, OpFailure, ReleaseFacts, Restart, RouteFacts,
    Sample, Traffic, World,
};

pub(crate) fn seconds(s: i64) -> Timestamp {
    at(s * 1000)
}

pub(crate) fn release(name: &str) -> ReleaseId {
    let number: u8 = name[1..].parse().expect("r<number>");
    ReleaseId::mint(seconds(number.into()), &FixedEntropy(number))
}

pub(crate) fn facts(name: &str, replicas: u32, way: &[&str]) -> ReleaseFacts {
    let after = |word: &str| way.iter().position(|w| *w == word).map(|at| way[at + 1]);
    let strategy = way.iter().find_map(|w| Strategy::parse(w)).unwrap_or(Strategy::Rolling);
    let step = |weight| CanaryStep {
        weight,
        ..CanaryStep::default()
    };
    ReleaseFacts {
        id: release(name),
        number: ReleaseNumber(name[1..].parse().expect("number")),
        like: after("like").map(release).into_iter().collect(),
        is_rollback: way.contains(&"rollback"),
        strategy,
        surge: after("surge").map_or_else(|| replicas.div_ceil(4).max(1), |n| n.parse().expect("number")),
        bake_time: Span::from_secs(120),
        canary: if strategy == Strategy::Canary {
            vec![step(10), step(50)]
        } else {
            Vec::new()
        },
        sticky: false,
        scale: Scale {
            max: after("max").map(|n| n.parse().expect("number")),
            idle_timeout: Span::from_secs(60),
            pause_for: Span::from_secs(if way.contains(&"pauses") { 600 } else { 0 }),
            ..Scale::fixed(if way.contains(&"sleeps") || way.contains(&"pauses") {
                0
            } else {
                replicas
            })
        },
        replicas,
        drain_timeout: Span::from_secs(30),
        kill_timeout: Span::from_secs(30),
        health_deadline: Span::from_secs(60),
        restart_after: Span::from_secs(60),
        has_release_command: way.contains(&"command"),
        has_smoke: way.contains(&"smoke"),
    }
}

fn count(text: &str) -> u32 {
    text[1..].parse().expect("x<count>")
}

pub(crate) fn empty_world() -> World {
    World {
        now: seconds(0),
        desired: Desired::Running,
        serving: None,
        serving_since: None,
        previous: None,
        deployment: None,
        draining: None,
        last_failed: false,
        commands: BTreeSet::new(),
        decided_at: seconds(0),
        unknown: BTreeSet::new(),
        instances: Observed::Known(Vec::new()),
        health: BTreeMap::new(),
        route: RouteFacts {
            state: RouteState::Empty,
            instances: BTreeSet::new(),
            moved: false,
            split: None,
            acknowledged: true,
            draining: BTreeSet::new(),
            unrouted_since: BTreeMap::new(),
        },
        smoked: None,
        running: BTreeSet::new(),
        failed: BTreeMap::new(),
        cleaned: false,
        traffic: None,
        rest: Rest::Awake,
        rest_since: None,
        wake_asked: false,
        load: None,
        scaled_at: None,
        restarts: BTreeMap::new(),
        crash_alert: None,
        unknown_alert: None,
    }
}

pub(crate) fn world(text: &str) -> World {
    let mut world = empty_world();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        fact(&mut world, &words);
    }
    world
}

fn fact(world: &mut World, words: &[&str]) {
    match words {
        ["now", s] => world.now = seconds(s.parse().expect("number")),
        ["desired", "running"] => world.desired = Desired::Running,
        ["desired", "stopped"] => world.desired = Desired::Stopped,
        ["desired", "deleted"] => world.desired = Desired::Deleted,
        ["serving", "since", s] => world.serving_since = Some(seconds(s.parse().expect("number"))),
        ["serving", name, wanted, way @ ..] => world.serving = Some(facts(name, count(wanted), way)),
        ["previous", name, wanted, way @ ..] => world.previous = Some(facts(name, count(wanted), way)),
        ["deploying", name, wanted, way @ ..] => world.deployment = Some(deploying(name, count(wanted), way)),
        ["step" | "image" | "command" | "canary", ..] => progress(deployment(world), words),
        ["traffic", "new", new @ .., "old", a, b, c] => {
            world.traffic = Some(Traffic {
                new: sample(new),
                old: sample(&[a, b, c]),
            });
        }
        ["rest", rest, "since", s] => {
            world.rest = Rest::parse(rest).expect("rest");
            world.rest_since = Some(seconds(s.parse().expect("number")));
        }
        ["woken", "since", s] => world.rest_since = Some(seconds(s.parse().expect("number"))),
        ["smoked", name] => world.smoked = Some(release(name)),
        ["told", "of", "unknown", name] => world.unknown_alert = Some(release(name)),
        ["told", "of", name] => world.crash_alert = Some(release(name)),
        ["asked"] => world.wake_asked = true,
        ["scaled", "at", s] => world.scaled_at = Some(seconds(s.parse().expect("number"))),
        ["load", stable, panic, "quiet", s] => world.load = Some(load(stable, panic, s)),
        ["route", state, rest @ ..] => route(world, state, rest),
        ["busy", op @ ..] => drop(world.running.insert(operation(op))),
        ["failed", op @ .., "until", s] | ["failed", op @ .., "until", s, "fatal"] => {
            let fatal = words
                .contains(&"fatal")
                .then(|| (ReasonCode::ImageNotFound, "no such image".to_owned()));
            let failure = OpFailure {
                retry_at: seconds(s.parse().expect("number")),
                fatal,
                error: "no".into(),
            };
            world.failed.insert(operation(op), failure);
        }
        ["restart", slot, "at", s, count @ ..] => {
            let (name, slot) = slot.split_once('#').expect("r#slot");
            let restart = Restart {
                count: count.first().map_or(1, |n| n.parse().expect("number")),
                at: seconds(s.parse().expect("number")),
                exit_code: 1,
                oom_killed: false,
                unresponsive: false,
            };
            world
                .restarts
                .insert((release(name), slot.parse().expect("slot")), restart);
        }
        ["blind"] => world.instances = Observed::Unknown { reason: "away".into() },
        ["unknown", name] => drop(world.unknown.insert(release(name))),
        ["decided", "at", s] => world.decided_at = seconds(s.parse().expect("number")),
        ["last", "failed"] => world.last_failed = true,
        ["left", "command", name] => drop(world.commands.insert(release(name))),
        ["draining"] => world.draining = Some(deployment_id()),
        ["cleaned"] => world.cleaned = true,
        [id, rest @ ..] if id.contains('#') => instance(world, id, rest),
        other => panic!("no such fact: {other:?}"),
    }
}

fn deploying(name: &str, replicas: u32, way: &[&str]) -> DeploymentFacts {
    DeploymentFacts {
        id: deployment_id(),
        state: if way.contains(&"pending") {
            DeploymentState::Pending
        } else {
            DeploymentState::Running
        },
        target: facts(name, replicas, way),
        steps: BTreeMap::new(),
        image_present: None,
        release_command: None,
        canary: None,
        promoted: way.contains(&"promoted"),
    }
}

/// How far the deployment is.
fn progress(deployment: &mut DeploymentFacts, words: &[&str]) {
    match words {
        ["step", name, state, since] => {
            let step = (
                StepState::parse(state).expect("state"),
                seconds(since.parse().expect("number")),
            );
            deployment.steps.insert(StepName::parse(name).expect("step"), step);
        }
        ["image", place] => deployment.image_present = Some(*place == "here"),
        ["command", "running"] => deployment.release_command = Some(CommandFacts::Running),
        ["command", "absent"] => deployment.release_command = Some(CommandFacts::Absent),
        ["command", "exit", code] => {
            deployment.release_command = Some(CommandFacts::Ended {
                exit_code: code.parse().expect("code"),
            });
        }
        ["canary", step, "since", s] => {
            deployment.canary = Some(CanaryProgress {
                step: step.parse().expect("number"),
                since: seconds(s.parse().expect("number")),
            });
        }
        other => panic!("no such fact: {other:?}"),
    }
}

fn route(world: &mut World, state: &str, rest: &[&str]) {
    world.route.state = match state {
        "serving" => RouteState::Serving,
        "starting" => RouteState::Starting,
        "holding" => RouteState::Holding,
        "asleep" => RouteState::Asleep,
        "stopped" => RouteState::Stopped,
        "failed" => RouteState::Failed,
        _ => RouteState::Empty,
    };
    world.route.acknowledged = !rest.contains(&"unacked");
    world.route.moved = rest.contains(&"moved");
    if let [.., percent, "to", name] = rest {
        world.route.split = Some(Split {
            release: ReleaseNumber(name[1..].parse().expect("number")),
            percent: percent.trim_end_matches('%').parse().expect("number"),
            sticky: false,
        });
    }
}

fn sample(words: &[&str]) -> Sample {
    let number = |i: usize| words[i].parse().expect("number");
    Sample {
        requests: number(0),
        failed: number(1),
        p99_ms: number(2),
    }
}

fn load(stable: &str, panic: &str, quiet: &str) -> Load {
    let milli = |text: &str| text.parse::<u64>().expect("number") * 1000;
    Load {
        stable_milli: milli(stable),
        panic_milli: milli(panic),
        quiet: TimeDelta::seconds(quiet.parse().expect("number")),
    }
}

fn deployment_id() -> DeploymentId {
    DeploymentId::mint(at(0), &FixedEntropy(1))
}

fn deployment(world: &mut World) -> &mut DeploymentFacts {
    world.deployment.as_mut().expect("`deploying` comes first")
}

fn operation(words: &[&str]) -> Op {
    match words {
        ["pull", name] => Op::Pull(release(name)),
        ["start", name, slots] => Op::Apply(
            release(name),
            slots.split(',').map(|s| s.parse().expect("slot")).collect(),
        ),
        ["smoke", name] => Op::Smoke(release(name)),
        ["resume", id] => Op::Resume((*id).to_owned()),
        ["pause", id] => Op::Pause((*id).to_owned()),
        ["stop", id] => Op::Stop((*id).to_owned()),
        ["remove", id] => Op::Remove((*id).to_owned()),
        ["clean"] => Op::Clean,
        other => panic!("no such operation: {other:?}"),
    }
}

fn instance(world: &mut World, id: &str, words: &[&str]) {
    let (name, slot) = id.split_once('#').expect("r#slot");
    let since = words
        .iter()
        .position(|w| *w == "since")
        .map_or(seconds(0), |i| seconds(words[i + 1].parse().expect("s")));
    let state = if words.contains(&"exited") || words.contains(&"killed") {
        InstanceState::Exited {
            exit_code: if words.contains(&"killed") { 137 } else { 1 },
            oom_killed: false,
            finished_at: Some(since),
        }
    } else if words.contains(&"paused") {
        InstanceState::Paused
    } else {
        InstanceState::Running { started_at: since }
    };
    for word in words {
        match *word {
            "healthy" => drop(world.health.insert(id.to_owned(), Health::Healthy)),
            "failing" => drop(world.health.insert(id.to_owned(), Health::Failing { since })),
            "unproven" => drop(world.health.insert(id.to_owned(), Health::Unproven { since })),
            "routed" => drop(world.route.instances.insert(id.to_owned())),
            "draining" => drop(world.route.draining.insert(id.to_owned())),
            "unrouted" => drop(world.route.unrouted_since.insert(id.to_owned(), since)),
            _ => {}
        }
    }
    let instance = Instance {
        id: id.to_owned(),
        environment: EnvironmentId::mint(at(0), &FixedEntropy(0)),
        release: release(name),
        release_number: ReleaseNumber(name[1..].parse().expect("number")),
        slot: slot.parse().expect("slot"),
        epoch: Epoch(1),
        address: (matches!(state, InstanceState::Running { .. }) && !words.contains(&"nowhere"))
            .then(|| ([10, 210, 0, 2], 8080).into()),
        state,
    };
    if let Observed::Known(instances) = &mut world.instances {
        instances.push(instance);
    }
}

pub(crate) fn names() -> BTreeMap<ReleaseId, String> {
    (1..=9).map(|n| (release(&format!("r{n}")), format!("r{n}"))).collect()
}

pub(crate) fn planned(text: &str) -> Plan {
    slipway_planner::plan(&world(text))
}

/// The plan for a world, as lines.
pub(crate) fn check(text: &str, expected: &[&str]) {
    let rendered = render(&planned(text), &names());
    let lines: Vec<&str> = rendered.lines().collect();
    assert_eq!(lines, expected, "for the world\n{text}");
}
