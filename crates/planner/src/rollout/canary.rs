//! Canary: a whole new group that gets the traffic in shares, and is judged against the old one at each.
//!
//! | situation | step |
//! |---|---|
//! | not every wanted instance is healthy | start what is missing; the old group has all traffic |
//! | all are, a step is left | its share of the traffic; when every proxy has confirmed it, the step's time begins |
//! | the new release fails more, or is slower, than the step allows | fail; all traffic goes back |
//! | the step's time is over, with requests enough to judge | the next step |
//! | the step's time is over, with too few | as long again, then the next step |
//! | the same, and it answered nothing of its share | fail; all traffic goes back |
//! | no step is left, or somebody said so | all traffic |
//!
//! Promises: what is judged is what the proxies counted of both releases over the same time; nothing is concluded from
//! fewer than [`REQUESTS_MIN`] requests, or while it is not known what they counted.

use slipway_domain::deployment::{StepName, StepState};
use slipway_domain::routing::{RouteState, Split};
use slipway_domain::spec::CanaryStep;

use super::group::Group;
use crate::instances::{publish, wake_at};
use crate::plan::{Failure, Judged, Plan, Route, Step};
use crate::world::{Sample, Traffic};

/// So many requests of the new release make a judgement.
const REQUESTS_MIN: u64 = 50;
/// So many make one of how long they take: of fewer, the slowest in a hundred are one or two.
const TIMED_MIN: u64 = 300;
/// So many failed requests of the new release are judged before there are that many.
const FAILED_MIN: u64 = 10;
/// Latencies below this do not make a release slow, whatever the ratio.
const SLOW_MS_MIN: u64 = 25;

pub(super) fn roll(group: &Group<'_>, plan: &mut Plan) {
    group.start_missing(plan, group.target.replicas);
    if !group.is_complete() {
        group.wait_beside(plan);
        return;
    }
    let step = group.deployment.canary.map_or(0, |progress| progress.step);
    let current = usize::try_from(step).ok().and_then(|i| group.target.canary.get(i));
    let Some(current) = current.filter(|_| group.serving().is_some() && !group.deployment.promoted) else {
        let finished = if group.deployment.canary.is_some() {
            StepState::Succeeded
        } else {
            StepState::Skipped
        };
        group.mark(plan, StepName::Canary, finished);
        group.switch(plan);
        return;
    };
    group.mark(plan, StepName::Canary, StepState::Running);
    let old = group.keep_old(plan);
    let route = Route {
        state: RouteState::Serving,
        instances: group.healthy_ids().into_iter().chain(old.iter().cloned()).collect(),
        split: Some(Split {
            release: group.target.number,
            percent: current.weight,
            sticky: group.target.sticky,
        }),
    };
    if !publish(group.world, plan, route) || !group.world.route.acknowledged {
        return;
    }
    let Some(progress) = group.deployment.canary else {
        plan.steps.push(Step::Canary(group.deployment.id, 0, None));
        return;
    };
    let fail = |plan: &mut Plan, detail| {
        // In one batch, so that nobody who hears of the failure meets the release that failed for long.
        publish(group.world, plan, Route::serving(old));
        plan.steps
            .push(Step::Fail(group.deployment.id, Failure::Canary { detail }));
    };
    if let Some(detail) = group.world.traffic.and_then(|t| worse(current, t)) {
        return fail(plan, detail);
    }
    let judged = match group.world.traffic.map(|t| t.new.requests) {
        Some(requests) if requests >= REQUESTS_MIN => Judged::Requests(requests),
        Some(requests) => Judged::TooFew(requests),
        None => Judged::Uncounted,
    };
    let hold = current.hold.to_chrono();
    let over = progress.since
        + match judged {
            Judged::Requests(_) => hold,
            Judged::TooFew(_) | Judged::Uncounted => hold * 2,
        };
    let silent = group.world.traffic.filter(|_| !group.target.sticky);
    if group.world.now < over {
        wake_at(plan, over);
    } else if let Some(detail) = silent.and_then(|t| answers_nothing(current, t)) {
        fail(plan, detail);
    } else {
        plan.steps
            .push(Step::Canary(group.deployment.id, step + 1, Some(judged)));
    }
}

/// That the new release answered none of the requests that its share must have brought it; not where a visitor stays
/// with the release that answered first, since then nobody may have come.
fn answers_nothing(step: &CanaryStep, Traffic { new, old }: Traffic) -> Option<String> {
    let share = u64::from(step.weight);
    let sent = old.requests.saturating_mul(share) / (100 - share.min(99));
    (new.requests == 0 && sent >= FAILED_MIN)
        .then(|| format!("it answered none of about {sent} requests that its {share} % of the traffic brought it"))
}

/// In what the new release does worse than the step allows, if in anything.
fn worse(step: &CanaryStep, traffic: Traffic) -> Option<String> {
    let Traffic { new, old } = traffic;
    if new.requests < REQUESTS_MIN && new.failed < FAILED_MIN {
        return None;
    }
    let (rate, before) = (rate(new), rate(old));
    if rate > before + step.max_error_rate.as_f64() {
        return Some(format!(
            "{} of its {} requests failed ({:.1} %), of the old release's {} of {} ({:.1} %); {:.1} % more are allowed",
            new.failed,
            new.requests,
            rate * 100.0,
            old.failed,
            old.requests,
            before * 100.0,
            step.max_error_rate.as_f64() * 100.0
        ));
    }
    let enough = new.requests >= TIMED_MIN && old.requests >= TIMED_MIN;
    let allowed = millis(old.p99_ms) * step.max_p99_ratio.as_f64();
    if enough && new.p99_ms > SLOW_MS_MIN && millis(new.p99_ms) > allowed {
        return Some(format!(
            "99 of 100 of its requests take up to {} ms, of the old release's up to {} ms; {} times as long is allowed",
            new.p99_ms,
            old.p99_ms,
            step.max_p99_ratio.as_f64()
        ));
    }
    None
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
fn rate(sample: Sample) -> f64 {
    if sample.requests == 0 {
        return 0.0;
    }
    sample.failed as f64 / sample.requests as f64
}

#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^53 ms")]
fn millis(ms: u64) -> f64 {
    ms as f64
}
