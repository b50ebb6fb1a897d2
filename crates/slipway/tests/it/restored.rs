//! The platform's database put back to an older point, while the apps and the proxy are where they were.

use serde_json::{Value, json};

use crate::platform::{Platform, containers, serves, until, visitors};

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
