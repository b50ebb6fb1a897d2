//! What is said of an environment.

use slipway_planner::conditions::{Said, conditions};
use slipway_planner::plan;

use crate::fixture::world;

/// Each condition as `Ready Healthy: the message`, with an exclamation mark before what is not so.
fn said(text: &str) -> Vec<String> {
    let world = world(text);
    let Said::Seen(conditions) = conditions(&world, &plan(&world)) else {
        panic!("the engine can be looked at");
    };
    let line = |c: &slipway_planner::conditions::Condition| {
        let not = if c.status { "" } else { "!" };
        format!("{not}{} {}: {}", c.kind.as_str(), c.reason, c.message)
    };
    conditions.iter().map(line).collect()
}

#[test]
fn what_serves_in_full_is_ready() {
    assert_eq!(
        said("serving r1 x1\nroute serving\nr1#0 running healthy routed"),
        [
            "Ready Healthy: 1 of 1 instance healthy and with traffic",
            "Available Healthy: 1 of 1 instance healthy and with traffic",
            "!Progressing Settled: no deployment is under way",
        ]
    );
}

#[test]
fn what_ends_again_and_again_says_so_and_when_it_starts_next() {
    let world = |count: u32| format!("now 40\nserving r1 x1\nroute starting\nr1#0 exited\nrestart r1#0 at 65 {count}");
    assert_eq!(
        said(&world(3))[0],
        "!Ready CrashLoop: 0 of 1 instance healthy and with traffic; an instance ended 3 times in a row, the last time with exit code 1; it is started again at 00:01:05 UTC"
    );
    assert!(said(&world(2))[0].starts_with("!Ready Unhealthy"));
}

#[test]
fn what_serves_in_part_is_available_and_not_ready() {
    let half = "serving r1 x2\nroute serving\nr1#0 running healthy routed\nr1#1 exited";
    let text = "1 of 2 instances healthy and with traffic";
    assert_eq!(
        said(half)[..2],
        [
            format!("!Ready Unhealthy: {text}"),
            format!("Available Healthy: {text}")
        ]
    );
    let none = "serving r1 x1\nroute serving\nr1#0 running failing routed";
    let text = "0 of 1 instance healthy and with traffic; one has not answered its health check since 00:00:00 UTC";
    assert_eq!(
        said(none)[..2],
        [
            format!("!Ready Unhealthy: {text}"),
            format!("!Available Unhealthy: {text}")
        ]
    );
}

#[test]
fn what_should_not_or_cannot_serve_says_why() {
    for (world, ready) in [
        ("", "!Ready NothingServes: no deployment has succeeded yet"),
        (
            "last failed",
            "!Ready DeploymentFailed: the last deployment failed, and nothing served before",
        ),
        ("desired stopped\nserving r1 x1", "!Ready Stopped: it was stopped"),
        ("desired deleted\nserving r1 x1", "!Ready Deleting: it is being deleted"),
    ] {
        assert_eq!(said(world)[0], ready, "{world}");
    }
}

#[test]
fn a_deployment_under_way_is_told_with_its_step() {
    let deploying = "serving r1 x1\ndeploying r2 x1\nstep pull succeeded 1\nstep health running 2";
    assert_eq!(said(deploying)[2], "Progressing Deploying: at the step `health`");
    assert_eq!(
        said("deploying r2 x1 pending")[2],
        "Progressing Deploying: between two steps"
    );
    assert_eq!(
        said("serving r1 x1\nlast failed")[2],
        "!Progressing DeploymentFailed: the last deployment failed"
    );
}

#[test]
fn what_cannot_be_seen_is_called_so_and_a_deployment_is_told_of_all_the_same() {
    let blind = world("blind\nserving r1 x1\ndeploying r2 x1\nstep pull running 0");
    let Said::Blind { progress, reason, .. } = conditions(&blind, &plan(&blind)) else {
        panic!("nothing can be seen");
    };
    assert_eq!(reason, "EngineUnavailable");
    assert!(progress.status, "{}", progress.message);
    assert_eq!(progress.message, "at the step `pull`");
}

#[test]
fn a_deployment_that_succeeds_now_is_what_serves() {
    let done = "deploying r1 x1\nroute serving\nr1#0 running healthy routed\nstep pull succeeded 1\n\
                step release_command skipped 1\nstep start succeeded 1\nstep health succeeded 1\nstep switch running 1";
    assert_eq!(
        said(done),
        [
            "Ready Healthy: 1 of 1 instance healthy and with traffic",
            "Available Healthy: 1 of 1 instance healthy and with traffic",
            "!Progressing Settled: no deployment is under way",
        ]
    );
}
