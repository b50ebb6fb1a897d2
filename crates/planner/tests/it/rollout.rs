//! Deployments under way.

use crate::fixture::check;

const PULLED: &str = "step pull succeeded 0
    step release_command skipped 0";

fn after_pull(text: &str, expected: &[&str]) {
    let mut lines: Vec<&str> = text.lines().collect();
    let at = lines
        .iter()
        .position(|l| l.trim().starts_with("deploying"))
        .expect("deploying")
        + 1;
    lines.insert(at, PULLED);
    check(&lines.join("\n"), expected);
}

#[test]
fn a_new_deployment_begins_and_pulls_what_is_not_here() {
    check(
        "deploying r1 x1 pending\nimage away",
        &["begin", "mark pull running", "pull r1"],
    );
}

#[test]
fn a_pull_under_way_is_not_begun_twice() {
    check("deploying r1 x1\nimage away\nstep pull running 0\nbusy pull r1", &[]);
}

#[test]
fn a_pull_that_failed_waits_before_it_is_tried_again() {
    check(
        "now 5\ndeploying r1 x1\nimage away\nstep pull running 0\nfailed pull r1 until 9",
        &[],
    );
    check(
        "now 9\ndeploying r1 x1\nimage away\nstep pull running 0\nfailed pull r1 until 9",
        &["pull r1"],
    );
}

#[test]
fn an_image_that_is_gone_ends_the_deployment() {
    check(
        "now 5\ndeploying r1 x1\nimage away\nstep pull running 0\nfailed pull r1 until 9 fatal",
        &["fail image_not_found: no such image"],
    );
}

#[test]
fn the_release_command_runs_before_any_instance() {
    check(
        "deploying r1 x1 command\nimage here\ncommand absent",
        &[
            "mark pull succeeded",
            "mark release_command running",
            "run release command of r1",
        ],
    );
    check(
        "deploying r1 x1 command\nimage here\nstep pull succeeded 0\nstep release_command running 0\ncommand running",
        &[],
    );
}

#[test]
fn a_failed_release_command_ends_the_deployment_and_moves_no_traffic() {
    check(
        "serving r1 x1\nroute serving\nr1#0 running healthy routed
        deploying r2 x1 command\nstep pull succeeded 0\nstep release_command running 0\ncommand exit 3",
        &["fail release command exit 3"],
    );
}

#[test]
fn a_release_command_that_hangs_ends_the_deployment() {
    check(
        "now 601\ndeploying r2 x1 command\nstep pull succeeded 0\nstep release_command running 0\ncommand running",
        &["fail release command overdue"],
    );
}

#[test]
fn the_first_release_starts_behind_a_waiting_page() {
    check(
        "deploying r1 x1 pending\nimage here",
        &[
            "begin",
            "mark pull succeeded",
            "mark release_command skipped",
            "mark start running",
            "start r1 slots 0",
            "publish starting",
        ],
    );
}

#[test]
fn an_unproven_instance_gets_no_traffic() {
    after_pull(
        "serving r1 x1\nroute serving\nr1#0 running healthy routed
        deploying r2 x1\nstep start running 0\nr2#0 running unproven",
        &["mark start succeeded", "mark health running"],
    );
}

#[test]
fn a_healthy_instance_takes_the_place_of_an_old_one() {
    after_pull(
        "serving r1 x1\nroute serving\nr1#0 running healthy routed
        deploying r2 x1\nstep start succeeded 0\nstep health running 0\nr2#0 running healthy",
        &["mark health succeeded", "publish serving r2#0", "mark switch running"],
    );
}

#[test]
fn success_waits_for_every_proxy() {
    let world = "serving r1 x1\nr1#0 running healthy
        deploying r2 x1\nstep start succeeded 0\nstep health succeeded 0\nstep switch running 0\nr2#0 running healthy routed";
    after_pull(&format!("{world}\nroute serving unacked"), &[]);
    after_pull(
        &format!("{world}\nroute serving"),
        &["mark switch succeeded", "mark drain running", "succeed"],
    );
}

#[test]
fn proxies_that_never_confirm_fail_the_deployment() {
    after_pull(
        "now 61\nserving r1 x1\nr1#0 running healthy\nroute serving unacked
        deploying r2 x1\nstep switch running 0\nr2#0 running healthy routed",
        &["fail switch overdue"],
    );
}

#[test]
fn two_replicas_roll_one_after_the_other_and_never_below_two() {
    let old = "serving r1 x2\nroute serving\nr1#0 running healthy routed\nr1#1 running healthy routed";
    let steps = "step start running 0\nstep health running 0";
    after_pull(
        &format!("{old}\ndeploying r2 x2"),
        &["mark start running", "start r2 slots 0"],
    );
    after_pull(
        &format!("{old}\ndeploying r2 x2\n{steps}\nr2#0 running healthy"),
        &["start r2 slots 1", "publish serving r1#0 r2#0"],
    );
    after_pull(
        "serving r1 x2\nroute serving\nr1#0 running healthy routed\nr1#1 running healthy unrouted
        deploying r2 x2\nstep start running 0\nstep health running 0\nr2#0 running healthy routed\nr2#1 running unproven",
        &["mark start succeeded", "remove r1#1"],
    );
}

#[test]
fn an_old_instance_with_requests_is_left_until_its_drain_time_is_over() {
    let world = |now: u32| {
        format!(
            "now {now}\nserving r1 x2\nroute serving\nr1#0 running healthy routed\nr1#1 running healthy unrouted draining
            deploying r2 x2\nstep start succeeded 0\nstep health running 0\nr2#0 running healthy routed\nr2#1 running unproven"
        )
    };
    after_pull(&world(29), &[]);
    after_pull(&world(30), &["remove r1#1"]);
}

#[test]
fn an_instance_that_ends_fails_the_deployment() {
    after_pull(
        "serving r1 x1\nroute serving\nr1#0 running healthy routed\ndeploying r2 x1\nstep start running 0\nr2#0 exited",
        &["fail r2#0 exited"],
    );
}

#[test]
fn an_instance_that_is_not_healthy_in_time_fails_the_deployment() {
    let world = "serving r1 x1\nroute serving\nr1#0 running healthy routed
        deploying r2 x1\nstep start succeeded 0\nstep health running 0\nr2#0 running unproven";
    after_pull(&format!("now 59\n{world}"), &[]);
    after_pull(&format!("now 60\n{world}"), &["fail r2#0 unhealthy"]);
}

#[test]
fn a_stop_meanwhile_cancels() {
    after_pull("desired stopped\ndeploying r1 x1", &["fail cancelled"]);
}

#[test]
fn nothing_is_concluded_from_an_engine_that_cannot_be_looked_at() {
    check("blind\ndeploying r2 x1", &["mark pull running"]);
    check("now 600\nblind\ndeploying r2 x1\nstep pull running 0", &[]);
    check(
        "now 601\nblind\ndeploying r2 x1\nstep pull running 0",
        &["fail engine_unavailable: away"],
    );
    after_pull("blind\nserving r1 x1\ndeploying r2 x1\nstep start running 0", &[]);
    check("blind\nserving r1 x1\nroute serving", &[]);
    after_pull(
        "now 301\nblind\nserving r1 x1\ndeploying r2 x1\nstep start running 0",
        &["fail start overdue"],
    );
}

#[test]
fn nothing_has_traffic_before_the_apps_own_checks_have_passed() {
    let begun = "serving r1 x1\nroute serving\nr1#0 running healthy routed\ndeploying r2 x1 smoke\nstep pull succeeded 0\nstep release_command skipped 0\nstep start succeeded 0\nstep health succeeded 0\nr2#0 running healthy";
    check(begun, &["mark smoke running", "smoke r2"]);
    check(&format!("{begun}\nstep smoke running 0\nbusy smoke r2"), &[]);
    check(
        &format!("{begun}\nstep smoke running 0\nsmoked r2"),
        &["mark smoke succeeded", "publish serving r2#0", "mark switch running"],
    );
    check(
        &format!("{begun}\nstep smoke running 0\nfailed smoke r2 until 9 fatal"),
        &["fail image_not_found: no such image"],
    );
}
