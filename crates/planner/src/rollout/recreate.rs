//! Recreate: the old instances stop before the new ones start, for apps that must not run twice on the same data.
//!
//! | situation | step |
//! |---|---|
//! | an instance of another release is there | requests wait in the proxies; it is drained and removed |
//! | none is | start all wanted instances |
//! | all are healthy | all traffic to them; what waited goes on |
//!
//! Promises: no two releases run at the same time.

use std::collections::BTreeSet;

use slipway_domain::deployment::{StepName, StepState};
use slipway_domain::observed::Instance;
use slipway_domain::routing::RouteState;

use super::group::Group;
use crate::instances::{publish, retire};
use crate::plan::{Plan, Route};

pub(super) fn roll(group: &Group<'_>, plan: &mut Plan) {
    let others: Vec<&Instance> = group.instances.iter().filter(|i| !group.target.owns(i)).collect();
    if !others.is_empty() {
        group.mark(plan, StepName::Drain, StepState::Running);
        publish(group.world, plan, Route::nowhere(RouteState::Holding));
        let drain = group.world.serving.as_ref().unwrap_or(group.target).drain_timeout;
        retire(group.world, plan, others.into_iter(), &BTreeSet::new(), drain);
        return;
    }
    if group.deployment.steps.contains_key(&StepName::Drain) && !group.is_done(StepName::Stop) {
        group.mark(plan, StepName::Drain, StepState::Succeeded);
        group.mark(plan, StepName::Stop, StepState::Succeeded);
    }
    group.start_missing(plan, group.target.replicas);
    if group.is_complete() {
        group.switch(plan);
    } else {
        group.wait_for_first(plan);
    }
}
