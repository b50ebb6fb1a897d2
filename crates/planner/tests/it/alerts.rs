//! Who is told of what, and when it is over.

use slipway_planner::render::render;

use crate::fixture::{check, names, planned, seconds};

const LOOPS: &str = "now 40\nserving r1 x1\nroute starting\nr1#0 exited\n";
const RAISED: &str = "raise crash_loop: an instance ended 3 times in a row, the last time with exit code 1";

fn rendered(text: &str) -> String {
    render(&planned(text), &names())
}

#[test]
fn the_third_end_in_a_row_is_told_once() {
    check(&format!("{LOOPS}restart r1#0 at 65 2"), &["publish holding"]);
    check(&format!("{LOOPS}restart r1#0 at 65 3"), &[RAISED]);
    check(&format!("{LOOPS}restart r1#0 at 65 4\ntold of r1"), &[]);
}

#[test]
fn what_ends_and_is_not_wanted_is_told_to_nobody() {
    let loops = "now 40\nr1#0 exited\nrestart r1#0 at 65 9\n";
    for unwanted in ["desired stopped\nserving r1 x1", "serving r2 x1", "serving r1 x0"] {
        let plan = rendered(&format!("{loops}{unwanted}"));
        assert!(!plan.contains("raise"), "{unwanted}: {plan}");
    }
}

#[test]
fn an_alert_is_over_when_every_instance_has_run_steadily() {
    let runs = "serving r1 x2\nroute serving\nr1#0 running healthy routed\nr1#1 running healthy routed since 100\n\
                restart r1#1 at 99 5\ntold of r1";
    check(&format!("now 699\n{runs}"), &[]);
    let plan = planned(&format!("now 699\n{runs}"));
    assert_eq!(plan.wake, Some(seconds(700)), "it is looked at again in time");
    check(&format!("now 700\n{runs}"), &["clear crash_loop"]);
    check(&format!("now 701\n{}", runs.replace("\ntold of r1", "")), &[]);
    let fails = runs.replace("r1#1 running healthy", "r1#1 running failing");
    assert!(!rendered(&format!("now 900\n{fails}")).contains("clear"));
}

#[test]
fn an_alert_is_over_when_another_release_serves_or_nothing_is_to_run() {
    for over in [
        "serving r2 x1\nroute serving\nr2#0 running healthy routed",
        "serving r2 x1 like r1\nroute serving\nr2#0 exited\ndesired stopped",
        "desired stopped",
    ] {
        let plan = rendered(&format!("now 40\ntold of r1\n{over}"));
        assert!(plan.contains("clear crash_loop"), "{over}: {plan}");
    }
    let same = "now 40\nserving r2 x1 like r1\nroute starting\nr1#0 exited\nrestart r1#0 at 65 3\ntold of r1";
    check(same, &[]);
}
