//! Idle apps go to rest and wake; the number of instances follows the requests.

use crate::fixture::{check, planned};

const IDLE: &str =
    "serving r1 x1 sleeps\nserving since 0\nroute serving\nr1#0 running healthy routed\nload 0 0 quiet 60";

#[test]
fn an_idle_app_that_may_sleep_goes_to_rest_and_no_other() {
    check(&format!("now 60\n{IDLE}"), &["rest dozing"]);
    check(&format!("now 60\n{}", IDLE.replace(" sleeps", "")), &[]);
    check(&format!("now 60\n{}", IDLE.replace("quiet 60", "quiet 59")), &[]);
}

#[test]
fn an_app_that_has_only_just_begun_to_serve_or_is_watched_does_not_rest() {
    check(&format!("now 59\n{IDLE}"), &[]);
    check(&format!("now 119\n{IDLE}\nprevious r2 x1"), &[]);
    check(&format!("now 120\n{IDLE}\nprevious r2 x1"), &["rest dozing"]);
    check(&format!("now 100\n{IDLE}\nwoken since 50"), &[]);
}

#[test]
fn while_the_load_is_not_known_nothing_rests_and_nothing_is_scaled() {
    check(&format!("now 6000\n{}", IDLE.replace("load 0 0 quiet 60", "")), &[]);
}

#[test]
fn requests_are_held_before_anything_is_stopped() {
    let dozing = "now 61\nrest dozing since 60\nserving r1 x1 sleeps\nr1#0 running healthy";
    check(&format!("{dozing} routed\nroute serving"), &["publish asleep"]);
    check(&format!("{dozing}\nroute asleep unacked"), &[]);
    check(&format!("{dozing} draining\nroute asleep"), &[]);
    check(&format!("{dozing}\nroute asleep"), &["rest asleep"]);
}

#[test]
fn a_request_that_comes_while_it_dozes_wakes_it_without_a_stop() {
    check(
        "now 61\nrest dozing since 60\nserving r1 x1 sleeps\nr1#0 running healthy\nroute asleep\nasked",
        &["rest awake"],
    );
}

#[test]
fn asleep_one_instance_is_kept_stopped_and_the_others_go() {
    let asleep = "now 70\nrest asleep since 60\nserving r1 x2 sleeps\nroute asleep";
    check(
        &format!("{asleep}\nr1#0 running healthy\nr1#1 running healthy"),
        &["stop r1#0", "remove r1#1"],
    );
    let world = format!("{asleep}\nr1#0 exited");
    check(&world, &[]);
    assert!(planned(&world).settled);
}

#[test]
fn a_request_wakes_what_is_asleep_once_nothing_is_on_its_way_to_a_stop() {
    let asleep = "now 70\nrest asleep since 60\nserving r1 x1 sleeps\nroute asleep\nasked";
    check(&format!("{asleep}\nr1#0 running healthy\nbusy stop r1#0"), &[]);
    check(&format!("{asleep}\nr1#0 running healthy"), &["stop r1#0"]);
    check(&format!("{asleep}\nr1#0 exited"), &["rest awake", "resume r1#0"]);
    check(asleep, &["rest awake", "start r1 slots 0"]);
}

#[test]
fn what_waits_goes_on_waiting_until_the_woken_instance_is_healthy() {
    let woken = "now 71\nwoken since 70\nserving r1 x1 sleeps\nroute asleep";
    check(&format!("{woken}\nr1#0 running unproven since 70"), &[]);
    check(&format!("{woken}\nr1#0 running healthy"), &["publish serving r1#0"]);
    check(
        &format!("{}\nr1#0 running unproven since 70", woken.replace("now 71", "now 100")),
        &["publish starting"],
    );
}

#[test]
fn a_pause_comes_before_the_stop_where_the_spec_says_so() {
    let paused = "now 70\nrest paused since 60\nserving r1 x1 pauses\nroute asleep";
    check(
        "now 61\nrest dozing since 60\nserving r1 x1 pauses\nroute asleep\nr1#0 running healthy",
        &["rest paused"],
    );
    check(&format!("{paused}\nr1#0 running healthy"), &["pause r1#0"]);
    check(&format!("{paused}\nr1#0 running healthy\nbusy pause r1#0\nasked"), &[]);
    check(&format!("{paused}\nr1#0 paused"), &[]);
    check(&format!("{paused}\nr1#0 paused\nasked"), &["rest awake", "resume r1#0"]);
    check(
        &format!("{}\nr1#0 paused", paused.replace("now 70", "now 660")),
        &["rest asleep"],
    );
}

#[test]
fn a_deployment_wakes_what_rests_and_what_served_answers_until_the_new_release_is_proven() {
    let asleep = "now 70\nserving r1 x1 sleeps\nroute asleep\nr1#0 exited\ndeploying r2 x1 sleeps\nstep pull succeeded 60\nstep release_command skipped 60";
    check(&format!("rest asleep since 60\n{asleep}"), &["rest awake"]);
    check(
        &format!("woken since 70\n{asleep}"),
        &["mark start running", "start r2 slots 0", "start r1 slots 0"],
    );
}

#[test]
fn the_number_of_instances_follows_the_load_and_only_grows_while_something_is_deployed() {
    let busy = "now 100\nserving r1 x1 max 4\nroute serving\nr1#0 running healthy routed";
    check(&format!("{busy}\nload 100 100 quiet 0"), &["scale to 2"]);
    let wide = "now 100\nserving r1 x2 max 4\nroute serving\nr1#0 running healthy routed\nr1#1 running healthy routed";
    // The fixture's lower bound is what runs.
    check(&format!("{wide}\nload 0 0 quiet 9"), &[]);
    check(&format!("{wide}\nload 200 200 quiet 0"), &["scale to 4"]);
}

#[test]
fn nothing_wakes_or_starts_again_while_a_stop_of_it_is_still_under_way() {
    let ended = "now 61\nrest asleep since 60\nserving r1 x1 sleeps\nroute asleep\nr1#0 exited\nasked";
    check(&format!("{ended}\nbusy stop r1#0"), &[]);
    check(ended, &["rest awake", "resume r1#0"]);
    let back = "now 61\nserving r1 x1\nroute holding\nr1#0 running healthy";
    check(&format!("{back}\nbusy stop r1#0"), &[]);
    check(back, &["publish serving r1#0"]);
    let hung = "now 61\nserving r1 x1\nroute holding\nr1#0 exited";
    check(&format!("{hung}\nbusy stop r1#0"), &[]);
    check(hung, &["start r1 slots 0"]);
}

/// As where the database was put back to a time when it rested, and it is awake.
#[test]
fn what_runs_though_it_should_rest_is_left_alone_while_a_proxy_may_have_it() {
    for (rest, way, step) in [("paused", "pauses", "pause r1#0"), ("asleep", "sleeps", "stop r1#0")] {
        let text = |route: &str, instance: &str| {
            format!(
                "now 60\nserving r1 x1 {way}\nrest {rest} since 58\nroute asleep{route}\nr1#0 running healthy{instance}"
            )
        };
        check(&text(" unacked", ""), &[]);
        check(&text("", " draining"), &[]);
        check(&text("", ""), &[step]);
    }
    let frozen = "now 61\nrest dozing since 60\nserving r1 x1 pauses\nroute serving\nr1#0 paused routed";
    check(frozen, &["publish asleep", "resume r1#0"]);
}
