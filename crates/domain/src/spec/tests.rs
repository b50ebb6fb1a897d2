//! Specs as people write them, good and bad.

use serde_json::{Value, json};

use super::{FieldErrorKind, Spec, Strategy};

fn check(spec: &Value, expected: &[(&str, &str)]) {
    let found = Spec::from_json(spec).map_or_else(|e| e.0, |_| Vec::new());
    let mut found: Vec<_> = found.iter().map(|e| (e.pointer.as_str(), e.detail.as_str())).collect();
    let mut expected = expected.to_vec();
    // Whether members come in the order they were written depends on how the JSON library is built.
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((pointer, detail), (at, part)) in found.iter().zip(&expected) {
        assert_eq!(pointer, at);
        assert!(detail.contains(part), "{detail:?} does not contain {part:?}");
    }
}

#[test]
fn nothing_at_all_is_the_default() {
    assert_eq!(Spec::from_json(&json!({})), Ok(Spec::default()));
}

#[test]
fn what_is_shown_is_taken_back_unchanged() {
    let spec = Spec::from_json(&json!({
        "internal_port": 3000,
        "env": {"LOG_LEVEL": "info"},
        "secrets": {"required": ["DATABASE_URL"]},
        "health": {"path": "/healthz?full=1", "interval": "500ms"},
        "deploy": {"release_command": ["/app/migrate", "--now"], "kill_signal": "SIGQUIT"},
        "scale": {"min": 3},
        "resources": {"cpu": "0.25", "memory": "64MiB"},
        "security": {"read_only": false, "user": "image"},
        "http": {"max_body": "1GiB"},
        "on_demand_tls": {"ask": "/tls/ask"},
        "mounts": [{"volume": "uploads", "path": "/data"}],
    }))
    .expect("valid");
    assert_eq!(Spec::from_json(&spec.to_json()), Ok(spec.clone()));
    assert_eq!(Spec::from_json(&Spec::default().to_json()), Ok(Spec::default()));
    assert_eq!(spec.warnings().len(), 3);
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    check(
        &json!({"internal_prot": 80}),
        &[("/internal_prot", "did you mean `internal_port`")],
    );
    check(
        &json!({"health": {"pth": "/x"}}),
        &[("/health/pth", "did you mean `path`")],
    );
    check(
        &json!({"zzzzzzzzzzzz": 1}),
        &[("/zzzzzzzzzzzz", "known here: internal_port")],
    );
}

#[test]
fn commands_by_the_clock_are_read_and_taken_back_unchanged() {
    let spec = Spec::from_json(&json!({"cron": [
        {"schedule": "*/15 * * * *", "command": ["/app/tick"]},
        {"name": "report", "schedule": "0 3 * * MON", "timezone": "Europe/Berlin", "command": ["/app/report", "-v"],
         "concurrency": "replace", "timeout": "5m"},
    ]}))
    .expect("a spec");
    assert_eq!(spec.cron[0].name.as_str(), "cron-1");
    assert_eq!(Spec::from_json(&spec.to_json()).expect("its own text"), spec);
    for (job, pointer) in [
        (json!({"command": ["/x"]}), "/cron/0/schedule"),
        (json!({"schedule": "* * * * *"}), "/cron/0/command"),
        (
            json!({"schedule": "* * * * *", "command": ["/x"], "timezone": "Moon"}),
            "/cron/0/timezone",
        ),
        (
            json!({"schedule": "* * * * *", "command": ["/x"], "concurrency": "x"}),
            "/cron/0/concurrency",
        ),
        (
            json!({"schedule": "* * * * *", "command": ["/x"], "timeout": "0s"}),
            "/cron/0/timeout",
        ),
        (
            json!({"schedule": "* * * * *", "command": ["/x"], "comand": 1}),
            "/cron/0/comand",
        ),
        (
            json!({"schedule": "* * * * *", "command": ["/x"], "name": "A B"}),
            "/cron/0/name",
        ),
    ] {
        let errors = Spec::from_json(&json!({"cron": [job]})).expect_err("refused");
        assert_eq!(errors.0[0].pointer, pointer, "{errors:?}");
    }
}

#[test]
fn a_feature_that_is_not_built_yet_is_refused_and_not_ignored() {
    let spec = json!({
        "http": {"rate_limit": {}, "headers": {}},
    });
    let errors = Spec::from_json(&spec).expect_err("refused");
    assert!(errors.only_not_available());
    let at: Vec<_> = errors.0.iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(at, ["/http/rate_limit", "/http/headers"]);
    assert!(errors.0.iter().all(|e| e.kind == FieldErrorKind::NotAvailable));
}

#[test]
fn every_strategy_is_shown_and_taken_back_with_what_belongs_to_it() {
    for deploy in [
        json!({"strategy": "rolling", "max_surge": 3, "bake_time": "0s"}),
        json!({"strategy": "bluegreen", "bake_time": "10m"}),
        json!({"strategy": "recreate"}),
        json!({"strategy": "canary"}),
        json!({"strategy": "canary", "sticky": true, "canary": [
            {"weight": 5, "hold": "30s", "max_error_rate": 0.001, "max_p99_ratio": 2},
            {"weight": 50, "hold": "1m"},
        ]}),
    ] {
        let spec = Spec::from_json(&json!({ "deploy": deploy })).expect("valid");
        assert_eq!(Spec::from_json(&spec.to_json()), Ok(spec.clone()), "{deploy}");
        for strategy in [Strategy::Rolling, Strategy::Canary] {
            let other = spec.with_strategy(strategy);
            assert_eq!(Spec::from_json(&other.to_json()), Ok(other), "{deploy}");
        }
    }
}

#[test]
fn what_would_be_without_effect_or_without_sense_in_a_strategy_is_refused() {
    check(
        &json!({"deploy": {"strategy": "blue-green"}}),
        &[("/deploy/strategy", "must be `rolling`")],
    );
    check(
        &json!({"deploy": {"strategy": "recreate", "max_surge": 2, "sticky": true, "canary": [{}]}}),
        &[
            ("/deploy/max_surge", "`strategy = \"rolling\"` only"),
            ("/deploy/canary", "`strategy = \"canary\"` only"),
            ("/deploy/sticky", "`strategy = \"canary\"` only"),
        ],
    );
    check(
        &json!({"deploy": {"strategy": "canary", "canary": [
            {"weight": 50, "max_error_rate": 2}, {"weight": 20, "hold": "1ms", "max_p99_ratio": 0.5},
        ]}}),
        &[
            ("/deploy/canary/0/max_error_rate", "from 0 to 1"),
            ("/deploy/canary/1/weight", "more than the step before"),
            ("/deploy/canary/1/hold", "between"),
            ("/deploy/canary/1/max_p99_ratio", "from 1 to 1000"),
        ],
    );
    check(
        &json!({"deploy": {"strategy": "canary", "canary": [{"weight": 0}]}}),
        &[("/deploy/canary/0/weight", "from 1 to 99")],
    );
}

#[test]
fn every_problem_is_reported_at_once() {
    check(
        &json!({
            "internal_port": 0,
            "env": {"1BAD": "x", "PORT": "1", "N": 5, "SLIPWAY_APP": "x"},
            "health": {"path": "healthz", "deadline": "1ms", "restart_after": "1s"},
            "resources": {"cpu": "lots", "memory": "1MiB"},
            "security": {"user": "root"},
            "mounts": [{"volume": "up", "path": "/proc/x"}, {"volume": "Up", "path": "/data"}],
        }),
        &[
            ("/internal_port", "1 to 65535"),
            ("/env/1BAD", "not starting with a digit"),
            ("/env/PORT", "set by the platform"),
            ("/env/N", "in quotes"),
            ("/env/SLIPWAY_APP", "set by the platform"),
            ("/health/path", "begins with `/`"),
            ("/health/deadline", "between"),
            ("/health/restart_after", "never"),
            ("/resources/cpu", "number of cores"),
            ("/resources/memory", "6MiB"),
            ("/security/user", "numeric user id"),
            ("/mounts/0/path", "absolute path"),
            ("/mounts/1/volume", "volume name"),
        ],
    );
}

#[test]
fn a_deadline_that_no_app_without_a_health_path_can_keep_is_refused() {
    check(
        &json!({"health": {"deadline": "5s"}}),
        &[("/health/deadline", "longer than 5s")],
    );
    assert!(Spec::from_json(&json!({"health": {"deadline": "6s"}})).is_ok());
    assert!(Spec::from_json(&json!({"health": {"deadline": "2s", "path": "/healthz"}})).is_ok());
}

#[test]
fn a_spec_that_is_no_table_says_so() {
    check(&json!([]), &[("", "must be a table, not a list")]);
    check(&json!({"health": 3}), &[("/health", "must be a table, not a number")]);
}

#[test]
fn names_on_demand_need_a_path_to_ask_at() {
    for bad in [
        json!({}),
        json!({"ask": "tls"}),
        json!({"ask": "/a b"}),
        json!({"max": 5}),
    ] {
        check(
            &json!({"on_demand_tls": bad}),
            &[("/on_demand_tls/ask", "the path that tells")],
        );
    }
    check(
        &json!({"on_demand_tls": {"ask": "/tls", "max": 0}}),
        &[("/on_demand_tls/max", "from 1 to 10000")],
    );
}
