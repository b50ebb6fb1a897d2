//! No deployment under way.

use crate::fixture::{check, planned};

#[test]
fn what_serves_is_left_alone() {
    let world = "serving r1 x2\nroute serving\nr1#0 running healthy routed\nr1#1 running healthy routed";
    check(world, &[]);
    assert!(planned(world).settled);
}

#[test]
fn what_a_failed_deployment_left_is_removed() {
    check(
        "serving r1 x1\nroute serving\nr1#0 running healthy routed\nr2#0 running unproven\nr2#1 exited",
        &["remove r2#0", "remove r2#1"],
    );
}

#[test]
fn what_a_release_command_left_is_removed_unless_it_is_the_one_under_way() {
    let serving = "serving r1 x1\nroute serving\nr1#0 running healthy routed\nleft command r2";
    check(serving, &["remove release command of r2"]);
    check(
        &format!(
            "{serving}\ndeploying r2 x1 command\nstep pull succeeded 0\nstep release_command running 0\ncommand running"
        ),
        &[],
    );
}

#[test]
fn a_dead_instance_is_unrouted_and_started_again() {
    check(
        "serving r1 x2\nroute serving\nr1#0 exited routed\nr1#1 running healthy routed",
        &["publish serving r1#1", "start r1 slots 0"],
    );
}

#[test]
fn a_crashing_instance_is_started_again_only_when_its_time_has_come() {
    let world = "serving r1 x1\nroute starting\nr1#0 exited\nrestart r1#0 at 30 3\ntold of r1";
    check(&format!("now 29\n{world}"), &[]);
    check(&format!("now 30\n{world}"), &["start r1 slots 0"]);
}

#[test]
fn visitors_wait_for_an_instance_that_ended_and_not_for_one_that_ends_again_and_again() {
    let ended = "now 30\nserving r1 x1\nroute serving\nr1#0 exited routed";
    let again = |count: u32| format!("{ended}\nrestart r1#0 at 30 {count}\ntold of r1");
    check(&again(2), &["publish holding", "start r1 slots 0"]);
    check(&again(3), &["publish starting", "start r1 slots 0"]);
    check(ended, &["publish holding", "start r1 slots 0"]);
    // One that was removed comes back too, unless it cannot be started.
    let removed = "now 30\nserving r1 x1\nroute serving";
    check(removed, &["publish holding", "start r1 slots 0"]);
    check(&format!("{removed}\nfailed start r1 0 until 33"), &["publish holding"]);
    check(&format!("{removed}\nfailed start r1 0 until 34"), &["publish starting"]);
    // Not for long.
    let starts = "serving r1 x1\nroute holding\nr1#0 running unproven since 30";
    check(&format!("now 39\n{starts}"), &[]);
    check(&format!("now 40\n{starts}"), &["publish starting"]);
}

#[test]
fn the_last_routed_instance_stays_routed_while_it_runs() {
    check("serving r1 x1\nroute serving\nr1#0 running failing routed", &[]);
}

#[test]
fn an_instance_that_does_not_answer_for_long_is_unrouted_drained_and_started_again() {
    let failing = "serving r1 x1\nroute serving\nr1#0 running failing routed";
    check(&format!("now 59\n{failing}"), &[]);
    check(&format!("now 60\n{failing}"), &["publish holding"]);
    let unrouted = "serving r1 x1\nroute holding\nr1#0 running failing unrouted";
    let busy = "serving r1 x1\nroute holding\nr1#0 running failing unrouted draining since 40";
    check(&format!("now 100\n{busy}"), &["stop r1#0"]);
    check(&format!("now 61\n{unrouted}"), &["stop r1#0"]);
    // One that came back by itself is left alone.
    check("now 90\nserving r1 x1\nroute serving\nr1#0 running healthy routed", &[]);
}

#[test]
fn of_several_that_do_not_answer_one_at_a_time_is_started_again() {
    let both = "now 70\nserving r1 x2\nroute serving\nr1#0 running failing routed\nr1#1 running failing routed";
    check(both, &["publish serving r1#1"]);
    let starting = "now 70\nserving r1 x2\nroute serving\nr1#0 running unproven since 65\nr1#1 running failing routed";
    check(starting, &[]);
    let hopeless = "now 130\nserving r1 x2\nroute serving\nr1#0 running unproven since 65\nr1#1 running failing routed";
    check(hopeless, &["publish holding"]);
}

#[test]
fn an_instance_without_an_address_is_made_anew() {
    let cut_off = "serving r1 x1\nroute holding\nr1#0 running healthy unrouted nowhere";
    check(&format!("now 4\n{cut_off}"), &[]);
    check(&format!("now 5\n{cut_off}"), &["remove r1#0"]);
}

#[test]
fn a_failing_instance_beside_a_healthy_one_gets_no_traffic() {
    check(
        "serving r1 x2\nroute serving\nr1#0 running failing routed\nr1#1 running healthy routed",
        &["publish serving r1#1"],
    );
}

#[test]
fn old_instances_go_when_they_are_idle_and_the_record_says_so() {
    let world = "serving r2 x1\ndraining\nroute serving\nr2#0 running healthy routed";
    check(&format!("{world}\nr1#0 running healthy unrouted draining"), &[]);
    check(&format!("{world}\nr1#0 running healthy unrouted"), &["remove r1#0"]);
    check(world, &["mark drain succeeded", "mark stop succeeded"]);
}

#[test]
fn fewer_wanted_instances_are_drained_and_not_cut() {
    check(
        "serving r1 x1\nroute serving\nr1#0 running healthy routed\nr1#1 running healthy routed",
        &["publish serving r1#0"],
    );
}

#[test]
fn a_stopped_environment_is_emptied_behind_a_page() {
    check(
        "desired stopped\nserving r1 x1\nroute serving\nr1#0 running healthy routed",
        &["publish stopped"],
    );
    check(
        "desired stopped\nserving r1 x1\nroute stopped\nr1#0 running healthy unrouted",
        &["remove r1#0"],
    );
    check("desired stopped\nserving r1 x1\nroute stopped", &[]);
}

#[test]
fn what_never_served_says_so() {
    check("last failed\nr1#0 exited", &["publish failed", "remove r1#0"]);
    check("", &[]);
}

#[test]
fn a_deleted_environment_leaves_nothing() {
    check(
        "desired deleted\nserving r1 x1\nroute serving\nr1#0 running healthy routed",
        &["publish empty"],
    );
    check(
        "desired deleted\nserving r1 x1\nroute empty\nr1#0 running healthy unrouted",
        &["remove r1#0"],
    );
    check("desired deleted\nserving r1 x1\nroute empty", &["clean"]);
    check("desired deleted\nserving r1 x1\nroute empty\nbusy clean", &[]);
    check("desired deleted\nserving r1 x1\nroute empty\ncleaned", &["purge"]);
}

#[test]
fn an_instance_that_has_another_address_now_is_published_once_more() {
    let instances = "r1#0 running healthy routed\nr1#1 running healthy routed";
    check(
        &format!("serving r1 x2\nroute serving moved\n{instances}"),
        &["publish serving r1#0 r1#1"],
    );
}
