//! Reasons as people read them.

use slipway_domain::clock::testing::at;
use slipway_domain::deployment::{LastProbe, ReasonCode};
use slipway_domain::observed::InstanceState;
use slipway_domain::quantity::{Bytes, Span};
use slipway_planner::diagnose::{Evidence, diagnose};
use slipway_planner::plan::Failure;

fn evidence() -> Evidence {
    Evidence {
        app: "web".parse().expect("name"),
        port: 8080,
        health_path: Some("/healthz".into()),
        health_deadline: Span::from_secs(60),
        memory: Bytes(64 << 20),
        read_only: true,
        forced_user: true,
        served: false,
        state: None,
        last_probe: None,
        listening: Vec::new(),
        log_tail: Vec::new(),
    }
}

fn probe() -> LastProbe {
    LastProbe {
        at: at(0),
        target: "http://10.210.0.2:8080/healthz".into(),
        status: None,
        body: None,
        location: None,
        error: None,
    }
}

fn exited(exit_code: i64, oom_killed: bool, lines: &[&str]) -> Evidence {
    let state = Some(InstanceState::Exited {
        exit_code,
        oom_killed,
        finished_at: None,
    });
    Evidence {
        state,
        log_tail: lines.iter().map(ToString::to_string).collect(),
        ..evidence()
    }
}

fn check(failure: &Failure, evidence: &Evidence, code: ReasonCode, detail: &str, hint: &str) {
    let reason = diagnose(failure, evidence);
    assert_eq!(reason.code, code, "{reason:?}");
    assert!(reason.detail.contains(detail), "{reason:?}");
    assert!(reason.hint.contains(hint), "{reason:?}");
}

fn ended() -> Failure {
    Failure::Exited { instance: "x".into() }
}

fn unhealthy() -> Failure {
    Failure::Unhealthy { instance: "x".into() }
}

#[test]
fn an_exit_names_its_code_and_the_likely_cause() {
    check(
        &ended(),
        &exited(3, false, &["boom"]),
        ReasonCode::Exited,
        "exit code 3",
        "last lines",
    );
    check(
        &ended(),
        &exited(0, false, &[]),
        ReasonCode::Exited,
        "must keep running",
        "wrote nothing",
    );
    check(
        &ended(),
        &exited(137, true, &[]),
        ReasonCode::OomKilled,
        "64MiB of memory",
        "resources.memory",
    );
    let read_only = exited(1, false, &["open /app/cache: Read-only file system"]);
    check(
        &ended(),
        &read_only,
        ReasonCode::Exited,
        "exit code 1",
        "slipway spec set --app web security.read_only=false",
    );
    let denied = exited(1, false, &["listen tcp :80: bind: permission denied"]);
    check(&ended(), &denied, ReasonCode::Exited, "exit code 1", "security.user");
    let missing = exited(1, false, &["Error: DATABASE_URL is not set"]);
    check(
        &ended(),
        &missing,
        ReasonCode::Exited,
        "exit code 1",
        "slipway env set --app web DATABASE_URL=",
    );
}

#[test]
fn a_command_that_cannot_be_run_names_every_cause_that_looks_like_that() {
    let no_such_file = "[FATAL tini (8)] exec /app failed: No such file or directory";
    let absent = exited(127, false, &[no_such_file]);
    for cause in ["no such file", "linked dynamically", "script's first line"] {
        check(&ended(), &absent, ReasonCode::Exited, "could not be run", cause);
    }
    // As a user of our choice, too: it is not a right of that user's that is missing.
    let denied = exited(126, false, &["[FATAL tini (8)] exec /app failed: Permission denied"]);
    check(&ended(), &denied, ReasonCode::Exited, "could not be run", "chmod");
    let no_command = Failure::Operation {
        code: ReasonCode::StartFailed,
        detail: "No command specified".into(),
    };
    check(
        &no_command,
        &evidence(),
        ReasonCode::StartFailed,
        "No command",
        "neither ENTRYPOINT nor CMD",
    );
}

#[test]
fn a_port_that_opened_too_late_to_stay_open_is_told_as_that() {
    let late = Evidence {
        health_path: None,
        health_deadline: Span::from_secs(8),
        last_probe: Some(probe()),
        listening: vec!["0.0.0.0:8080".parse().expect("an address")],
        ..evidence()
    };
    check(
        &unhealthy(),
        &late,
        ReasonCode::HealthTimeout,
        "stayed open for 5s within 8s",
        "health.deadline",
    );
}

#[test]
fn a_probe_names_what_it_saw_and_the_likely_cause() {
    let with = |p: LastProbe, listening: &[&str]| Evidence {
        last_probe: Some(p),
        listening: listening.iter().map(|a| a.parse().expect("address")).collect(),
        ..evidence()
    };
    let status = |s| {
        let probe = LastProbe {
            status: Some(s),
            ..probe()
        };
        with(probe, &[])
    };
    let redirect = LastProbe {
        status: Some(301),
        location: Some("https://x/".into()),
        ..probe()
    };
    let refused = |listening: &[&str]| {
        let probe = LastProbe {
            error: Some("connection refused".into()),
            ..probe()
        };
        with(probe, listening)
    };
    for (evidence, code, detail, hint) in [
        (status(500), ReasonCode::HealthStatus, "status 500", "last lines"),
        (status(404), ReasonCode::HealthStatus, "status 404", "set `health.path`"),
        (status(401), ReasonCode::HealthStatus, "status 401", "without one"),
        (
            with(redirect, &[]),
            ReasonCode::HealthRedirect,
            "https://x/",
            "no redirect to HTTPS",
        ),
        (
            refused(&[]),
            ReasonCode::PortClosed,
            "nothing listened on port 8080",
            "0.0.0.0:$PORT",
        ),
        (
            refused(&["127.0.0.1:8080"]),
            ReasonCode::LoopbackOnly,
            "127.0.0.1:8080 only",
            "0.0.0.0:8080",
        ),
        (
            refused(&["0.0.0.0:3000"]),
            ReasonCode::WrongPort,
            "port 3000",
            "slipway spec set --app web internal_port=3000",
        ),
        (
            refused(&["0.0.0.0:8080"]),
            ReasonCode::HealthTimeout,
            "no answer",
            "health.timeout",
        ),
        (evidence(), ReasonCode::HealthTimeout, "no probe", "slipway doctor"),
    ] {
        check(&unhealthy(), &evidence, code, detail, hint);
    }
}
