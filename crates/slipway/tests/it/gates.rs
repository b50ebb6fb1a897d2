//! What a new image must pass: the app's own checks, and somebody's word.

use serde_json::{Value, json};

use crate::platform::{Platform, app_image, until};

fn spec(deploy: &Value) -> Value {
    json!({"health": {"path": "/healthz", "interval": "200ms", "deadline": "20s"},
           "resources": {"memory": "64MiB"}, "deploy": deploy})
}

fn put_spec(platform: &Platform, environment: &str, spec: &Value) {
    let path = format!("/v1/apps/shop/spec?environment={environment}&apply=false");
    let put = platform.call("PUT", &path, Some(spec));
    assert!(put.status < 300, "{}", put.text);
}

#[test]
fn a_release_that_fails_its_own_checks_never_has_traffic() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let smoke = |path: &str, contains: &str| spec(&json!({"smoke": [{"path": path, "contains": contains}]}));
    platform.app("shop", &smoke("/", "the test app"));
    let first = platform.deploy("shop", "1").expect(200);
    let steps = first["steps"].as_array().expect("steps").clone();
    assert!(
        steps.iter().any(|s| s["name"] == "smoke" && s["state"] == "succeeded"),
        "{steps:?}"
    );
    for (path, contains, why) in [
        ("/no-such-page", "x", "answered 404, not 200"),
        ("/", "another app", "does not contain `another app`"),
    ] {
        put_spec(&platform, "production", &smoke(path, contains));
        let problem = platform.deploy("shop", "2").expect(422);
        let reason = &problem["deployment"]["reason"];
        assert_eq!(reason["code"], "smoke_failed", "{problem}");
        assert!(reason["detail"].as_str().expect("why").contains(why), "{reason}");
        let page = platform.visit("shop.apps.localhost", "/echo").expect(200);
        assert_eq!(page["release"], "1", "the old release serves on");
    }
}

#[test]
fn what_passed_in_staging_goes_on_to_production_and_waits_there_for_anothers_word() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("shop", &spec(&json!({"approval": true})));
    let staging = json!({"name": "staging"});
    platform
        .call("POST", "/v1/apps/shop/environments", Some(&staging))
        .expect(201);
    let smoke = json!([{"path": "/"}]);
    put_spec(
        &platform,
        "staging",
        &spec(&json!({"smoke": smoke, "promote_to": "production"})),
    );
    let deploy = format!(
        "/v1/deploy?image={}&app=shop&environment=staging&wait=90s",
        app_image("1")
    );
    let asks = json!({"name": "ci", "scopes": ["deploy:app", "read:app"]});
    let asks = platform.call("POST", "/v1/tokens", Some(&asks)).expect(201);
    let asks = asks["token"].as_str().expect("a token");
    let tested = platform.call_as(asks, "POST", &deploy, None, &[]).expect(200);

    let newest = || platform.get("/v1/apps/shop/deployments")["items"][0].clone();
    let waiting = until("production waits for approval", || {
        (newest()["state"] == "awaiting_approval").then(newest)
    });
    assert_eq!(waiting["digest"], tested["digest"], "the same digest, never a rebuild");
    assert_eq!(waiting["created_by"], "ci", "{waiting}");
    assert_eq!(
        platform.visit("shop.apps.localhost", "/").status,
        404,
        "nothing serves yet"
    );
    let id = waiting["id"].as_str().expect("an id");
    let own = format!("/v1/deployments/{id}/approve");
    let refused = platform.call_as(asks, "POST", &own, None, &[]).expect(403);
    assert_eq!(
        refused["code"], "own_deployment",
        "not even on the way over staging: {refused}"
    );
    let (code, out, err) = platform.cli(&["deployments", "approve", id]);
    assert_eq!(code, 0, "{out}{err}");
    until("it succeeds", || {
        assert_ne!(newest()["state"], "failed", "{}", newest());
        (newest()["state"] == "succeeded").then_some(())
    });
    let events = platform.get(&format!("/v1/deployments/{id}/events"));
    assert!(events.to_string().contains("approved by admin"), "{events}");
    let again = platform
        .call("POST", &format!("/v1/deployments/{id}/approve"), None)
        .expect(409);
    assert_eq!(again["code"], "not_awaiting_approval");

    // Nobody approves what they asked for themselves, and going back waits for nobody.
    let deploy = format!("/v1/deploy?image={}&app=shop", app_image("2"));
    let asked = platform.call("POST", &deploy, None).expect(202);
    assert_eq!(asked["state"], "awaiting_approval", "{asked}");
    let own = format!("/v1/deployments/{}/approve", asked["id"].as_str().expect("an id"));
    assert_eq!(platform.call("POST", &own, None).expect(403)["code"], "own_deployment");
    let page = platform.visit("shop.apps.localhost", "/echo").expect(200);
    assert_eq!(page["release"], "1", "what serves goes on serving");
    let scaled = platform.call("POST", "/v1/apps/shop/scale?wait=60s", Some(&json!({"count": 2})));
    assert_eq!(
        scaled.expect(200)["digest"],
        tested["digest"],
        "nothing brings in what nobody approved"
    );
}

#[test]
fn no_environment_names_itself_as_the_next_one() {
    let platform = Platform::start();
    platform.app("shop", &spec(&json!({})));
    let itself = spec(&json!({"promote_to": "production"}));
    let refused = platform.call("PUT", "/v1/apps/shop/spec", Some(&itself)).expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/deploy/promote_to", "{refused}");
}

#[test]
fn environments_that_name_each_other_do_not_go_round_in_a_circle() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("shop", &spec(&json!({"promote_to": "staging"})));
    let staging = json!({"name": "staging"});
    platform
        .call("POST", "/v1/apps/shop/environments", Some(&staging))
        .expect(201);
    put_spec(&platform, "staging", &spec(&json!({"promote_to": "production"})));
    let first = platform.deploy("shop", "1").expect(200);
    let newest = |environment: &str| {
        let path = format!("/v1/apps/shop/deployments?environment={environment}");
        platform.get(&path)["items"][0].clone()
    };
    let promoted = until("staging has it too", || {
        (newest("staging")["state"] == "succeeded").then(|| newest("staging"))
    });
    let id = promoted["id"].as_str().expect("an id");
    let told = platform.get(&format!("/v1/deployments/{id}/events")).to_string();
    assert!(told.contains("it has this image already"), "{told}");
    assert_eq!(newest("production")["id"], first["id"], "nothing comes back");
}

#[test]
fn what_nobody_approves_is_called_off_after_a_week() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("shop", &spec(&json!({"approval": true})));
    let deploy = format!("/v1/deploy?image={}&app=shop", app_image("1"));
    let asked = platform.call("POST", &deploy, None).expect(202);
    platform.sql("update deployments set created_at = created_at - interval '8 days'");
    let path = format!("/v1/deployments/{}", asked["id"].as_str().expect("an id"));
    until("it is called off", || {
        (platform.get(&path)["state"] == "aborted").then_some(())
    });
}
