//! Blue/green, canary and recreate; and what follows a switch.

use slipway_planner::plan;

use crate::fixture::{check, planned, world};

const PULLED: &str = "step pull succeeded 0\nstep release_command skipped 0";
const READY: &str = "step start succeeded 0\nstep health succeeded 0";
const OLD: &str = "serving r1 x1\nr1#0 running healthy routed";

#[test]
fn blue_green_starts_the_whole_group_and_leaves_the_traffic_alone() {
    let old = "serving r1 x2\nroute serving\nr1#0 running healthy routed\nr1#1 running healthy routed";
    check(
        &format!("{old}\ndeploying r2 x2 bluegreen\n{PULLED}"),
        &["mark start running", "start r2 slots 0,1"],
    );
    check(
        &format!(
            "{old}\ndeploying r2 x2 bluegreen\n{PULLED}\nstep start succeeded 0\nstep health running 0\nr2#0 running healthy\nr2#1 running unproven"
        ),
        &[],
    );
}

#[test]
fn blue_green_switches_once_when_all_are_healthy_and_removes_nothing_before_it_is_confirmed() {
    let world = format!("{OLD}\ndeploying r2 x1 bluegreen\n{PULLED}\n{READY}");
    check(
        &format!("{world}\nroute serving\nr2#0 running healthy"),
        &["publish serving r2#0", "mark switch running"],
    );
    let world = world.replace("r1#0 running healthy routed", "r1#0 running healthy");
    check(
        &format!("{world}\nroute serving unacked\nstep switch running 0\nr2#0 running healthy routed"),
        &[],
    );
    check(
        &format!("{world}\nroute serving\nstep switch running 0\nr2#0 running healthy routed"),
        &["mark switch succeeded", "mark drain running", "succeed"],
    );
}

#[test]
fn an_old_instance_that_ends_while_the_new_group_starts_is_started_again() {
    check(
        &format!(
            "serving r1 x1\nroute serving\nr1#0 exited routed\ndeploying r2 x1 bluegreen\n{PULLED}\nstep start succeeded 0\nstep health running 0\nr2#0 running unproven"
        ),
        &["start r1 slots 0", "publish holding"],
    );
}

#[test]
fn the_old_group_runs_on_for_the_bake_time_and_no_longer() {
    let world = "serving r2 x1 bluegreen\nserving since 0\nprevious r1 x1\ndraining\nroute serving\nr2#0 running healthy routed\nr1#0 running healthy unrouted";
    check(&format!("now 119\n{world}"), &[]);
    check(&format!("now 120\n{world}"), &["remove r1#0"]);
    let rolling = world.replace(" bluegreen", "");
    check(&format!("now 1\n{rolling}"), &["remove r1#0"]);
}

#[test]
fn a_rollback_takes_over_the_instances_of_the_contents_it_goes_back_to() {
    check(
        "serving r2 x1 bluegreen\nr2#0 running healthy routed\nr1#0 running healthy\nroute serving
        deploying r3 x1 bluegreen like r1 rollback\nstep pull succeeded 0\nstep release_command skipped 0",
        &[
            "mark start succeeded",
            "mark health succeeded",
            "publish serving r1#0",
            "mark switch running",
        ],
    );
}

#[test]
fn an_instance_taken_over_that_has_ended_is_replaced_and_fails_nothing() {
    check(
        "serving r2 x1 bluegreen\nr2#0 running healthy routed\nr1#0 exited\nroute serving
        deploying r3 x1 bluegreen like r1 rollback\nstep pull succeeded 0\nstep release_command skipped 0",
        &["mark start running", "start r3 slots 0"],
    );
}

#[test]
fn a_release_that_ends_by_itself_within_its_bake_time_is_taken_back() {
    let world = "serving r2 x1\nserving since 0\nprevious r1 x1\nroute serving\nr2#0 exited routed";
    let back = "roll back from r2 to r1: r2#0 exited";
    check(&format!("now 119\n{world}"), &[back]);
    check(&format!("now 120\n{world}"), &["publish holding", "start r2 slots 0"]);
    check(
        "now 9\nserving r2 x1\nserving since 0\nprevious r1 x1\nroute serving\nr2#0 running failing routed",
        &["roll back from r2 to r1: r2#0 unhealthy"],
    );
}

#[test]
fn what_was_killed_from_outside_or_has_nothing_before_it_or_went_back_already_is_started_again() {
    let again = ["publish holding", "start r2 slots 0"];
    let killed = "serving r2 x1\nserving since 0\nprevious r1 x1\nroute serving\nr2#0 killed routed";
    check(killed, &again);
    check(
        "serving r2 x1\nserving since 0\nroute serving\nr2#0 exited routed",
        &again,
    );
    let back = "serving r2 x1 rollback\nserving since 0\nprevious r1 x1\nroute serving\nr2#0 exited routed";
    check(back, &again);
}

fn canary(facts: &str) -> String {
    format!("{OLD}\ndeploying r2 x1 canary\n{PULLED}\n{READY}\n{facts}")
}

#[test]
fn a_canary_gets_its_first_share_and_its_time_begins_when_every_proxy_has_confirmed() {
    check(
        &canary("route serving\nr2#0 running healthy"),
        &["mark canary running", "publish serving r1#0 r2#0, 10% to v2"],
    );
    let share = "step canary running 0\nr2#0 running healthy routed";
    check(&canary(&format!("route serving unacked 10% to r2\n{share}")), &[]);
    check(
        &canary(&format!("route serving 10% to r2\n{share}")),
        &["canary step 0"],
    );
}

#[test]
fn a_canary_goes_on_when_its_time_is_over_with_requests_enough_and_waits_as_long_again_without() {
    let at = |now: u32, requests: u32| {
        canary(&format!(
            "now {now}\nroute serving 10% to r2\nstep canary running 0\ncanary 0 since 0\nr2#0 running healthy routed
            traffic new {requests} 0 20 old 900 0 20"
        ))
    };
    check(&at(299, 50), &[]);
    check(&at(300, 50), &["canary step 1"]);
    check(&at(300, 49), &[]);
    check(&at(600, 49), &["canary step 1"]);
    check(
        &canary("route serving 10% to r2\nstep canary running 0\ncanary 1 since 0\nr2#0 running healthy routed"),
        &["publish serving r1#0 r2#0, 50% to v2"],
    );
}

#[test]
fn a_canary_that_fails_more_or_is_slower_than_allowed_ends_the_deployment() {
    let with = |traffic: &str| {
        let text = canary(&format!(
            "now 9\nroute serving 10% to r2\nstep canary running 0\ncanary 0 since 0\nr2#0 running healthy routed\n{traffic}"
        ));
        let plan = planned(&text);
        slipway_planner::render::render(&plan, &crate::fixture::names())
    };
    for (traffic, verdict) in [
        (
            "traffic new 100 2 20 old 900 0 20",
            "publish serving r1#0\nfail canary: 2 of its 100 requests failed",
        ),
        (
            "traffic new 10 10 20 old 900 0 20",
            "publish serving r1#0\nfail canary: 10 of its 10 requests failed",
        ),
        ("traffic new 100 1 20 old 900 0 20", ""),
        ("traffic new 100 5 20 old 900 45 20", ""),
        ("traffic new 49 9 20 old 900 0 20", ""),
        (
            "traffic new 300 0 91 old 900 0 60",
            "publish serving r1#0\nfail canary: 99 of 100 of its requests take up to 91 ms",
        ),
        ("traffic new 300 0 90 old 900 0 60", ""),
        ("traffic new 300 0 25 old 900 0 5", ""),
        ("traffic new 299 0 900 old 900 0 5", ""),
        ("traffic new 300 0 900 old 299 0 5", ""),
    ] {
        let said = with(traffic);
        assert!(
            said.starts_with(verdict) && said.is_empty() == verdict.is_empty(),
            "{traffic}: {said}"
        );
    }
}

#[test]
fn a_canary_that_answers_nothing_of_its_share_is_not_taken_for_one_that_nobody_visits() {
    let at = |now: u32, old: u32| {
        canary(&format!(
            "now {now}\nroute serving 10% to r2\nstep canary running 0\ncanary 0 since 0\nr2#0 running healthy routed
            traffic new 0 0 0 old {old} 0 20"
        ))
    };
    check(&at(599, 900), &[]);
    check(
        &at(600, 90),
        &[
            "publish serving r1#0",
            "fail canary: it answered none of about 10 requests that its 10 % of the traffic brought it",
        ],
    );
    check(&at(600, 80), &["canary step 1"]);
}

#[test]
fn a_canary_that_was_superseded_gets_no_traffic_where_another_release_serves() {
    for strategy in ["rolling", "bluegreen", "canary"] {
        check(
            &format!(
                "{OLD}\ndeploying r3 x1 {strategy}\n{PULLED}\nstep start running 0\nroute serving 10% to r2\nr2#0 running healthy routed\nr3#0 running unproven"
            ),
            &["mark start succeeded", "mark health running", "publish serving r1#0"],
        );
    }
}

#[test]
fn a_canary_ends_with_all_traffic_when_no_step_is_left_or_somebody_says_so() {
    let last = ["mark canary succeeded", "publish serving r2#0", "mark switch running"];
    let at = |step: u32| {
        canary(&format!(
            "route serving 50% to r2\nstep canary running 0\ncanary {step} since 0\nr2#0 running healthy routed"
        ))
    };
    check(&at(2), &last);
    check(&at(0).replace("r2 x1 canary", "r2 x1 canary promoted"), &last);
}

#[test]
fn a_canary_of_a_first_release_has_nothing_to_be_compared_with() {
    check(
        &format!("deploying r1 x1 canary\n{PULLED}\n{READY}\nroute starting\nr1#0 running healthy"),
        &["mark canary skipped", "publish serving r1#0", "mark switch running"],
    );
}

#[test]
fn a_canary_that_failed_gives_all_traffic_back_and_goes() {
    let world = format!("{OLD}\nlast failed\nroute serving 10% to r2\nr2#0 running healthy routed");
    check(&world, &["publish serving r1#0"]);
    let world = format!("{OLD}\nlast failed\nroute serving\nr2#0 running healthy unrouted");
    check(&world, &["remove r2#0"]);
}

fn recreate(facts: &str) -> String {
    format!("serving r1 x1 recreate\ndeploying r2 x1 recreate\n{PULLED}\n{facts}")
}

#[test]
fn recreate_lets_requests_wait_and_starts_nothing_before_the_old_instances_are_gone() {
    check(
        &recreate("route serving\nr1#0 running healthy routed"),
        &["mark drain running", "publish holding"],
    );
    check(
        &recreate("step drain running 0\nroute holding\nr1#0 running healthy unrouted draining"),
        &[],
    );
    check(
        &recreate("step drain running 0\nroute holding\nr1#0 running healthy unrouted"),
        &["remove r1#0"],
    );
    check(
        &recreate("step drain running 0\nroute holding"),
        &[
            "mark drain succeeded",
            "mark stop succeeded",
            "mark start running",
            "start r2 slots 0",
        ],
    );
    check(
        &recreate(
            "step drain succeeded 0\nstep stop succeeded 0\nstep start succeeded 0\nstep health succeeded 0
            step switch running 0\nroute serving\nr2#0 running healthy routed",
        ),
        &["mark switch succeeded", "succeed"],
    );
}

#[test]
fn old_instances_that_do_not_go_fail_a_recreation() {
    let world = recreate("step drain running 0\nroute holding\nr1#0 running healthy unrouted\nbusy remove r1#0");
    check(&format!("now 360\n{world}"), &[]);
    check(&format!("now 361\n{world}"), &["fail drain overdue"]);
}

#[test]
fn after_a_recreation_that_failed_the_old_release_starts_when_the_new_one_is_gone_and_requests_wait() {
    let world = "serving r1 x1 recreate\nlast failed\nroute holding";
    check(&format!("{world}\nr2#0 exited"), &["remove r2#0"]);
    check(world, &["start r1 slots 0"]);
    assert!(!plan(&self::world(world)).settled);
}

#[test]
fn what_a_failed_rolling_deployment_left_does_not_stand_in_beside_a_release_that_runs_alone() {
    let world = "serving r1 x2 recreate\nlast failed\nr1#0 exited\nr1#1 running healthy routed\n";
    let left = format!("{world}route serving\nr2#0 running healthy routed");
    check(&left, &["publish serving r1#1"]);
    let unrouted = format!("{world}route serving\nr2#0 running healthy unrouted");
    check(&unrouted, &["remove r2#0"]);
    check(&format!("{world}route serving"), &["start r1 slots 0"]);
}
