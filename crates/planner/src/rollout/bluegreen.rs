//! Blue/green: a whole new group beside the old, one switch.
//!
//! | situation | step |
//! |---|---|
//! | not every wanted instance is healthy | start what is missing, all at once; the old group has the traffic |
//! | all are | all traffic to them, in one step |
//!
//! Promises: no request meets two releases but at the switch; the old group is whole until every proxy has confirmed it,
//! and is kept by `settle` for the bake time after that.

use super::group::Group;
use crate::plan::Plan;

pub(super) fn roll(group: &Group<'_>, plan: &mut Plan) {
    group.start_missing(plan, group.target.replicas);
    if group.is_complete() {
        group.switch(plan);
    } else {
        group.wait_beside(plan);
    }
}
