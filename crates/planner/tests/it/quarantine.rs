//! The database was put back to an older point: what it does not know is not ended because of what it knows.

use slipway_planner::render::render;

use crate::fixture::{check, names, planned};

/// What is told of release 3.
const TOLD: &str = "v3 runs here, which the database does not know: it was put back to an older point. It goes on serving, \
                    and nothing is changed until somebody deploys, rolls back, stops or deletes";
/// Release 1 serves as far as the database knows, and release 3 runs.
const BACK: &str = "now 40\nserving r1 x1\nunknown r3\nr3#0 running healthy\n";

fn raised() -> String {
    format!("raise unknown_release: {TOLD}")
}

fn rendered(text: &str) -> String {
    render(&planned(text), &names())
}

#[test]
fn an_unknown_release_goes_on_serving_and_nothing_is_started_or_removed() {
    check(BACK, &[&raised(), "pass v3", "publish serving r3#0"]);
    let told = "told of unknown r3\nroute serving\nr3#1 running healthy routed\n";
    check(
        &format!("{BACK}{told}r1#0 running healthy"),
        &["publish serving r3#0 r3#1"],
    );
    check(
        &format!("{BACK}told of unknown r3\nroute serving\nr1#0 running healthy\nr2#0 running healthy")
            .replace("r3#0 running healthy", "r3#0 running healthy routed"),
        &[],
    );
}

#[test]
fn one_that_does_not_answer_yet_takes_no_traffic_from_what_has_it() {
    let unproven = BACK.replace("healthy", "unproven since 39");
    let text = format!("{unproven}told of unknown r3\nroute serving\nr1#0 running healthy routed");
    check(&text, &[]);
}

#[test]
fn an_unknown_instance_that_ended_or_rests_is_started_again_in_its_time() {
    let told = "now 40\nserving r1 x1\nunknown r3\ntold of unknown r3\n";
    check(&format!("{told}r3#0 exited"), &["resume r3#0"]);
    check(&format!("{told}r3#0 paused"), &["resume r3#0"]);
    check(&format!("{told}r3#0 exited\nrestart r3#0 at 50"), &[]);
    // The only one that had traffic: what comes back may have another address.
    let only = format!("{told}route serving\nr3#0 exited routed");
    check(&only, &["resume r3#0", "publish holding"]);
    check(
        &format!("{told}route holding\nr3#0 running healthy"),
        &["publish serving r3#0"],
    );
    check(
        &format!("{told}rest asleep since 4\nr3#0 paused"),
        &["rest awake", "resume r3#0"],
    );
}

#[test]
fn a_deployment_of_before_fails_and_says_why() {
    let plan = rendered(&format!("{BACK}deploying r2 x1\ndecided at 2"));
    assert!(plan.contains(&format!("fail unknown_release: {TOLD}")), "{plan}");
    assert!(!plan.contains("pull"), "{plan}");
}

#[test]
fn a_deployment_of_after_takes_the_place_of_what_is_unknown() {
    let before = BACK.replace("healthy", "healthy routed");
    let text = format!(
        "{before}told of unknown r3\nroute serving\ndecided at 4\ndeploying r4 x1\nimage here\n\
                        step release_command skipped 4\nstep pull succeeded 4\nr4#0 running healthy"
    );
    let plan = rendered(&text);
    assert!(plan.contains("publish serving r4#0"), "{plan}");
    assert!(!plan.contains("clear"), "it is not over yet: {plan}");
    let after = "now 90\nserving r4 x1\nunknown r3\nroute serving\nr4#0 running healthy routed\nr3#0 running healthy unrouted since 4";
    check(after, &["remove r3#0"]);
    check(
        &format!("{after}\ntold of unknown r3"),
        &["remove r3#0", "clear unknown_release"],
    );
}

#[test]
fn what_a_failed_deployment_of_after_left_goes_and_the_unknown_release_stays() {
    let text = format!("{BACK}told of unknown r3\nroute serving\ndecided at 4\nlast failed\nr4#0 exited")
        .replace("r3#0 running healthy", "r3#0 running healthy routed");
    check(&text, &["remove r4#0"]);
}

#[test]
fn a_stop_counts_if_it_was_decided_after_the_unknown_release_was_made() {
    let stopped = BACK.replace("healthy", "healthy unrouted since 4");
    let stopped = format!("{stopped}told of unknown r3\nroute stopped\ndesired stopped\n");
    check(&format!("{stopped}decided at 2"), &["publish serving r3#0"]);
    check(
        &format!("{stopped}decided at 4"),
        &["remove r3#0", "clear unknown_release"],
    );
    let deleted = stopped.replace("stopped", "deleted");
    let plan = rendered(&format!("{deleted}decided at 2"));
    assert!(!plan.contains("remove"), "{plan}");
}

#[test]
fn an_older_release_that_is_not_known_is_in_nobodys_way() {
    let text = "now 90\nserving r4 x1\nunknown r3\nroute serving\nr4#0 running healthy routed\nr3#0 exited";
    check(text, &["remove r3#0"]);
}
