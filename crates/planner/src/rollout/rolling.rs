//! Rolling: instance by instance, with a surge.
//!
//! | situation | step |
//! |---|---|
//! | fewer unproven instances than the surge | start the next slots; all of them where nothing serves |
//! | a new instance is healthy | route it, and one old instance less |
//! | an old instance is out of all proxies and idle, or its drain time is over | remove it |
//!
//! Promises: with n wanted and n serving, at least n healthy instances are routed at every moment.

use std::collections::BTreeSet;

use super::group::Group;
use crate::instances::{publish, retire};
use crate::plan::{Plan, Route, Step};

pub(super) fn roll(group: &Group<'_>, plan: &mut Plan) {
    let old = group.old_routed();
    // Where nothing serves there is nothing to spare: all start at once.
    let surge = if old.is_empty() && group.healthy.is_empty() {
        group.target.replicas
    } else {
        group.target.surge
    };
    group.start_missing(plan, surge);

    // Before the first new instance is proven the old ones stay as they are, even when fewer are wanted.
    let kept_max = if group.healthy.is_empty() {
        old.len()
    } else {
        group.wanted().saturating_sub(group.healthy.len())
    };
    let kept = old.iter().take(kept_max).map(|i| i.id.clone());
    let routed: BTreeSet<String> = group.healthy_ids().into_iter().chain(kept).collect();
    let mut standing = BTreeSet::new();
    if routed.is_empty() {
        // What served may have been asleep, or have ended: it answers until the first new instance is proven.
        standing = group.wait_beside(plan);
    } else {
        let published = publish(group.world, plan, Route::serving(routed.clone()));
        if group.is_complete() {
            group.succeed_if_confirmed(plan, published);
            if plan.steps.iter().any(|s| matches!(s, Step::Succeed(_))) {
                return;
            }
        }
    }

    // Old instances that are not routed any more make room while the rest is still rolling.
    let own = group.new.iter().map(|i| i.id.clone());
    let keep: BTreeSet<String> = routed.into_iter().chain(standing).chain(own).collect();
    let drain = group.world.serving.as_ref().unwrap_or(group.target).drain_timeout;
    retire(group.world, plan, group.instances.iter(), &keep, drain);
}
