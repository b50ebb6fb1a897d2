//! The number of instances follows the requests, down to none.

use serde_json::{Value, json};

use crate::platform::{Platform, containers, docker, until, wait};

fn spec(scale: &Value) -> Value {
    json!({"health": {"path": "/healthz", "interval": "200ms", "deadline": "20s"},
           "deploy": {"bake_time": "0s", "kill_timeout": "2s"},
           "resources": {"memory": "64MiB"}, "scale": scale})
}

fn state(platform: &Platform, app: &str) -> String {
    let shown = platform.get(&format!("/v1/apps/{app}"));
    shown["environments"][0]["state"].as_str().expect("a word").to_owned()
}

fn asleep(platform: &Platform, app: &str, container: &str) {
    until(&format!("the idle app is {container}"), || {
        let states: Vec<_> = containers(app).into_iter().map(|(_, state)| state).collect();
        (state(platform, app) == "asleep" && states == [container]).then_some(())
    });
}

#[test]
fn an_idle_app_sleeps_and_the_first_request_waits_and_is_answered() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("dozer", &spec(&json!({"min": 0, "idle_timeout": "1s"})));
    platform.deploy("dozer", "1").expect(200);
    for _ in 0..2 {
        asleep(&platform, "dozer", "exited");
        let host = "dozer.apps.localhost";
        let answers = wait(async {
            let client = platform.browser(host).build().expect("a client");
            let requests = (0..10).map(|_| client.get(platform.url(host, "/echo")).send());
            futures_util::future::join_all(requests).await
        });
        for answer in answers {
            assert_eq!(
                answer.expect("an answer").status(),
                200,
                "every request was held and answered"
            );
        }
    }
    let instance = &platform.get("/v1/apps/dozer/instances")["items"][0];
    assert_eq!(instance["restarts"], 0, "to be put to sleep is no crash: {instance}");
    // Another scale takes over what runs; then it sleeps as its new spec says, and not before.
    let scaled = platform.call("POST", "/v1/apps/dozer/scale?wait=60s", Some(&json!({"count": 1})));
    assert_eq!(scaled.status, 200, "{}", scaled.text);
    let spec = spec(&json!({"min": 0, "idle_timeout": "1s"}));
    let put = platform.call("PUT", "/v1/apps/dozer/spec?wait=60s", Some(&spec));
    assert_eq!(put.status, 200, "{}", put.text);
    asleep(&platform, "dozer", "exited");
    // A request under way keeps it awake however long it takes.
    assert_eq!(platform.visit("dozer.apps.localhost", "/slow?ms=4000").status, 200);
}

#[test]
fn an_app_that_pauses_first_is_frozen_thawed_by_a_request_and_stopped_in_the_end() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app(
        "ice",
        &spec(&json!({"min": 0, "idle_timeout": "1s", "pause_for": "3s"})),
    );
    platform.deploy("ice", "1").expect(200);
    let before = containers("ice");
    asleep(&platform, "ice", "paused");
    platform.visit("ice.apps.localhost", "/echo").expect(200);
    assert_eq!(containers("ice")[0].0, before[0].0, "the same container goes on");
    asleep(&platform, "ice", "exited");
    platform.visit("ice.apps.localhost", "/echo").expect(200);
    // Whatever froze it, an app that should serve does.
    docker(&["pause", &before[0].0]);
    platform.visit("ice.apps.localhost", "/echo").expect(200);
}

#[test]
fn what_sleeps_can_be_deployed_stopped_and_deleted() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app(
        "dorm",
        &spec(&json!({"min": 0, "idle_timeout": "1s", "pause_for": "10m"})),
    );
    platform.deploy("dorm", "1").expect(200);
    asleep(&platform, "dorm", "paused");
    platform.deploy("dorm", "2").expect(200);
    let page = platform.visit("dorm.apps.localhost", "/echo").expect(200);
    assert_eq!(page["release"], "2");
    asleep(&platform, "dorm", "paused");
    platform
        .call("POST", "/v1/apps/dorm/stop", Some(&json!({})))
        .expect(202);
    until("nothing is left of it on the engine", || {
        containers("dorm").is_empty().then_some(())
    });
    assert_eq!(state(&platform, "dorm"), "stopped");
    platform
        .call("POST", "/v1/apps/dorm/start?wait=60s", Some(&json!({})))
        .expect(200);
    asleep(&platform, "dorm", "paused");
    let deleted = platform.call("DELETE", "/v1/apps/dorm", None);
    assert_eq!(deleted.status, 204, "{}", deleted.text);
    until("it is gone", || containers("dorm").is_empty().then_some(()));
}

#[test]
fn a_sleeping_app_is_found_asleep_by_the_next_control_plane_and_woken_by_it() {
    let mut platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("bear", &spec(&json!({"min": 0, "idle_timeout": "1s"})));
    platform.deploy("bear", "1").expect(200);
    asleep(&platform, "bear", "exited");
    platform.down();
    platform.up();
    assert_eq!(state(&platform, "bear"), "asleep");
    assert_eq!(containers("bear")[0].1, "exited", "nobody asked for it");
    platform.visit("bear.apps.localhost", "/echo").expect(200);
}

#[test]
fn more_requests_at_once_start_more_instances() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("wave", &spec(&json!({"min": 1, "max": 3, "concurrency": 2})));
    platform.deploy("wave", "1").expect(200);
    let running = || {
        let all = containers("wave").into_iter();
        all.filter(|(_, state)| state == "running").count()
    };
    assert_eq!(running(), 1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let answer = platform.visit("wave.apps.localhost", "/slow?ms=300");
                    assert_eq!(answer.status, 200, "{}", answer.text);
                }
            });
        }
        until("there are as many instances as there may be", || {
            (running() == 3).then_some(())
        });
        until("all of them answer", || {
            let shown = platform.get("/v1/apps/wave/instances");
            let items = shown["items"].as_array().expect("a list");
            (items.iter().filter(|i| i["health"] == "healthy").count() == 3).then_some(())
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
