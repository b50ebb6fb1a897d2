//! The instances of the release that is being deployed, and the moves that strategies are made of.

use std::collections::BTreeSet;

use slipway_domain::deployment::{StepName, StepState};
use slipway_domain::observed::Instance;
use slipway_domain::routing::RouteState;

use super::{is_done, mark};
use crate::comeback;
use crate::instances::{has_ended, is_applying, is_healthy, of, publish, restart_missing, start, wake_at};
use crate::plan::{Failure, Op, Plan, Route, Step};
use crate::world::{DeploymentFacts, Health, ReleaseFacts, World};

/// The new release's instances in the world they come into.
pub(super) struct Group<'a> {
    pub(super) world: &'a World,
    pub(super) deployment: &'a DeploymentFacts,
    pub(super) target: &'a ReleaseFacts,
    /// Everything on the engine.
    pub(super) instances: &'a [Instance],
    /// The new release's own.
    pub(super) new: Vec<&'a Instance>,
    /// Those that are wanted and proven, once the app's own checks have passed.
    pub(super) healthy: Vec<&'a Instance>,
    /// How many are wanted and proven, whatever its own checks say.
    proven: usize,
}

/// Whether the app's own checks, if it has any, have passed.
fn is_smoked(world: &World, deployment: &DeploymentFacts) -> bool {
    let target = &deployment.target;
    !target.has_smoke || is_done(deployment, StepName::Smoke) || world.smoked == Some(target.id)
}

impl<'a> Group<'a> {
    pub(super) fn of(world: &'a World, deployment: &'a DeploymentFacts, instances: &'a [Instance]) -> Self {
        let target = &deployment.target;
        let new = of(instances, target);
        let wanted = |i: &&Instance| i.slot < target.replicas && is_healthy(world, i);
        let mut healthy: Vec<_> = new.iter().copied().filter(wanted).collect();
        let proven = healthy.len();
        if !is_smoked(world, deployment) {
            healthy.clear();
        }
        Self {
            world,
            deployment,
            target,
            instances,
            new,
            healthy,
            proven,
        }
    }

    /// Has the app's own checks made as soon as there is an instance to ask, and notes how they ended.
    pub(super) fn smoke(&self, plan: &mut Plan) {
        if !self.target.has_smoke || self.is_done(StepName::Smoke) {
            return;
        }
        if self.world.smoked == Some(self.target.id) {
            self.mark(plan, StepName::Smoke, StepState::Succeeded);
        } else if self.proven > 0 {
            self.mark(plan, StepName::Smoke, StepState::Running);
            start(self.world, plan, Op::Smoke(self.target.id));
        }
    }

    pub(super) fn wanted(&self) -> usize {
        usize::try_from(self.target.replicas).unwrap_or(usize::MAX)
    }

    /// Whether every wanted instance is proven.
    pub(super) fn is_complete(&self) -> bool {
        self.healthy.len() >= self.wanted()
    }

    pub(super) fn healthy_ids(&self) -> BTreeSet<String> {
        self.healthy.iter().map(|i| i.id.clone()).collect()
    }

    /// Instances of other releases that have traffic, lowest slot first. What a canary showed to a few before its
    /// deployment was superseded is not proven: where another release serves, it is not part of what is kept.
    pub(super) fn old_routed(&self) -> Vec<&'a Instance> {
        let split = self.world.route.split.filter(|_| self.serving().is_some());
        let unproven = |i: &Instance| {
            split.is_some_and(|s| s.release == i.release_number) && !self.serving().is_some_and(|s| s.owns(i))
        };
        let routed = |i: &&Instance| {
            !self.target.owns(i) && i.is_running() && self.world.route.instances.contains(&i.id) && !unproven(i)
        };
        let mut old: Vec<&Instance> = self.instances.iter().filter(routed).collect();
        old.sort_by_key(|i| i.slot);
        old
    }

    /// Keeps the release that serves whole for as long as the new one is on its way, and gives those of its instances
    /// that can answer.
    pub(super) fn keep_old(&self, plan: &mut Plan) -> BTreeSet<String> {
        let mut ids: BTreeSet<String> = self.old_routed().iter().map(|i| i.id.clone()).collect();
        if let Some(serving) = self.serving() {
            let own = of(self.instances, serving);
            restart_missing(self.world, plan, serving, &own);
            let healthy = own
                .iter()
                .filter(|i| i.slot < serving.replicas && is_healthy(self.world, i));
            ids.extend(healthy.map(|i| i.id.clone()));
        }
        ids
    }

    /// The release that serves, if it is another one.
    pub(super) fn serving(&self) -> Option<&'a ReleaseFacts> {
        self.world.serving.as_ref().filter(|s| !self.target.is(s.id))
    }

    pub(super) fn mark(&self, plan: &mut Plan, step: StepName, state: StepState) {
        mark(plan, self.deployment, step, state);
    }

    pub(super) fn is_done(&self, step: StepName) -> bool {
        is_done(self.deployment, step)
    }

    /// A new instance that ended, or was not healthy in time. One taken over from a release of the same contents is
    /// not held against it: another is started in its place.
    pub(super) fn lost(&self) -> Option<Failure> {
        let own = || self.new.iter().filter(|i| i.release == self.target.id);
        if let Some(ended) = own().find(|i| has_ended(i)) {
            return Some(Failure::Exited {
                instance: ended.id.clone(),
            });
        }
        let deadline = self.target.health_deadline.to_chrono();
        own()
            .find(|i| match self.world.health.get(&i.id) {
                Some(Health::Unproven { since }) => i.is_running() && self.world.now >= *since + deadline,
                Some(Health::Failing { .. }) => true,
                Some(Health::Healthy) | None => false,
            })
            .map(|i| Failure::Unhealthy { instance: i.id.clone() })
    }

    pub(super) fn wake_at_deadlines(&self, plan: &mut Plan) {
        for instance in &self.new {
            if let Some(Health::Unproven { since }) = self.world.health.get(&instance.id) {
                wake_at(plan, *since + self.target.health_deadline.to_chrono());
            }
        }
    }

    /// Starts missing instances, at most so many unproven ones at once, and notes how far starting and proving are.
    pub(super) fn start_missing(&self, plan: &mut Plan, unproven_max: u32) {
        let unproven = self
            .new
            .iter()
            .filter(|i| i.is_running() && !is_healthy(self.world, i))
            .count();
        let room = usize::try_from(unproven_max)
            .unwrap_or(usize::MAX)
            .saturating_sub(unproven);
        let runs = |slot: &u32| self.new.iter().any(|i| i.slot == *slot && i.is_running());
        let missing: BTreeSet<u32> = (0..self.target.replicas).filter(|s| !runs(s)).take(room).collect();
        if !missing.is_empty() {
            self.mark(plan, StepName::Start, StepState::Running);
            self.start_slots(plan, missing);
        }
        if self.proven >= self.wanted() {
            self.mark(plan, StepName::Start, StepState::Succeeded);
            self.mark(plan, StepName::Health, StepState::Succeeded);
        } else if self.new.iter().any(|i| i.is_running()) && !self.is_done(StepName::Health) {
            if self.proven + unproven >= self.wanted() {
                self.mark(plan, StepName::Start, StepState::Succeeded);
            }
            self.mark(plan, StepName::Health, StepState::Running);
        }
    }

    /// Starts slots unless an operation that starts some of the release is under way.
    fn start_slots(&self, plan: &mut Plan, slots: BTreeSet<u32>) {
        if !is_applying(self.world, self.target) {
            start(self.world, plan, Op::Apply(self.target.id, slots));
        }
    }

    /// The traffic stays where it is while the new release is on its way. Gives the instances that this needs.
    pub(super) fn wait_beside(&self, plan: &mut Plan) -> BTreeSet<String> {
        let old = self.keep_old(plan);
        if old.is_empty() {
            self.wait_for_first(plan);
        } else {
            publish(self.world, plan, Route::serving(old));
        }
        let serving = self.serving().into_iter();
        serving
            .flat_map(|serving| {
                of(self.instances, serving)
                    .into_iter()
                    .filter(|i| i.slot < serving.replicas)
            })
            .map(|i| i.id.clone())
            .collect()
    }

    /// A page while nothing serves.
    pub(super) fn wait_for_first(&self, plan: &mut Plan) {
        let serves = |i: &Instance| i.is_running() && self.world.route.instances.contains(&i.id);
        let is_held = matches!(self.world.route.state, RouteState::Holding | RouteState::Asleep);
        if !self.instances.iter().any(serves) && !is_held {
            let state = self.serving().map_or(RouteState::Starting, |serving| {
                comeback::waiting(self.world, plan, serving, &of(self.instances, serving))
            });
            publish(self.world, plan, Route::nowhere(state));
        }
    }

    /// All traffic to the new release, of which every wanted instance is proven. When every proxy has confirmed it, the
    /// deployment has succeeded.
    pub(super) fn switch(&self, plan: &mut Plan) {
        let published = publish(self.world, plan, Route::serving(self.healthy_ids()));
        self.succeed_if_confirmed(plan, published);
    }

    /// Ends the deployment once the route with all wanted instances and no others is in force everywhere.
    pub(super) fn succeed_if_confirmed(&self, plan: &mut Plan, published: bool) {
        if !(published && self.world.route.acknowledged) {
            self.mark(plan, StepName::Switch, StepState::Running);
            return;
        }
        self.mark(plan, StepName::Switch, StepState::Succeeded);
        if !self.is_done(StepName::Stop) {
            let drains = self.instances.iter().any(|i| !self.target.owns(i));
            let after = if drains { StepState::Running } else { StepState::Skipped };
            self.mark(plan, StepName::Drain, after);
            if !drains {
                self.mark(plan, StepName::Stop, after);
            }
        }
        plan.steps.push(Step::Succeed(self.deployment.id));
    }
}
