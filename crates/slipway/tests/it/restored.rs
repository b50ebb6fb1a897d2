//! The platform's database put back to an older point, while the apps and the proxy are where they were.

use serde_json::{Value, json};

use crate::platform::{Platform, containers, docker, serves, until, visitors};

fn spec() -> Value {
    json!({"health": {"path": "/healthz", "interval": "100ms", "deadline": "30s"}, "resources": {"memory": "64MiB"},
           "scale": {"min": 2}, "deploy": {"bake_time": "0s", "drain_timeout": "2s", "kill_timeout": "1s"}})
}

/// The `Ready` condition of the app.
fn ready(platform: &Platform, app: &str) -> Value {
    let listed = platform.get(&format!("/v1/apps/{app}/environments"));
    let conditions = listed["items"][0]["conditions"].as_array().expect("conditions").clone();
    conditions
        .into_iter()
        .find(|c| c["type"] == "Ready")
        .unwrap_or_default()
}

#[test]
fn f24_what_a_restored_database_does_not_know_goes_on_serving_until_somebody_decides() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("back", &spec());
    platform.deploy("back", "1").expect(200);
    platform.copy_database();
    until("the API answers", || platform.is_ready().then_some(()));
    platform.deploy("back", "2").expect(200);
    until("only the new instances are left", || {
        (containers("back").len() == 2).then_some(())
    });
    let before = containers("back");

    let ((), lost) = visitors(&platform, "back", || {
        platform.put_database_back();
        until("the API answers", || platform.is_ready().then_some(()));
        until("it is told", || {
            (ready(&platform, "back")["reason"] == "UnknownRelease").then_some(())
        });
    });
    assert_eq!(lost, 0, "no visitor noticed");
    let said = ready(&platform, "back")["message"].to_string();
    assert!(
        said.contains("v2 runs here, which the database does not know"),
        "{said}"
    );
    let app = platform.get("/v1/apps/back");
    assert_eq!(app["environments"][0]["state"], "degraded", "{app}");
    assert_eq!(containers("back"), before, "nothing was started, stopped or removed");
    assert_eq!(serves(&platform, "back").expect("the app")["release"], "2");
    let alerts = platform.get("/v1/alerts?state=firing");
    assert_eq!(alerts["items"][0]["kind"], "unknown_release", "{alerts}");

    let (deployed, lost) = visitors(&platform, "back", || platform.deploy("back", "1").expect(200));
    assert_eq!(lost, 0, "no visitor noticed");
    assert_eq!(
        deployed["release"], 3,
        "the number of the unknown release is not given again"
    );
    until("the unknown instances have gone", || {
        let left = containers("back");
        (left.len() == 2 && left.iter().all(|i| !before.contains(i))).then_some(())
    });
    let alerts = platform.get("/v1/alerts?state=firing");
    assert_eq!(alerts["items"], json!([]), "it is over");
}

#[test]
fn f24_what_is_asked_of_a_restored_database_is_done_even_if_it_has_it_already() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("again", &spec());
    platform.deploy("again", "1").expect(200);
    let post = |path: &str, body: Value| platform.call("POST", &format!("/v1/apps/again/{path}"), Some(&body));
    post("stop?wait=30s", json!({})).expect(200);
    platform.copy_database();
    until("the API answers", || platform.is_ready().then_some(()));
    post("start?wait=30s", json!({})).expect(200);
    let run = post("run", json!({"command": ["/app", "release", "hang"]})).expect(202);
    let operation = format!("/v1/operations/{}", run["id"].as_str().expect("an id"));
    until("the command runs", || {
        (platform.get(&operation)["state"] == "running").then_some(())
    });

    platform.put_database_back();
    until("it is told", || {
        let ready = platform.is_ready().then(|| ready(&platform, "again"));
        (ready?["reason"] == "UnknownRelease").then_some(())
    });
    assert_eq!(platform.get("/v1/apps/again")["environments"][0]["state"], "degraded");
    until("the command is there too", || {
        let adopted = platform.call("GET", &operation, None);
        (adopted.status == 200 && adopted.json()["state"] == "running").then_some(())
    });
    assert_eq!(serves(&platform, "again").expect("the app")["release"], "2");
    // It was stopped and has two instances, as far as the database knows.
    let scaled = post("scale?wait=60s", json!({"count": 2})).expect(200);
    assert_eq!(scaled["state"], "succeeded", "{scaled}");
    until("only its instances are left", || {
        (containers("again").len() == 3).then_some(())
    });
    assert_eq!(platform.get("/v1/alerts?state=firing")["items"], json!([]));
    assert_eq!(platform.call("DELETE", "/v1/apps/again", None).status, 204);
    until("nothing is left, the command neither", || {
        containers("again").is_empty().then_some(())
    });
}

#[test]
fn f24_an_app_that_a_restored_database_takes_for_stopped_is_stopped_when_somebody_says_so() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("halt", &spec());
    platform.deploy("halt", "1").expect(200);
    let post = |path: &str| platform.call("POST", &format!("/v1/apps/halt/{path}?wait=30s"), Some(&json!({})));
    post("stop").expect(200);
    platform.copy_database();
    until("the API answers", || platform.is_ready().then_some(()));
    post("start").expect(200);
    platform.put_database_back();
    until("it is told", || {
        let ready = platform.is_ready().then(|| ready(&platform, "halt"));
        (ready?["reason"] == "UnknownRelease").then_some(())
    });
    let stopped = post("stop").expect(200);
    assert_eq!(stopped["state"], "stopped", "{stopped}");
    assert!(containers("halt").is_empty());
}

#[test]
fn f24_an_unknown_release_is_routed_anew_when_its_only_instance_was_killed_or_restarted() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let mut alone = spec();
    alone["scale"]["min"] = json!(1);
    platform.app("alone", &alone);
    platform.deploy("alone", "1").expect(200);
    platform.copy_database();
    until("the API answers", || platform.is_ready().then_some(()));
    platform.deploy("alone", "2").expect(200);
    until("only the new instance is left", || {
        (containers("alone").len() == 1).then_some(())
    });
    platform.put_database_back();
    until("it is told", || {
        let ready = platform.is_ready().then(|| ready(&platform, "alone"));
        (ready?["reason"] == "UnknownRelease").then_some(())
    });
    let before = containers("alone");
    for way in [["kill"].as_slice(), &["restart", "--time", "1"]] {
        docker(&[way, &[&before[0].0]].concat());
        let answer = until("the app answers", || serves(&platform, "alone"));
        assert_eq!(answer["release"], "2");
        assert_eq!(containers("alone"), before, "nothing was made anew");
    }
}
