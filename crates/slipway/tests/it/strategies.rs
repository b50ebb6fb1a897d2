//! The ways a release comes into service, and how one that fails is taken back.

use serde_json::{Value, json};

use crate::platform::{Platform, app_image, containers, until, wait};

fn spec(deploy: &Value) -> Value {
    json!({"health": {"path": "/healthz", "interval": "200ms", "deadline": "20s"},
           "resources": {"memory": "64MiB"}, "deploy": deploy})
}

fn running(app: &str) -> Vec<String> {
    let all = containers(app).into_iter();
    all.filter(|(_, state)| state == "running").map(|(id, _)| id).collect()
}

/// Which release answers.
fn answers(platform: &Platform, app: &str) -> String {
    let page = platform.visit(&format!("{app}.apps.localhost"), "/echo").expect(200);
    page["release"].as_str().expect("a number").to_owned()
}

fn state(platform: &Platform, app: &str) -> String {
    let shown = platform.get(&format!("/v1/apps/{app}"));
    shown["environments"][0]["state"].as_str().expect("a word").to_owned()
}

#[test]
fn blue_green_keeps_the_old_group_and_a_rollback_takes_it_over_without_starting_anything() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("blue", &spec(&json!({"strategy": "bluegreen", "bake_time": "10m"})));
    platform.deploy("blue", "1").expect(200);
    let first = running("blue");
    platform.deploy("blue", "2").expect(200);
    assert_eq!(answers(&platform, "blue"), "2");
    let both = running("blue");
    assert!(both.len() == 2 && both.contains(&first[0]), "{both:?}");

    let back = platform
        .call("POST", "/v1/apps/blue/rollback?wait=90s", Some(&json!({})))
        .expect(200);
    assert_eq!((&back["state"], &back["release"]), (&json!("succeeded"), &json!(3)));
    assert_eq!(
        answers(&platform, "blue"),
        "1",
        "the instance of the first release answers"
    );
    let mut after = running("blue");
    let mut before = both;
    after.sort();
    before.sort();
    assert_eq!(after, before, "nothing was started and nothing removed");
}

#[test]
fn recreate_lets_requests_wait_and_loses_none() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let mut spec = spec(&json!({"strategy": "recreate", "drain_timeout": "5s", "kill_timeout": "1s"}));
    spec["mounts"] = json!([{"volume": "files", "path": "/files"}]);
    platform.app("alone", &spec);
    platform.deploy("alone", "1").expect(200);
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            let mut seen = Vec::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                seen.push(answers(&platform, "alone"));
            }
            seen
        });
        let deployed = platform.deploy("alone", "2").expect(200);
        assert_eq!(deployed["strategy"], "recreate");
        let warnings = deployed["warnings"].to_string();
        assert!(warnings.contains("nobody is served for as long as"), "{warnings}");
        until("the new release answers", || {
            (answers(&platform, "alone") == "2").then_some(())
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        visitor.join().expect("no request was lost")
    });
    let switch = seen
        .iter()
        .position(|release| release == "2")
        .expect("the visitor saw it");
    assert!(
        seen[switch..].iter().all(|release| release == "2"),
        "the releases did not run side by side"
    );
    let path = format!("/v1/deploy?image={}&app=alone", app_image("1"));
    let accepted = platform.call("POST", &path, None).expect(202);
    let warnings = accepted["warnings"].to_string();
    assert!(warnings.contains("the last time nobody was served for"), "{warnings}");
}

#[test]
fn a_canary_that_fails_more_than_the_old_release_is_taken_off_the_traffic() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let step = json!({"weight": 50, "hold": "1m", "max_error_rate": 0.05});
    platform.app("bird", &spec(&json!({"strategy": "canary", "canary": [step]})));
    platform.deploy("bird", "1").expect(200);
    let mut ill = spec(&json!({"strategy": "canary", "canary": [step]}));
    ill["env"] = json!({"MODE": "errors"});
    platform
        .call("PUT", "/v1/apps/bird/spec?apply=false", Some(&ill))
        .expect(204);
    let failed = std::thread::scope(|scope| {
        let deploy = scope.spawn(|| platform.deploy("bird", "2"));
        while !deploy.is_finished() {
            platform.visit("bird.apps.localhost", "/echo");
        }
        deploy.join().expect("no panic").expect(422)
    });
    let reason = &failed["deployment"]["reason"];
    assert_eq!(reason["code"], "canary_worse", "{reason:#}");
    until("only the old release answers", || {
        let answer = || platform.visit("bird.apps.localhost", "/echo");
        (0..20).all(|_| answer().status == 200).then_some(())
    });
    assert_eq!(answers(&platform, "bird"), "1");
    until("the new release is gone", || {
        (containers("bird").len() == 1).then_some(())
    });
}

#[test]
fn a_canary_shares_the_traffic_keeps_visitors_where_they_were_and_ends_early_by_a_word() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let step = json!({"weight": 50, "hold": "1h"});
    platform.app(
        "share",
        &spec(&json!({"strategy": "canary", "sticky": true, "canary": [step]})),
    );
    platform.deploy("share", "1").expect(200);
    let path = format!("/v1/deploy?image={}&app=share", crate::platform::app_image("2"));
    let id = platform.call("POST", &path, None).expect(202)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let (cookie, release) = until("the new release answers and keeps its visitor", || {
        let answer = platform.visit("share.apps.localhost", "/echo");
        let release = answer.json()["release"].as_str()?.to_owned();
        let cookie = answer
            .headers
            .get("set-cookie")?
            .to_str()
            .ok()?
            .split(';')
            .next()?
            .to_owned();
        (release == "2").then_some((cookie, release))
    });
    let stays = wait(async {
        let host = "share.apps.localhost";
        let client = platform.browser(host).build().expect("a client");
        for _ in 0..20 {
            let request = client.get(platform.url(host, "/echo")).header("cookie", &cookie);
            let answer = crate::platform::answer(request.send().await.expect("the proxy answers")).await;
            if answer.expect(200)["release"] != *release {
                return false;
            }
        }
        true
    });
    assert!(stays, "a visitor with the cookie meets one release only");
    until("others meet the old release", || {
        (answers(&platform, "share") == "1").then_some(())
    });
    let shown = platform.get(&format!("/v1/deployments/{id}"));
    assert_eq!(shown["state"], "running", "{shown}");

    platform
        .call("POST", &format!("/v1/deployments/{id}/promote"), None)
        .expect(200);
    until("the deployment succeeds", || {
        (platform.get(&format!("/v1/deployments/{id}"))["state"] == "succeeded").then_some(())
    });
    let shown = platform.get(&format!("/v1/deployments/{id}"));
    let steps = shown["steps"].as_array().expect("steps");
    let canary = steps.iter().find(|s| s["name"] == "canary").expect("a canary");
    assert_eq!(canary["detail"], "somebody ended it early");
    for _ in 0..20 {
        assert_eq!(answers(&platform, "share"), "2");
    }
}

#[test]
fn a_release_that_ends_by_itself_after_the_switch_is_taken_back_and_is_no_target_any_more() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("back", &spec(&json!({"bake_time": "10m"})));
    let first = platform.deploy("back", "1").expect(200);
    platform.deploy("back", "2").expect(200);
    assert_eq!(answers(&platform, "back"), "2");
    // The same once more is not what is gone back to, and does not end the watch.
    platform
        .call("POST", "/v1/apps/back/restart?wait=60s", None)
        .expect(200);
    platform.visit("back.apps.localhost", "/exit");
    let taken_back = until("the release before serves again", || {
        let newest = platform.get("/v1/apps/back/deployments")["items"][0].clone();
        (newest["cause"] == "automatic_rollback" && newest["state"] == "succeeded").then_some(newest)
    });
    assert_eq!(taken_back["digest"], first["digest"], "{taken_back}");
    let message = taken_back["message"].as_str().expect("why");
    assert!(message.contains("exit code 7"), "{message}");
    assert_eq!(answers(&platform, "back"), "4");
    let releases = platform.get("/v1/apps/back/releases");
    let good: Vec<&Value> = releases["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|r| &r["good"])
        .collect();
    assert_eq!(
        good,
        [true, false, true, true].map(|g| json!(g)).each_ref(),
        "{releases}"
    );
    let none = platform
        .call("POST", "/v1/apps/back/rollback", Some(&json!({})))
        .expect(409);
    assert_eq!(
        none["code"], "no_earlier_release",
        "there is nothing good before the first"
    );
}

#[test]
fn a_release_that_falls_ill_after_the_switch_is_taken_back_and_that_is_seen() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let spec = |mode: &str| {
        json!({"health": {"path": "/healthz", "interval": "200ms"}, "resources": {"memory": "64MiB"},
               "env": {"MODE": mode}, "deploy": {"bake_time": "10m"}})
    };
    platform.app("ill", &spec(""));
    platform.deploy("ill", "1").expect(200);
    platform
        .call("PUT", "/v1/apps/ill/spec?apply=false", Some(&spec("ill-later")))
        .expect(204);
    let failed = platform.deploy("ill", "2").expect(200);
    let written = platform.visit("ill.apps.localhost", "/file?path=/tmp/ill&write=x");
    assert_eq!(written.status, 200, "{}", written.text);
    let taken_back = until("the release before serves again", || {
        let newest = platform.get("/v1/apps/ill/deployments")["items"][0].clone();
        (newest["cause"] == "automatic_rollback" && newest["state"] == "succeeded").then_some(newest)
    });
    let message = taken_back["message"].as_str().expect("why");
    assert!(
        message.contains("status 503, though it was healthy before"),
        "{message}"
    );
    let path = format!("/v1/deployments/{}", failed["id"].as_str().expect("an id"));
    let shown = platform.get(&path)["warnings"].to_string();
    assert!(shown.contains("v2 was taken back by the platform"), "{shown}");
    let (code, out, err) = platform.cli(&["status", "-a", "ill"]);
    assert!(code == 0 && out.contains("back to v1 because v2 failed"), "{out}{err}");
}

#[test]
fn an_app_that_ends_again_and_again_is_in_a_crash_loop_and_says_how_it_ended() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("loop", &spec(&json!({})));
    platform.deploy("loop", "1").expect(200);
    assert_eq!(state(&platform, "loop"), "running");
    // State and conditions in one look: it is started again meanwhile.
    let environment = until("it is in a crash loop", || {
        platform.visit("loop.apps.localhost", "/exit");
        let environment = platform.get("/v1/apps/loop/environments")["items"][0].clone();
        (environment["state"] == "crash_loop").then_some(environment)
    });
    let ready = environment["conditions"].as_array().expect("conditions")[0].clone();
    let message = ready["message"].as_str().expect("why");
    assert!(
        message.contains("exit code 7") && message.contains("in a row"),
        "{ready}"
    );
    let instance = platform.get("/v1/apps/loop/instances")["items"][0].clone();
    assert!(instance["restarts"].as_u64().expect("a number") >= 2, "{instance}");
    assert_eq!(instance["last_exit"]["exit_code"], 7, "{instance}");
}
