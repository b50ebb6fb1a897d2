//! Histories: intents of all kinds, loads and requests for what is asleep, instances that end, operations that fail with or without their effect, an engine
//! that cannot be looked at, processes that forget everything between any two steps, a database that is put back to an
//! older point, and time. Whatever the history,
//! what must never happen does not, and when the faults end all comes to rest on what was wanted last.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use proptest::prelude::*;
use slipway_domain::alert::AlertKind;
use slipway_domain::clock::testing::{FixedEntropy, at};
use slipway_domain::deployment::{DeploymentState, StepState};
use slipway_domain::ids::{DeploymentId, EnvironmentId, ReleaseId};
use slipway_domain::observed::{Instance, InstanceState, Observed};
use slipway_domain::rest::Rest;
use slipway_domain::routing::RouteState;
use slipway_domain::spec::Strategy as Way;
use slipway_domain::{Epoch, ReleaseNumber};
use slipway_planner::plan::{Op, Step};
use slipway_planner::world::{
    CanaryProgress, CommandFacts, DeploymentFacts, Desired, Health, Load, OpFailure, ReleaseFacts, Restart, World,
};

use crate::fixture::{empty_world, facts, release, seconds};

/// Looks within which a history without further faults must come to rest.
const LOOKS_MAX: usize = 2_000;
/// Releases of one history.
const RELEASES_MAX: u8 = 99;

#[derive(Debug, Clone)]
enum Event {
    Deploy {
        way: usize,
        replicas: u32,
        sick: bool,
        command: bool,
        /// How it follows the load: not, up to four instances, or to sleep, at once or after a pause.
        follows: usize,
    },
    Rollback,
    Stop,
    Start,
    /// A copy of the database is made.
    Save,
    /// The database is put back to the last copy.
    Restore,
    /// The instance ends by itself, or is killed from outside.
    End {
        which: usize,
        killed: bool,
    },
    /// Its probes fail, or do well again.
    Probe {
        which: usize,
        well: bool,
    },
    /// An operation ends.
    Done {
        which: usize,
        well: bool,
        effect: bool,
    },
    /// The proxies confirm.
    Acknowledge,
    /// Everything that is only remembered is gone; what was under way had its effect or not.
    Crash {
        effect: bool,
    },
    /// The engine cannot be looked at, or can again.
    Away(bool),
    Later(i64),
    /// So many requests are in flight, or for so long none was; `None`: nobody tells.
    Load(Option<(u64, i64)>),
    /// A request arrives.
    Request,
    /// So many looks without a fault; what is begun ends, or goes on all the while.
    Calm {
        looks: usize,
        ends: bool,
    },
    /// Nothing happens for so long that what may sleep does, as far as its rest goes in a few looks.
    Idle(usize),
    Look,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0_usize..4, 1_u32..4, any::<bool>(), any::<bool>(), 0_usize..4)
            .prop_map(|(way, replicas, sick, command, follows)| {
                Event::Deploy { way, replicas, sick, command, follows }
            }),
        2 => prop::option::weighted(0.9, (0_u64..400, prop_oneof![Just(0_i64), Just(1_000)])).prop_map(Event::Load),
        2 => Just(Event::Request),
        2 => (1_usize..12, prop::bool::weighted(0.7)).prop_map(|(looks, ends)| Event::Calm { looks, ends }),
        2 => (1_usize..5).prop_map(Event::Idle),
        1 => Just(Event::Rollback),
        1 => Just(Event::Stop),
        1 => Just(Event::Start),
        1 => Just(Event::Save),
        1 => Just(Event::Restore),
        2 => (0_usize..8, any::<bool>()).prop_map(|(which, killed)| Event::End { which, killed }),
        1 => (0_usize..8, any::<bool>()).prop_map(|(which, well)| Event::Probe { which, well }),
        6 => (0_usize..4, prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(which, well, effect)| Event::Done { which, well, effect }),
        4 => Just(Event::Acknowledge),
        1 => any::<bool>().prop_map(|effect| Event::Crash { effect }),
        1 => any::<bool>().prop_map(Event::Away),
        2 => (0_i64..400).prop_map(Event::Later),
        6 => Just(Event::Look),
    ]
}

/// The engine, the rows and the proxies, as far as the planner sees them.
struct Model {
    world: World,
    /// What the engine has, also while it cannot be looked at.
    engine: Vec<Instance>,
    is_away: bool,
    /// Release commands by release: how often each was begun.
    commands: BTreeMap<ReleaseId, u32>,
    sick: BTreeSet<ReleaseId>,
    /// Instances that a proxy may still send requests to.
    reachable: BTreeSet<String>,
    last_number: u8,
    /// Releases that the database knows.
    known: BTreeSet<ReleaseId>,
    /// Instances that were frozen when the database was put back: proxies may be told of them once more.
    frozen_before: BTreeSet<String>,
    /// The last copy of the database, as a world and the releases that it knows.
    saved: Option<(World, BTreeSet<ReleaseId>)>,
}

impl Model {
    fn new() -> Self {
        Self {
            world: empty_world(),
            engine: Vec::new(),
            is_away: false,
            commands: BTreeMap::new(),
            sick: BTreeSet::new(),
            reachable: BTreeSet::new(),
            last_number: 0,
            known: BTreeSet::new(),
            frozen_before: BTreeSet::new(),
            saved: None,
        }
    }

    /// A new release and its deployment, in place of an unfinished one.
    fn intend(&mut self, target: ReleaseFacts) {
        self.world.desired = Desired::Running;
        self.known.insert(target.id);
        self.decide();
        self.world.deployment = Some(DeploymentFacts {
            id: DeploymentId::mint(seconds(0), &FixedEntropy(self.last_number)),
            state: DeploymentState::Pending,
            image_present: Some(true),
            release_command: Some(CommandFacts::Absent),
            steps: BTreeMap::new(),
            canary: None,
            promoted: false,
            target,
        });
    }

    fn decide(&mut self) {
        self.world.decided_at = at(i64::from(self.last_number) * 1_000 + 500);
    }

    /// The rows are as they were when the copy was made; what the engine and the proxies have is not.
    fn restore(&mut self) {
        let Some((rows, known)) = self.saved.clone() else {
            return;
        };
        self.crash(true);
        let now = &self.world;
        let mut back = World {
            now: now.now,
            health: now.health.clone(),
            load: now.load,
            ..rows
        };
        back.running.clear();
        back.failed.clear();
        back.smoked = None;
        back.restarts.clear();
        back.route.unrouted_since.clear();
        back.route.acknowledged = false;
        self.world = back;
        self.known = known;
        let frozen = self.engine.iter().filter(|i| i.state == InstanceState::Paused);
        self.frozen_before = frozen.map(|i| i.id.clone()).collect();
    }

    fn next_name(&mut self) -> Option<String> {
        self.last_number += 1;
        (self.last_number <= RELEASES_MAX).then(|| format!("r{}", self.last_number))
    }

    /// A release of the contents of another one.
    fn back_to(&mut self, before: &ReleaseFacts) {
        let Some(name) = self.next_name() else { return };
        let mut target = facts(&name, before.replicas, &["rollback"]);
        target.strategy = before.strategy;
        target.canary.clone_from(&before.canary);
        target.scale = before.scale;
        target.like = before.like.iter().copied().chain([before.id]).collect();
        if self.sick.contains(&before.id) {
            self.sick.insert(target.id);
        }
        self.intend(target);
    }

    fn deploy(&mut self, [way, follows]: [usize; 2], replicas: u32, sick: bool, command: bool) {
        let Some(name) = self.next_name() else { return };
        let mut words = vec![["rolling", "bluegreen", "canary", "recreate"][way]];
        words.extend(command.then_some("command"));
        words.extend((follows == 1).then_some("smoke"));
        words.extend([&[][..], &["max", "4"], &["sleeps"], &["pauses"]][follows]);
        if sick {
            self.sick.insert(release(&name));
        }
        let mut target = facts(&name, replicas, &words);
        target.replicas = replicas_within(&target, replicas);
        self.intend(target);
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Deploy {
                way,
                replicas,
                sick,
                command,
                follows,
            } => self.deploy([*way, *follows], *replicas, *sick, *command),
            Event::Rollback => {
                if let Some(previous) = self.world.previous.clone() {
                    self.back_to(&previous);
                }
            }
            Event::Stop if self.world.serving.is_some() => {
                self.world.desired = Desired::Stopped;
                self.decide();
            }
            Event::Save => self.saved = Some((self.world.clone(), self.known.clone())),
            Event::Restore => self.restore(),
            Event::Start if self.world.desired == Desired::Stopped => {
                if let Some(serving) = self.world.serving.clone() {
                    let Some(name) = self.next_name() else { return };
                    let mut target = facts(&name, serving.replicas, &[serving.strategy.as_str()]);
                    target.scale = serving.scale;
                    self.intend(target);
                }
            }
            Event::Stop | Event::Start => {}
            Event::End { which, killed } => self.end(*which, *killed),
            Event::Probe { which, well } => self.probe(*which, *well),
            Event::Done { which, well, effect } => {
                let op = self
                    .world
                    .running
                    .iter()
                    .nth(*which % self.world.running.len().max(1))
                    .cloned();
                if let Some(op) = op {
                    self.finish(&op, *well, *well || *effect);
                }
            }
            Event::Acknowledge => self.acknowledge(),
            Event::Crash { effect } => self.crash(*effect),
            Event::Away(away) => self.is_away = *away,
            Event::Later(seconds) => self.world.now += TimeDelta::seconds(*seconds),
            Event::Load(load) => self.world.load = load.map(|(in_flight, quiet)| told(in_flight, quiet)),
            Event::Request => self.request(),
            Event::Calm { looks, ends } => self.calm(*looks, *ends),
            Event::Idle(looks) => {
                self.world.load = Some(told(0, 1_000));
                self.world.now += TimeDelta::seconds(200);
                for _ in 0..*looks {
                    self.look();
                }
            }
            Event::Look => drop(self.look()),
        }
    }

    /// A proxy asks only for what it knows to be asleep; whatever else it has it forwards to.
    fn request(&mut self) {
        let holds = self.world.route.state == RouteState::Asleep && self.world.route.acknowledged;
        if holds && self.world.rest != Rest::Awake {
            self.world.wake_asked = true;
        }
        for id in self.reachable.difference(&self.frozen_before) {
            let frozen = |i: &Instance| i.id == *id && i.state == InstanceState::Paused;
            let asked_for = self
                .world
                .running
                .iter()
                .any(|op| matches!(op, Op::Pause(p) if p == id));
            let rests = self.world.rest != Rest::Awake;
            assert!(
                !(rests && (asked_for || self.engine.iter().any(frozen))),
                "a request meets {id}, which is frozen"
            );
        }
    }

    fn probe(&mut self, which: usize, well: bool) {
        let Some(instance) = self.pick(which).filter(Instance::is_running) else {
            return;
        };
        let since = self.world.now;
        let health = if well {
            Health::Healthy
        } else {
            Health::Failing { since }
        };
        let proven = !matches!(self.world.health.get(&instance.id), Some(Health::Unproven { .. }));
        if proven {
            self.world.health.insert(instance.id, health);
        }
    }

    fn acknowledge(&mut self) {
        self.world.route.acknowledged = true;
        self.reachable.clone_from(&self.world.route.instances);
    }

    fn pick(&self, which: usize) -> Option<Instance> {
        self.engine.get(which % self.engine.len().max(1)).cloned()
    }

    fn end(&mut self, which: usize, killed: bool) {
        let now = self.world.now;
        let Some(id) = self.pick(which).filter(Instance::is_running).map(|i| i.id) else {
            return;
        };
        for instance in self.engine.iter_mut().filter(|i| i.id == id) {
            instance.state = InstanceState::Exited {
                exit_code: if killed { 137 } else { 1 },
                oom_killed: false,
                finished_at: Some(now),
            };
            instance.address = None;
            let key = (instance.release, instance.slot);
            let count = self.world.restarts.get(&key).map_or(1, |r| r.count + 1);
            let restart = Restart {
                count,
                at: now + TimeDelta::seconds(i64::from(count)),
                exit_code: 1,
                oom_killed: false,
                unresponsive: false,
            };
            self.world.restarts.insert(key, restart);
        }
        self.world.health.remove(&id);
    }

    fn crash(&mut self, effect: bool) {
        for op in std::mem::take(&mut self.world.running) {
            if effect {
                self.do_it(&op);
            }
        }
        self.world.failed.clear();
        self.world.smoked = None;
        self.world.restarts.clear();
        self.world.route.unrouted_since.clear();
    }

    fn finish(&mut self, op: &Op, well: bool, effect: bool) {
        self.world.running.remove(op);
        if effect {
            self.do_it(op);
        }
        if well {
            self.world.failed.remove(op);
        } else {
            let failure = OpFailure {
                retry_at: self.world.now + TimeDelta::seconds(1),
                fatal: None,
                error: "no".into(),
            };
            self.world.failed.insert(op.clone(), failure);
        }
    }

    /// What an operation does to the engine; doing it twice is doing it once.
    fn do_it(&mut self, op: &Op) {
        match op {
            Op::Pull(_) | Op::Clean => {}
            Op::Smoke(id) => self.world.smoked = Some(*id),
            Op::Command(id) => *self.commands.entry(*id).or_default() = 1,
            Op::RemoveCommand(id) => drop(self.commands.remove(id)),
            Op::Apply(id, slots) => slots.iter().for_each(|slot| self.apply(*id, *slot)),
            Op::Resume(id) => {
                self.frozen_before.remove(id);
                let found = self.engine.iter().find(|i| i.id == *id && !i.is_running());
                if let Some((release, slot)) = found.map(|i| (i.release, i.slot)) {
                    self.apply(release, slot);
                }
            }
            Op::Pause(id) => self.turn(id, Instance::is_running, &InstanceState::Paused),
            Op::Stop(id) => {
                let runs = self.engine.iter().any(|i| i.id == *id && i.is_running());
                let meets = runs && self.reachable.contains(id);
                assert!(!meets, "{id} stops while a proxy may send requests to it");
                let ended = InstanceState::Exited {
                    exit_code: 143,
                    oom_killed: false,
                    finished_at: Some(self.world.now),
                };
                let live = |i: &Instance| i.is_running() || i.state == InstanceState::Paused;
                self.turn(id, live, &ended);
            }
            Op::Remove(id) => self.engine.retain(|i| i.id != *id),
        }
    }

    /// An instance that was running is so no longer.
    fn turn(&mut self, id: &str, from: impl Fn(&Instance) -> bool, to: &InstanceState) {
        for instance in self.engine.iter_mut().filter(|i| i.id == id && from(i)) {
            instance.state = to.clone();
            instance.address = None;
            self.world.health.remove(id);
        }
    }

    fn apply(&mut self, id: ReleaseId, slot: u32) {
        let number = (1..=RELEASES_MAX)
            .find(|n| release(&format!("r{n}")) == id)
            .expect("a release of ours");
        let key = format!("r{number}#{slot}");
        if self.engine.iter().any(|i| i.id == key && i.is_running()) {
            return;
        }
        self.engine.retain(|i| i.id != key);
        let started_at = self.world.now;
        self.engine.push(Instance {
            id: key.clone(),
            environment: EnvironmentId::mint(seconds(0), &FixedEntropy(0)),
            release: id,
            release_number: ReleaseNumber(i64::from(number)),
            slot,
            epoch: Epoch(1),
            state: InstanceState::Running { started_at },
            address: Some(([10, 210, 0, 2], 8080).into()),
        });
        let health = if self.sick.contains(&id) {
            Health::Unproven { since: started_at }
        } else {
            Health::Healthy
        };
        self.world.health.insert(key, health);
    }

    /// One look, one batch. Says whether anything was to be done, and when to look again.
    fn look(&mut self) -> (bool, Option<slipway_domain::Timestamp>) {
        self.world.instances = if self.is_away {
            Observed::Unknown { reason: "away".into() }
        } else {
            Observed::Known(self.engine.clone())
        };
        self.world.commands = self.commands.keys().copied().collect();
        let of = self.engine.iter().map(|i| i.release);
        self.world.unknown = of.filter(|release| !self.known.contains(release)).collect();
        if let Some(deployment) = &mut self.world.deployment {
            deployment.release_command = Some(match self.commands.get(&deployment.target.id) {
                Some(_) => CommandFacts::Ended { exit_code: 0 },
                None => CommandFacts::Absent,
            });
        }
        let plan = slipway_planner::plan(&self.world);
        for step in &plan.steps {
            self.step(step);
        }
        (!plan.steps.is_empty(), plan.wake)
    }

    fn step(&mut self, step: &Step) {
        let now = self.world.now;
        match step {
            Step::Begin(_) => self.deployment().state = DeploymentState::Running,
            Step::Mark(_, name, state) => match &mut self.world.deployment {
                Some(deployment) => drop(deployment.steps.insert(*name, (*state, now))),
                None if *state == StepState::Succeeded => self.world.draining = None,
                None => {}
            },
            Step::Canary(_, step, _) => {
                self.deployment().canary = Some(CanaryProgress {
                    step: *step,
                    since: now,
                });
            }
            Step::Start(op) => {
                self.permitted(op);
                assert!(self.world.running.insert(op.clone()), "{op:?} is begun twice");
            }
            Step::Publish(route) => {
                for id in &route.instances {
                    let runs = self.engine.iter().any(|i| i.id == *id && i.is_running());
                    assert!(runs, "{id} does not run and was routed");
                }
                self.reachable.extend(route.instances.iter().cloned());
                self.world.route.state = route.state;
                self.world.route.instances.clone_from(&route.instances);
                self.world.route.split = route.split;
                self.world.route.acknowledged = false;
            }
            Step::Succeed(_) => {
                let done = self.world.deployment.take().expect("a deployment");
                self.world.draining = Some(done.id);
                self.world.last_failed = false;
                self.world.previous = self.world.serving.replace(done.target);
                self.world.serving_since = Some(now);
            }
            Step::Fail(..) => {
                self.world.deployment = None;
                self.world.last_failed = true;
            }
            Step::RollBack { to, .. } => {
                let previous = self.world.previous.clone().expect("what is gone back to");
                assert_eq!(previous.id, *to);
                self.back_to(&previous);
            }
            Step::Scale(count) => {
                self.world.scaled_at = Some(now);
                let serving = self.world.serving.iter_mut();
                let target = self.world.deployment.iter_mut().map(|d| &mut d.target);
                for facts in serving.chain(target) {
                    facts.replicas = replicas_within(facts, *count);
                }
            }
            Step::Rest(rest) => {
                self.world.rest = *rest;
                self.world.rest_since = Some(now);
                self.world.wake_asked &= *rest != Rest::Awake;
            }
            Step::Raise(kind, release, _) => {
                let before = self.alert(*kind).replace(*release);
                assert_eq!(before, None, "somebody was told already");
            }
            Step::Clear(kind) => assert!(self.alert(*kind).take().is_some(), "nobody was told"),
            Step::PassNumber(_) => {}
            Step::Purge => panic!("nothing was deleted"),
        }
    }

    fn alert(&mut self, kind: AlertKind) -> &mut Option<ReleaseId> {
        match kind {
            AlertKind::CrashLoop => &mut self.world.crash_alert,
            AlertKind::UnknownRelease => &mut self.world.unknown_alert,
            AlertKind::CertificateExpiring => panic!("certificates are not an environment's"),
        }
    }

    fn deployment(&mut self) -> &mut DeploymentFacts {
        self.world.deployment.as_mut().expect("a deployment")
    }

    /// Whether somebody stopped the app after this release was made, or a deployment after it is there or has succeeded.
    fn is_given_up(&self, release: ReleaseId) -> bool {
        let world = &self.world;
        let stopped = world.desired != Desired::Running && world.decided_at > release.minted_at();
        let later = world
            .deployment
            .iter()
            .map(|d| d.target.id)
            .chain(world.serving.iter().map(|s| s.id));
        stopped || later.max().is_some_and(|id| id > release)
    }

    /// What may never be begun.
    fn permitted(&self, op: &Op) {
        match op {
            Op::Remove(id) | Op::Stop(id) | Op::Pause(id) => {
                let serves = self.reachable.contains(id) && self.engine.iter().any(|i| i.id == *id && i.is_running());
                assert!(!serves, "{op:?} while a proxy may send requests to it");
                let unknown = |i: &&Instance| i.id == *id && !self.known.contains(&i.release);
                if let Some(unknown) = self.engine.iter().find(unknown) {
                    let what = "of a release that the database does not know";
                    assert!(self.is_given_up(unknown.release), "{op:?} {what}");
                }
            }
            Op::Apply(id, slots) => {
                let deployment = self.world.deployment.as_ref().filter(|d| d.target.id == *id);
                let (facts, alone) = match deployment {
                    Some(d) => (&d.target, d.target.strategy == Way::Recreate),
                    None => (self.world.serving.as_ref().expect("what serves"), false),
                };
                assert!(
                    slots.iter().all(|slot| *slot < facts.replicas),
                    "more than wanted: {slots:?}"
                );
                let others = self.engine.iter().any(|i| !facts.owns(i) && i.is_running());
                assert!(!(alone && others), "two releases run beside each other");
            }
            Op::Command(id) => assert!(!self.commands.contains_key(id), "a release command runs twice"),
            Op::Pull(_) | Op::Smoke(_) | Op::Resume(_) | Op::RemoveCommand(_) | Op::Clean => {}
        }
    }

    /// Everything published is confirmed, and everything that is begun is done if it ends.
    fn calm(&mut self, looks: usize, ends: bool) {
        for _ in 0..looks {
            let begun = self.world.running.clone();
            for op in begun.into_iter().filter(|_| ends) {
                self.finish(&op, true, true);
            }
            self.acknowledge();
            self.look();
        }
    }

    /// No more faults: everything that is begun is done, everything published is confirmed.
    fn settle(&mut self) {
        self.is_away = false;
        self.world.load = None;
        self.world.wake_asked = self.world.rest != Rest::Awake;
        for _ in 0..LOOKS_MAX {
            for op in self.world.running.clone() {
                self.finish(&op, true, true);
            }
            self.acknowledge();
            for health in self
                .world
                .health
                .values_mut()
                .filter(|h| matches!(h, Health::Failing { .. }))
            {
                *health = Health::Healthy;
            }
            let (busy, wake) = self.look();
            if busy || !self.world.running.is_empty() {
                continue;
            }
            match wake {
                Some(wake) if wake > self.world.now => self.world.now = wake,
                _ => return,
            }
        }
        panic!("no rest after {LOOKS_MAX} looks: {:?}", self.world);
    }

    /// What must be so at rest.
    fn judge(&self) {
        assert_eq!(self.world.unknown_alert, None, "a release is unknown after a decision");
        assert_eq!(self.world.deployment, None, "a deployment is stuck");
        assert_eq!(self.world.crash_alert, None, "all is well, and nobody says so");
        let ids: BTreeSet<String> = self.engine.iter().map(|i| i.id.clone()).collect();
        assert_eq!(
            ids, self.world.route.instances,
            "what runs is what has traffic, and nothing is left over"
        );
        assert!(self.commands.is_empty(), "a release command is left over");
        let serves = self.world.serving.is_some() && self.world.desired == Desired::Running;
        assert!(
            !serves || self.world.rest == Rest::Awake,
            "a request waits for what never wakes"
        );
        let wanted = match (&self.world.serving, self.world.desired) {
            (Some(serving), Desired::Running) => serving.replicas,
            _ => 0,
        };
        assert_eq!(
            ids.len(),
            usize::try_from(wanted).expect("few"),
            "as many as are wanted"
        );
    }
}

/// So many requests in flight, or none for so many seconds.
fn told(in_flight: u64, quiet: i64) -> Load {
    Load {
        stable_milli: in_flight * 1000,
        panic_milli: in_flight * 2000,
        quiet: TimeDelta::seconds(if in_flight > 0 { 0 } else { quiet }),
    }
}

/// So many instances, within what the release may have.
fn replicas_within(facts: &ReleaseFacts, count: u32) -> u32 {
    if facts.scale.follows_load() {
        count.clamp(facts.scale.floor(), facts.scale.ceiling())
    } else {
        facts.scale.floor()
    }
}

proptest! {
    #[test]
    fn every_history_comes_to_rest_on_what_was_wanted_last(events in prop::collection::vec(event(), 1..60)) {
        let mut model = Model::new();
        for event in &events {
            model.happen(event);
        }
        model.settle();
        if model.world.unknown_alert.is_some() {
            // What stands still because the database was put back goes on when somebody decides.
            model.deploy([0, 0], 1, false, false);
            model.settle();
        }
        model.judge();
    }
}
