//! One-off commands: asked for, and by the clock.

use serde_json::{Value, json};

use crate::platform::{Platform, docker, until};

fn spec(cron: &Value) -> Value {
    json!({"health": {"path": "/healthz", "interval": "200ms", "deadline": "20s"},
           "env": {"COLOUR": "green"}, "resources": {"memory": "64MiB"}, "cron": cron})
}

/// What is left on the engine of one-off commands of an app.
fn left(app: &str) -> String {
    let (app, role) = (format!("label=slipway.app={app}"), "label=slipway.role=job");
    docker(&["ps", "--all", "--quiet", "--filter", &app, "--filter", role])
}

#[test]
fn a_command_runs_once_with_what_the_app_has_and_ends_with_its_exit_code() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("once", &spec(&json!([])));
    let early = platform.call("POST", "/v1/apps/once/run", Some(&json!({"command": ["/app"]})));
    assert_eq!((early.status, early.json()["code"] == "nothing_deployed"), (409, true));
    platform.deploy("once", "1").expect(200);
    let run = |command: &[&str], timeout: &str| {
        let body = json!({"command": command, "timeout": timeout});
        platform
            .call("POST", "/v1/apps/once/run?wait=60s", Some(&body))
            .expect(200)
    };
    let done = run(&["/app", "release", "env"], "60s");
    assert_eq!(
        (&done["state"], &done["exit_code"]),
        (&json!("succeeded"), &json!(0)),
        "{done}"
    );
    let lines = done["output"].as_array().expect("lines");
    assert!(lines.iter().any(|l| l == "COLOUR=green"), "{done}");
    let failed = run(&["/app", "release", "fail"], "60s");
    assert_eq!(
        (&failed["state"], &failed["exit_code"]),
        (&json!("failed"), &json!(4)),
        "{failed}"
    );
    let missing = run(&["/no-such-program"], "60s");
    assert_eq!(missing["state"], "failed", "{missing}");
    let late = run(&["/app", "release", "hang"], "1s");
    assert!(
        late["reason"].as_str().expect("why").contains("did not end within 1s"),
        "{late}"
    );
    for (body, pointer) in [
        (json!({"command": []}), "/command"),
        (json!({"command": ["/app"], "timeout": "0s"}), "/timeout"),
    ] {
        let refused = platform.call("POST", "/v1/apps/once/run", Some(&body)).expect(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }

    let (code, out, err) = platform.cli(&["run", "-a", "once", "--", "/app", "release", "fail"]);
    assert_eq!(code, 4, "{out}{err}");
    assert!(err.contains("it ended with exit code 4"), "{err}");
    let (code, out, err) = platform.cli(&["run", "-a", "once", "/app", "release", "env"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("COLOUR=green\n"), "{out}");

    let hanging = json!({"command": ["/app", "release", "hang"]});
    let hanging = platform.call("POST", "/v1/apps/once/run", Some(&hanging)).expect(202);
    let id = hanging["id"].as_str().expect("an id");
    let now = || platform.get(&format!("/v1/operations/{id}"));
    until("it runs", || (now()["state"] == "running").then_some(()));
    let cancelled = platform.call("POST", &format!("/v1/operations/{id}/cancel"), None);
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    until("it is called off", || (now()["state"] == "cancelled").then_some(()));
    assert_eq!(now()["reason"], "it was called off by admin");
    let again = platform.call("POST", &format!("/v1/operations/{id}/cancel"), None);
    assert_eq!(again.json()["code"], "already_finished");
    until("nothing is left on the engine", || {
        left("once").is_empty().then_some(())
    });
    let listed = platform.get("/v1/apps/once/operations");
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(7), "{listed}");
}

#[test]
fn a_run_that_was_under_way_is_carried_to_its_end_by_the_next_control_plane() {
    let mut platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("carry", &spec(&json!([])));
    platform.deploy("carry", "1").expect(200);
    let body = json!({"command": ["/app", "release", "hang"]});
    let id = |answer: Value| answer["id"].as_str().expect("an id").to_owned();
    let [kept, gone] = [(); 2].map(|()| id(platform.call("POST", "/v1/apps/carry/run", Some(&body)).expect(202)));
    for id in [&kept, &gone] {
        until("it runs", || {
            (platform.get(&format!("/v1/operations/{id}"))["state"] == "running").then_some(())
        });
    }
    platform.down();
    docker(&["rm", "--force", &format!("slipway-{gone}")]);
    platform.up();
    until("what became of it is not known, and that is said", || {
        (platform.get(&format!("/v1/operations/{gone}"))["state"] == "lost").then_some(())
    });
    assert_eq!(platform.get(&format!("/v1/operations/{kept}"))["state"], "running");
    docker(&["kill", &format!("slipway-{kept}")]);
    until("the other is seen to end", || {
        (platform.get(&format!("/v1/operations/{kept}"))["exit_code"] == 137).then_some(())
    });
}

#[test]
fn commands_by_the_clock_run_with_a_history_and_a_time_that_was_missed_is_told() {
    let mut platform = Platform::start();
    platform.log_in_to_registry();
    let cron = json!([
        {"name": "tick", "schedule": "* * * * *", "command": ["/app", "release", "env"]},
        {"name": "slow", "schedule": "* * * * *", "command": ["/app", "release", "hang"], "timeout": "2s"},
    ]);
    platform.app("clock", &spec(&cron));
    platform.deploy("clock", "1").expect(200);
    let shown = platform.get("/v1/apps/clock/cron");
    assert_eq!(shown["items"][0]["name"], "tick", "{shown}");
    assert!(shown["items"][0]["next_at"].is_string(), "{shown}");
    until("both are known", || {
        (platform.sql("select count(*) from cron_marks").trim() == "2").then_some(())
    });
    // The clock is put back by hand, so that nobody waits for a minute.
    platform.down();
    platform.sql("update cron_marks set last_at = date_trunc('minute', now()) - interval '3 minutes'");
    platform.up();
    let history = |name: &str| platform.get(&format!("/v1/apps/clock/operations?cron={name}"))["items"].clone();
    let ended = |name: &str, state: &str| {
        until(&format!("{name} is {state}"), || {
            let all = history(name);
            let found = all.as_array()?.iter().find(|run| run["state"] == state)?;
            Some(found.clone())
        })
    };
    let run = ended("tick", "succeeded");
    assert_eq!(run["kind"], "cron", "{run}");
    assert!(
        run["scheduled_for"].as_str().expect("a time").ends_with(":00Z"),
        "{run}"
    );
    let missed = ended("tick", "skipped");
    assert!(
        missed["reason"].as_str().expect("why").contains("2 times passed"),
        "{missed}"
    );
    ended("slow", "failed");
    let (code, out, err) = platform.cli(&["cron", "-a", "clock"]);
    assert!(
        code == 0 && out.contains("tick") && out.contains("* * * * *"),
        "{out}{err}"
    );
    platform.call("DELETE", "/v1/apps/clock", None);
    until("nothing is left on the engine", || {
        left("clock").is_empty().then_some(())
    });
}
