//! Each invariant is seen to be broken, and nothing is seen where all is well.

use chrono::{DateTime, Utc};

use super::*;
use crate::load::{Kind, Loss, Report};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("in range")
}

fn container(id: &str, release: &str, running: bool) -> ContainerFact {
    ContainerFact {
        id: id.into(),
        labels: Some(Labels {
            release: release.into(),
            app: "web".into(),
            environment: "web/production".into(),
        }),
        running,
    }
}

fn deployment(id: &str, state: State) -> DeploymentFact {
    DeploymentFact {
        id: id.into(),
        environment: "web/production".into(),
        state,
        reason: None,
        release: "2".into(),
        created_at: at(0),
        finished_at: state.is_final().then(|| at(50)),
        deadline: Some(at(100)),
    }
}

/// All is well.
fn good() -> Facts {
    Facts {
        acknowledged: vec![Acknowledged {
            deployment: "d1".into(),
            environment: "web/production".into(),
            at: at(1),
        }],
        deployments: vec![deployment("d1", State::Succeeded)],
        containers: vec![
            container("c1", "2", true),
            container("c2", "2", true),
            ContainerFact {
                id: "decoy".into(),
                labels: None,
                running: true,
            },
        ],
        wanted: vec![WantedFact {
            environment: "web/production".into(),
            release: "2".into(),
            replicas: 2,
        }],
        decoy_alive: true,
        report: Report {
            sent: 10,
            answered: 10,
            resent: 1,
            ..Report::default()
        },
        audit_valid: true,
        audit_mutations: BTreeMap::from([("key-1".into(), 1)]),
        now: at(60),
    }
}

/// The one violation there must be, after a change to what is well.
fn only(change: impl FnOnce(&mut Facts)) -> (&'static str, String) {
    let mut facts = good();
    change(&mut facts);
    let mut found = check(&facts);
    assert_eq!(found.len(), 1, "{found:?}");
    let violation = found.remove(0);
    (violation.invariant, violation.detail)
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(check(&good()), []);
}

#[test]
fn an_acknowledged_deploy_that_is_gone_or_in_another_place_is_lost() {
    let (invariant, detail) = only(|facts| facts.deployments.clear());
    assert_eq!(invariant, "I-01");
    assert!(detail.contains("d1") && detail.contains("is gone"), "{detail}");
    let (invariant, detail) = only(|facts| facts.deployments[0].environment = "web/staging".into());
    assert_eq!(invariant, "I-01");
    assert!(detail.contains("web/staging"), "{detail}");
}

#[test]
fn an_acknowledged_deploy_ends_and_a_failed_one_says_why() {
    for state in [State::Pending, State::AwaitingApproval, State::Running] {
        let (invariant, detail) = only(|facts| facts.deployments[0] = deployment("d1", state));
        assert_eq!(invariant, "I-01");
        assert!(detail.contains(state.as_str()), "{detail}");
    }
    for state in [State::Aborted, State::Superseded] {
        let mut facts = good();
        facts.deployments[0] = deployment("d1", state);
        assert_eq!(check(&facts), []);
    }
    assert_eq!(only(|facts| facts.deployments[0].finished_at = None).0, "I-01");
    let failed = |facts: &mut Facts| facts.deployments[0] = deployment("d1", State::Failed);
    assert!(only(failed).1.contains("without a reason"));
    let mut facts = good();
    failed(&mut facts);
    facts.deployments[0].reason = Some("exited".into());
    assert_eq!(check(&facts), []);
}

#[test]
fn no_more_containers_of_a_release_run_than_are_wanted() {
    let (invariant, detail) = only(|facts| facts.containers.push(container("c3", "2", true)));
    assert_eq!(invariant, "I-02");
    assert!(
        detail.contains("c1, c2, c3") && detail.contains("2 are wanted"),
        "{detail}"
    );
}

#[test]
fn what_is_not_wanted_and_what_has_stopped_is_left_over() {
    for running in [true, false] {
        let (invariant, detail) = only(|facts| facts.containers.push(container("old", "1", running)));
        assert_eq!(invariant, "I-03");
        assert!(
            detail.contains("release 1 is not wanted") && detail.contains("old"),
            "{detail}"
        );
    }
    let (invariant, detail) = only(|facts| facts.containers.push(container("dead", "2", false)));
    assert_eq!(invariant, "I-03");
    assert!(detail.contains("dead"), "{detail}");
    assert_eq!(only(|facts| facts.wanted.clear()).0, "I-03");
}

#[test]
fn a_container_that_is_not_the_platforms_stays() {
    let (invariant, _) = only(|facts| facts.decoy_alive = false);
    assert_eq!(invariant, "I-03");
}

#[test]
fn a_lost_request_is_named_and_a_failed_measurement_proves_nothing() {
    let (invariant, detail) = only(|facts| {
        facts.report.answered = 9;
        facts.report.lost_count = 1;
        facts.report.lost.push(Loss {
            at: at(9),
            kind: Kind::Http2,
            id: "7-1-3".into(),
            reason: "status 502".into(),
        });
    });
    assert_eq!(invariant, "I-04");
    assert!(
        detail.contains("1 of 10") && detail.contains("7-1-3: status 502"),
        "{detail}"
    );
    assert_eq!(only(|facts| facts.report.unsent = 1).0, "I-04");
    assert_eq!(only(|facts| facts.report.sent = 11).0, "I-04");
}

#[test]
fn nothing_is_under_way_past_its_deadline_and_the_grace() {
    let running = |now: i64| {
        move |facts: &mut Facts| {
            facts.deployments.push(deployment("d2", State::Running));
            facts.now = at(now);
        }
    };
    let mut facts = good();
    running(130)(&mut facts);
    assert_eq!(check(&facts), []);
    let (invariant, detail) = only(running(131));
    assert_eq!(invariant, "I-06");
    assert!(detail.contains("d2"), "{detail}");
    let mut facts = good();
    running(10_000)(&mut facts);
    facts.deployments[1].deadline = None;
    assert_eq!(check(&facts), []);
}

#[test]
fn the_audit_is_whole_and_has_each_change_once() {
    assert_eq!(only(|facts| facts.audit_valid = false).0, "I-09");
    for times in [0, 2] {
        let (invariant, detail) = only(|facts| {
            facts.audit_mutations.insert("key-2".into(), times);
        });
        assert_eq!(invariant, "I-09");
        assert!(detail.contains(&format!("key-2 is recorded {times} times")), "{detail}");
    }
}

#[test]
fn states_are_read_as_they_are_written() {
    for state in [
        "pending",
        "awaiting_approval",
        "running",
        "succeeded",
        "failed",
        "aborted",
        "superseded",
    ] {
        assert_eq!(State::parse(state).map(State::as_str), Some(state));
    }
    assert_eq!(State::parse("done"), None);
}
