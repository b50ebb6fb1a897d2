//! The main job: an image goes in by one call and serves HTTPS.

use serde_json::json;

use crate::own_registry::Registry;
use crate::platform::{Platform, app_image, containers, docker, registry, until, wait};

fn healthy_spec() -> serde_json::Value {
    json!({"health": {"path": "/healthz", "interval": "200ms", "deadline": "20s"}, "resources": {"memory": "64MiB"}})
}

#[test]
fn one_call_brings_an_image_from_the_registry_to_https() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let path = format!("/v1/deploy?image={}&app=web&wait=90s", app_image("1"));
    let deployment = platform.call("POST", &path, None).expect(200);
    assert_eq!(deployment["state"], "succeeded", "{deployment}");
    assert_eq!(deployment["release"], 1);
    assert!(deployment["digest"].as_str().expect("a digest").starts_with("sha256:"));
    let steps: Vec<&str> = deployment["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|s| s["name"].as_str())
        .collect();
    assert!(
        steps.starts_with(&["pull", "release_command", "start", "health", "switch"]),
        "{steps:?}"
    );

    let page = platform.visit("web.apps.localhost", "/echo?id=42").expect(200);
    assert_eq!(page["app"], "web");
    assert_eq!(page["environment"], "production");
    assert_eq!(page["id"], "42");
    let id = containers("web").remove(0).0;
    let served = docker(&["inspect", "--format", "{{.Config.Image}}", &id]);
    assert!(served.contains("@sha256:"), "runs by digest: {served}");
}

#[test]
fn a_second_release_takes_over_and_a_rollback_brings_back_the_first() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("shop", &healthy_spec());
    platform.deploy("shop", "1").expect(200);
    let first = platform.visit("shop.apps.localhost", "/echo").expect(200);
    platform.deploy("shop", "2").expect(200);
    let second = platform.visit("shop.apps.localhost", "/echo").expect(200);
    assert_eq!((&first["release"], &second["release"]), (&json!("1"), &json!("2")));

    let back = platform
        .call("POST", "/v1/apps/shop/rollback?wait=90s", Some(&json!({})))
        .expect(200);
    assert_eq!(back["release"], 3, "a rollback is a new release");
    let releases = platform.get("/v1/apps/shop/releases");
    let digests: Vec<&str> = releases["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|r| r["digest"].as_str())
        .collect();
    assert_eq!(digests[0], digests[2], "of the first one's digest");
    assert_ne!(digests[0], digests[1]);
    until("the old instances are gone", || {
        (containers("shop").len() == 1).then_some(())
    });
}

#[test]
fn a_digest_is_promoted_from_staging_to_production() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("two", &healthy_spec());
    platform
        .call("POST", "/v1/apps/two/environments", Some(&json!({"name": "staging"})))
        .expect(201);
    let path = format!(
        "/v1/deploy?image={}&app=two&environment=staging&wait=90s",
        app_image("1")
    );
    let staged = platform.call("POST", &path, None).expect(200);
    assert_eq!(
        platform.visit("two--staging.apps.localhost", "/echo").expect(200)["environment"],
        "staging"
    );
    assert_eq!(platform.visit("two.apps.localhost", "/").status, 404);

    let body = json!({"from": "staging", "to": "production"});
    let promoted = platform
        .call("POST", "/v1/apps/two/promote?wait=90s", Some(&body))
        .expect(200);
    assert_eq!(promoted["digest"], staged["digest"]);
    assert_eq!(
        platform.visit("two.apps.localhost", "/echo").expect(200)["environment"],
        "production"
    );
}

#[test]
fn every_change_of_variables_and_secrets_is_a_release_and_reaches_the_app() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("vars", &healthy_spec());
    platform.deploy("vars", "1").expect(200);
    let env = platform
        .call(
            "PATCH",
            "/v1/apps/vars/env?wait=90s",
            Some(&json!({"env": {"COLOR": "blue"}})),
        )
        .expect(200);
    assert_eq!(env["release"], 2);
    let path = "/v1/apps/vars/secrets/API_KEY?wait=90s";
    let secret = platform
        .call("PUT", path, Some(&json!({"value": "s3cr3t-canary"})))
        .expect(200);
    assert_eq!(secret["release"], 3);
    let seen = platform.visit("vars.apps.localhost", "/env");
    assert!(
        seen.text.contains("COLOR=blue") && seen.text.contains("API_KEY=s3cr3t-canary"),
        "{}",
        seen.text
    );
    let listed = platform.call("GET", "/v1/apps/vars/secrets", None);
    assert!(
        listed.text.contains("API_KEY") && !listed.text.contains("s3cr3t-canary"),
        "{}",
        listed.text
    );
    assert!(!platform.log().contains("s3cr3t-canary"), "a secret is never logged");
}

#[test]
fn replicas_share_the_traffic_and_scaling_down_drains() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("many", &healthy_spec());
    platform.deploy("many", "1").expect(200);
    let first = containers("many").remove(0).0;
    platform
        .call("POST", "/v1/apps/many/scale?wait=90s", Some(&json!({"count": 3})))
        .expect(200);
    assert!(
        containers("many").iter().any(|(id, _)| *id == first),
        "what runs goes on running"
    );
    let mut seen = std::collections::BTreeSet::new();
    until("three instances answer", || {
        let echo = platform.visit("many.apps.localhost", "/echo").expect(200);
        seen.insert(echo["instance"].as_str().expect("instance").to_owned());
        (seen.len() == 3).then_some(())
    });
    let instances = platform.get("/v1/apps/many/instances");
    assert_eq!(instances["items"].as_array().map(Vec::len), Some(3), "{instances}");
    platform
        .call("POST", "/v1/apps/many/scale?wait=90s", Some(&json!({"count": 1})))
        .expect(200);
    until("one container is left", || {
        (containers("many").len() == 1).then_some(())
    });
    assert_eq!(containers("many")[0].0, first, "and is the last to go");
    platform.deploy("many", "2").expect(200);
    platform
        .call("POST", "/v1/apps/many/scale?wait=90s", Some(&json!({"count": 2})))
        .expect(200);
    let back = platform
        .call("POST", "/v1/apps/many/rollback?wait=90s", Some(&json!({})))
        .expect(200);
    let image = back["image"].as_str().expect("an image");
    assert!(image.ends_with(":1"), "another scale is nothing to go back to: {image}");
}

#[test]
fn an_image_that_only_the_engine_has_is_pinned_by_its_id() {
    let platform = Platform::start();
    platform.app("local", &healthy_spec());
    let body = json!({"image": "slipway-test/app:1", "pull": "local"});
    let deployment = platform
        .call("POST", "/v1/apps/local/deployments?wait=90s", Some(&body))
        .expect(200);
    assert_eq!(deployment["state"], "succeeded");
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", "slipway-test/app:1"]);
    assert_eq!(deployment["digest"], id.trim());
}

#[test]
fn a_release_command_that_takes_too_long_is_ended_and_its_last_lines_are_told() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let mut spec = healthy_spec();
    spec["deploy"] = json!({"release_command": ["/app", "release", "hang"]});
    platform.app("overlong", &spec);
    let path = format!("/v1/deploy?image={}&app=overlong", app_image("1"));
    let id = platform.call("POST", &path, None).expect(202)["id"].clone();
    until("the command runs and has written", || {
        let running = containers("overlong")
            .into_iter()
            .find(|(_, state)| state == "running")?;
        docker(&["logs", &running.0]).contains("release command").then_some(())
    });
    platform.sql(
        "update deployment_steps set started_at = started_at - interval '11 minutes' where name = 'release_command'",
    );
    let path = format!("/v1/deployments/{}", id.as_str().expect("an id"));
    let failed = until("the deployment fails", || {
        let deployment = platform.get(&path);
        (deployment["state"] == "failed").then_some(deployment)
    });
    assert_eq!(
        failed["reason"]["log_tail"],
        json!(["release command: hang"]),
        "{failed}"
    );
    until("the command's container is gone", || {
        containers("overlong").is_empty().then_some(())
    });
}

#[test]
fn the_release_command_runs_once_before_any_traffic() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let mut spec = healthy_spec();
    spec["deploy"] = json!({"release_command": ["/app", "release", "ok"]});
    platform.app("migr", &spec);
    let deployment = platform.deploy("migr", "1").expect(200);
    let step = |name: &str| {
        deployment["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .find(|s| s["name"] == name)
            .cloned()
    };
    assert_eq!(step("release_command").expect("the step")["state"], "succeeded");

    spec["deploy"] = json!({"release_command": ["/app", "release", "fail"]});
    platform
        .call("PUT", "/v1/apps/migr/spec?apply=false", Some(&spec))
        .expect(204);
    let failed = platform.deploy("migr", "2").expect(422);
    assert_eq!(
        failed["deployment"]["reason"]["code"], "release_command_failed",
        "{failed}"
    );
    assert!(
        failed["deployment"]["reason"]["exit_code"]
            .as_i64()
            .is_some_and(|c| c != 0)
    );
    assert_eq!(
        platform.visit("migr.apps.localhost", "/echo").expect(200)["release"],
        "1"
    );
    until("the command's container is gone", || {
        (containers("migr").len() == 1).then_some(())
    });

    assert_eq!(deployment["warnings"], json!([]), "a deploy forwards undoes nothing");
    let back = platform
        .call(
            "POST",
            "/v1/apps/migr/rollback?wait=60s",
            Some(&json!({"release": "v1"})),
        )
        .expect(200);
    let warning = back["warnings"][0].as_str().expect("a warning");
    assert!(warning.contains("ran in v2 since v1 was made"), "{warning}");
}

#[test]
fn a_volume_keeps_its_files_over_releases() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let mut spec = healthy_spec();
    spec["mounts"] = json!([{"volume": "files", "path": "/data"}]);
    platform.app("vol", &spec);
    platform.deploy("vol", "1").expect(200);
    let written = platform.visit("vol.apps.localhost", "/file?path=/data/note&write=kept");
    assert_eq!(written.status, 200, "{}", written.text);
    platform.deploy("vol", "2").expect(200);
    until("the new release has the file", || {
        let read = platform.visit("vol.apps.localhost", "/file?path=/data/note");
        (read.status == 200 && read.text == "kept").then_some(())
    });
    let volumes = docker(&["volume", "ls", "--quiet", "--filter", "label=slipway.app=vol"]);
    assert_eq!(volumes.lines().count(), 1);
}

#[test]
fn the_hardened_defaults_hold_inside_the_container() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("hard", &healthy_spec());
    platform.deploy("hard", "1").expect(200);
    let id = containers("hard").remove(0).0;
    let inspect = docker(&["inspect", &id]);
    let inspect: serde_json::Value = serde_json::from_str(&inspect).expect("JSON");
    let host = &inspect[0]["HostConfig"];
    assert_eq!(host["ReadonlyRootfs"], true);
    assert_eq!(host["CapDrop"], json!(["ALL"]));
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["PidsLimit"], 256);
    assert_eq!(host["Memory"], 64 << 20);
    assert_eq!(host["MemorySwap"], 64 << 20);
    assert_eq!(
        inspect[0]["Config"]["User"].as_str().map(|u| u.starts_with("65532")),
        Some(true)
    );
    assert_eq!(
        host["LogConfig"]["Config"]["max-size"].as_str().map(str::is_empty),
        Some(false)
    );
    let published = host["PortBindings"].as_object().is_none_or(serde_json::Map::is_empty);
    assert!(published, "no port of an app is published to the world");
}

#[test]
fn two_posts_with_one_key_are_one_deployment() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("once", &healthy_spec());
    let path = format!("/v1/deploy?image={}&app=once&wait=90s", app_image("1"));
    let token = platform.token();
    let headers = [("idempotency-key", "ci-run-1")];
    let first = platform.call_as(&token, "POST", &path, None, &headers).expect(200);
    let second = platform.call_as(&token, "POST", &path, None, &headers).expect(200);
    assert_eq!(first["id"], second["id"]);
    let other = format!("/v1/deploy?image={}&app=once&wait=90s", app_image("2"));
    assert_eq!(platform.call_as(&token, "POST", &other, None, &headers).status, 422);
    assert_eq!(
        platform.get("/v1/apps/once/deployments")["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn events_stream_to_the_end_and_resume_where_they_stopped() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("live", &healthy_spec());
    let path = format!("/v1/deploy?image={}&app=live", app_image("1"));
    let deployment = platform.call("POST", &path, None).expect(202);
    let events = format!("/v1/deployments/{}/events", deployment["id"].as_str().expect("id"));
    let token = platform.token();
    let accept = ("accept", "text/event-stream");
    let all = platform.call_as(&token, "GET", &events, None, &[accept]).text;
    let ids: Vec<&str> = all
        .lines()
        .filter_map(|l| l.strip_prefix("id:"))
        .map(str::trim)
        .collect();
    let last = all.lines().rfind(|l| l.starts_with("event:"));
    assert_eq!(
        last.map(|l| l["event:".len()..].trim()),
        Some("deployment.finished"),
        "{all}"
    );
    let rest = platform
        .call_as(&token, "GET", &events, None, &[accept, ("last-event-id", ids[1])])
        .text;
    let resumed: Vec<&str> = rest
        .lines()
        .filter_map(|l| l.strip_prefix("id:"))
        .map(str::trim)
        .collect();
    assert_eq!(resumed, ids[2..]);
}

#[test]
fn logs_of_the_app_are_live() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("chat", &healthy_spec());
    platform.deploy("chat", "1").expect(200);
    let token = platform.token();
    let url = format!("http://{}/v1/apps/chat/logs?follow=true", platform.api);
    let (found, mut response) = wait(async {
        let mut response = reqwest::Client::new()
            .get(url)
            .bearer_auth(token)
            .send()
            .await
            .expect("logs");
        assert_eq!(response.status(), 200);
        let client = platform.browser("chat.apps.localhost").build().expect("a client");
        client
            .get(platform.url("chat.apps.localhost", "/log?line=find-me"))
            .send()
            .await
            .expect("the app");
        let mut text = String::new();
        let deadline = tokio::time::Instant::now() + crate::platform::SOON;
        while !text.contains("find-me") && tokio::time::Instant::now() < deadline {
            if let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(deadline, response.chunk()).await {
                text.push_str(&String::from_utf8_lossy(&chunk));
            }
        }
        (text, response)
    });
    let line = found.lines().find(|l| l.contains("find-me")).expect("the line");
    let line: serde_json::Value = serde_json::from_str(line).expect("NDJSON");
    assert_eq!(line["stream"], "stdout");
    assert_eq!(line["release"], 1);

    platform.call("DELETE", "/v1/apps/chat", None);
    wait(async {
        let ends = async { while let Ok(Some(_)) = response.chunk().await {} };
        let ended = tokio::time::timeout(crate::platform::SOON, ends).await;
        ended.expect("there is nothing to listen to any more");
    });
}

#[test]
fn an_app_is_stopped_started_and_deleted_without_a_trace() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("gone", &healthy_spec());
    platform.deploy("gone", "1").expect(200);
    platform.call("POST", "/v1/apps/gone/stop", Some(&json!({})));
    until("the page says stopped", || {
        (platform.visit("gone.apps.localhost", "/").status == 503).then_some(())
    });
    until("no container is left", || containers("gone").is_empty().then_some(()));
    platform
        .call("POST", "/v1/apps/gone/start?wait=90s", Some(&json!({})))
        .expect(200);
    assert_eq!(platform.visit("gone.apps.localhost", "/echo").status, 200);

    assert_eq!(platform.call("DELETE", "/v1/apps/gone", None).status, 204);
    until("the app is gone", || {
        (platform.call("GET", "/v1/apps/gone", None).status == 404).then_some(())
    });
    until("nothing of it is left on the engine", || {
        let networks = docker(&["network", "ls", "--quiet", "--filter", "label=slipway.app=gone"]);
        (containers("gone").is_empty() && networks.is_empty()).then_some(())
    });
    assert_eq!(platform.visit("gone.apps.localhost", "/").status, 404);
}

#[test]
fn credentials_are_filed_per_registry_and_never_shown() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let shown = platform.call("GET", &format!("/v1/registries/{}", registry()), None);
    assert_eq!(shown.status, 200);
    assert!(!shown.text.contains("registry-password"), "{}", shown.text);
}

#[test]
fn what_only_deleted_apps_ran_is_removed_from_the_machine_and_what_may_be_gone_back_to_is_not() {
    let registry = Registry::start();
    let (gone, kept) = (registry.push("gone"), registry.push("kept"));
    let platform = Platform::start();
    let local = |image: &str| {
        let name = image.rsplit_once(':').expect("a tag").0;
        let listed = docker(&["images", "--digests", "--format", "{{.Digest}}", name]);
        listed.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut digests = Vec::new();
    for (app, image) in [("brief", &gone), ("brief", &kept), ("lasting", &kept)] {
        let path = format!("/v1/deploy?image={image}&app={app}&wait=60s");
        let deployed = platform.call("POST", &path, None).expect(200);
        digests.push(deployed["digest"].as_str().expect("a digest").to_owned());
    }
    for digest in &digests {
        assert!(local(&gone).contains(digest), "one may go back to it");
    }
    platform.call("DELETE", "/v1/apps/brief", None);
    until("what only the deleted app ran is gone", || {
        (!local(&gone).contains(&digests[0])).then_some(())
    });
    assert!(local(&kept).contains(&digests[1]), "another app runs it");
    platform.visit("lasting.apps.localhost", "/echo").expect(200);
    until("no more is remembered than is there", || {
        (platform.sql("select count(*) from orphan_images").trim() == "1").then_some(())
    });
}
