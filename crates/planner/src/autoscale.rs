//! How many instances the requests in flight call for, and whether there is nothing to do at all.
//!
//! As in Knative's autoscaler: a stable window of a minute and a panic window of six seconds, of which the averages are
//! compared with what one instance is to have in flight.
//!
//! | situation | verdict |
//! |---|---|
//! | the panic window calls for twice what runs, or more | as many, at once |
//! | the stable window calls for more | as many |
//! | it calls for fewer, and the last change is a stable window ago | as many |
//! | nothing was in flight for the idle time-out, and the spec lets it sleep | rest |
//!
//! Promises: never below the floor, never above the ceiling; without knowing the load of every proxy nothing changes.

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::rest::Rest;
use slipway_domain::spec::Scale;

use crate::plan::{Plan, Step};
use crate::settle;
use crate::world::{Desired, Load, World};

/// Averages over so long decide calmly.
pub const STABLE_WINDOW: TimeDelta = TimeDelta::seconds(60);
/// Averages over so long decide in a panic.
pub const PANIC_WINDOW: TimeDelta = TimeDelta::seconds(6);
/// An instance is to be used to so many hundredths of what it is wanted to have in flight: the rest is for what comes
/// while another one starts.
const UTILIZATION_PERCENT: u64 = 70;

/// What the load calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it is.
    Stay,
    /// So many instances.
    Scale(u32),
    /// None.
    Rest,
}

/// Judges the load of what runs with `current` instances since `scaled_at`.
pub fn judge(scale: &Scale, current: u32, scaled_at: Option<Timestamp>, load: Load, now: Timestamp) -> Verdict {
    if scale.sleeps() && load.quiet >= scale.idle_timeout.to_chrono() {
        return Verdict::Rest;
    }
    if !scale.follows_load() {
        return Verdict::Stay;
    }
    let wanted = |in_flight_milli: u64| {
        let per_instance = u64::from(scale.concurrency) * UTILIZATION_PERCENT * 10;
        let count = in_flight_milli.div_ceil(per_instance.max(1));
        u32::try_from(count)
            .unwrap_or(u32::MAX)
            .clamp(scale.floor(), scale.ceiling())
    };
    let (stable, panic) = (wanted(load.stable_milli), wanted(load.panic_milli));
    let settled = scaled_at.is_none_or(|at| now >= at + STABLE_WINDOW);
    let next = if panic >= current.saturating_mul(2) || (panic == scale.ceiling() && panic > current) {
        panic
    } else if stable > current || settled {
        // What the last seconds call for is not taken away again.
        stable.max(panic.min(current))
    } else {
        current
    };
    if next == current {
        Verdict::Stay
    } else {
        Verdict::Scale(next)
    }
}

/// Adds what the load calls for to a plan. While something is deployed, only more.
pub(crate) fn follow(world: &World, plan: &mut Plan) {
    let (Some(serving), Some(load)) = (&world.serving, world.load) else {
        return;
    };
    if world.desired != Desired::Running || world.rest != Rest::Awake {
        return;
    }
    match judge(&serving.scale, serving.replicas, world.scaled_at, load, world.now) {
        Verdict::Scale(count) if count > serving.replicas || world.deployment.is_none() => {
            plan.steps.push(Step::Scale(count));
        }
        Verdict::Rest if world.deployment.is_none() && plan.settled && !is_watched(world) => {
            plan.steps.push(Step::Rest(Rest::Dozing));
        }
        _ => {}
    }
}

/// Whether the release that serves may still be taken back, or was only just woken.
fn is_watched(world: &World) -> bool {
    let (Some(serving), Some(since)) = (&world.serving, world.serving_since) else {
        return false;
    };
    let baking = settle::bake_end(world, serving).is_some();
    let idle = serving.scale.idle_timeout.to_chrono();
    let woken = world.rest_since.is_some_and(|at| world.now < at + idle);
    baking || woken || world.now < since + idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;
    use slipway_domain::quantity::Span;

    fn scale(min: u32, max: u32) -> Scale {
        Scale {
            max: Some(max),
            concurrency: 10,
            idle_timeout: Span::from_secs(60),
            ..Scale::fixed(min)
        }
    }

    fn load(stable: u64, panic: u64) -> Load {
        Load {
            stable_milli: stable * 1000,
            panic_milli: panic * 1000,
            quiet: TimeDelta::zero(),
        }
    }

    #[test]
    fn the_number_follows_the_average_in_flight_within_its_bounds() {
        let minute_ago = Some(at(0));
        let now = at(60_000);
        for (current, stable, panic, verdict) in [
            (1, 0, 0, Verdict::Stay),
            (1, 7, 7, Verdict::Stay),
            (1, 8, 8, Verdict::Scale(2)),
            (2, 20, 20, Verdict::Scale(3)),
            (2, 14, 14, Verdict::Stay),
            (4, 14, 14, Verdict::Scale(2)),
            (4, 0, 0, Verdict::Scale(1)),
            (4, 100, 100, Verdict::Scale(5)),
            (5, 100, 100, Verdict::Stay),
        ] {
            let found = judge(&scale(1, 5), current, minute_ago, load(stable, panic), now);
            assert_eq!(found, verdict, "{current} instances, {stable} and {panic} in flight");
        }
    }

    #[test]
    fn a_sudden_rush_is_answered_at_once_and_its_end_only_after_a_stable_window() {
        let rush = load(3, 30);
        assert_eq!(
            judge(&scale(1, 10), 1, Some(at(59_000)), rush, at(60_000)),
            Verdict::Scale(5)
        );
        let over = load(10, 0);
        assert_eq!(
            judge(&scale(1, 10), 5, Some(at(60_000)), over, at(90_000)),
            Verdict::Stay
        );
        assert_eq!(
            judge(&scale(1, 10), 5, Some(at(60_000)), over, at(120_000)),
            Verdict::Scale(2)
        );
    }

    #[test]
    fn only_what_may_sleep_rests_and_only_after_its_time() {
        let quiet = |seconds| Load {
            quiet: TimeDelta::seconds(seconds),
            ..load(0, 0)
        };
        assert_eq!(judge(&scale(0, 1), 1, None, quiet(59), at(0)), Verdict::Stay);
        assert_eq!(judge(&scale(0, 1), 1, None, quiet(60), at(0)), Verdict::Rest);
        assert_eq!(judge(&scale(1, 1), 1, None, quiet(6_000), at(0)), Verdict::Stay);
    }
}
