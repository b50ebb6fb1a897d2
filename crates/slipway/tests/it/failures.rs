//! Bad input and bad apps: each gets a clear answer, and nothing is left behind.

use serde_json::{Value, json};

use crate::platform::{Platform, app_image, containers, docker, registry, until};

/// Deploys a misbehaving app after a good one and checks the reason and that the good one still serves.
fn fails(mode: &str, spec: Value, code: &str, says: &str) {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let good = json!({"health": {"path": "/healthz", "interval": "200ms"}, "resources": {"memory": "64MiB"}});
    // Several of these tests share one engine: the app is named after what is wrong with it.
    let app = &format!("bad-{mode}");
    platform.app(app, &good);
    platform.deploy(app, "1").expect(200);

    let mut bad = spec;
    bad["env"] = json!({"MODE": mode});
    platform
        .call("PUT", &format!("/v1/apps/{app}/spec?apply=false"), Some(&bad))
        .expect(204);
    let failed = platform.deploy(app, "2").expect(422);
    assert_eq!(failed["code"], "deployment_failed", "{failed}");
    let reason = &failed["deployment"]["reason"];
    assert_eq!(reason["code"], code, "{reason:#}");
    let words = format!(
        "{} {}",
        reason["detail"].as_str().expect("detail"),
        reason["hint"].as_str().expect("hint")
    );
    assert!(words.contains(says), "{words}");

    assert_eq!(
        platform.visit(&format!("{app}.apps.localhost"), "/echo").expect(200)["release"],
        "1",
        "the old release serves"
    );
    until("only the old release's container is left", || {
        (containers(app).len() == 1).then_some(())
    });
}

fn spec() -> Value {
    json!({"health": {"path": "/healthz", "interval": "200ms", "deadline": "4s"}, "resources": {"memory": "64MiB"}})
}

#[test]
fn an_app_that_exits_fails_with_its_exit_code_and_its_last_lines() {
    fails("exit", spec(), "exited", "exit code 3");
}

#[test]
fn an_app_that_is_never_healthy_fails_with_what_the_probe_saw() {
    fails("never-healthy", spec(), "health_status", "status 500");
}

#[test]
fn a_deployment_that_waits_is_looked_at_when_something_happens_and_not_all_the_time() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let looks = || {
        let text = platform.metrics();
        let line = text
            .lines()
            .find(|l| l.starts_with("slipway_reconcile_duration_seconds_count"));
        let number = line.and_then(|l| l.rsplit(' ').next());
        number.map_or(0, |n| n.parse::<u64>().expect("a number"))
    };
    let mut waiting = spec();
    waiting["env"] = json!({"MODE": "never-healthy"});
    platform.app("patient", &waiting);
    let before = looks();
    platform.deploy("patient", "1").expect(422);
    let made = looks() - before;
    assert!(made < 40, "{made} looks for one deployment that waited four seconds");
}

#[test]
fn a_redirect_on_the_health_path_is_named() {
    fails("redirect", spec(), "health_redirect", "no redirect to HTTPS");
}

#[test]
fn an_app_that_listens_on_loopback_only_is_told_so() {
    fails("loopback", spec(), "loopback_only", "0.0.0.0:8080");
}

#[test]
fn an_app_on_another_port_is_told_which() {
    fails("wrong-port", spec(), "wrong_port", "internal_port=9999");
}

#[test]
fn an_app_that_does_not_listen_is_told_so() {
    fails("no-listen", spec(), "port_closed", "$PORT");
}

#[test]
fn an_app_that_uses_too_much_memory_is_shown_as_out_of_memory() {
    fails("oom", spec(), "oom_killed", "resources.memory");
}

#[test]
fn an_app_that_writes_to_its_root_is_told_the_one_setting() {
    fails("write-root", spec(), "exited", "security.read_only=false");
}

#[test]
fn an_app_that_misses_a_variable_is_told_which() {
    fails("need-env", spec(), "exited", "slipway env set");
}

#[test]
fn an_unknown_image_is_refused_and_nothing_is_written() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let problem = platform.deploy("nope", "no-such-tag").expect(422);
    assert_eq!(problem["code"], "image_not_found", "{problem}");
    assert_eq!(platform.call("GET", "/v1/apps/nope", None).status, 404);
}

#[test]
fn a_wrong_registry_password_is_refused_and_says_what_to_do() {
    let platform = Platform::start();
    let body = json!({"username": "ci", "password": "wrong"});
    platform.call("PUT", &format!("/v1/registries/{}", registry()), Some(&body));
    let problem = platform.deploy("nope", "1").expect(422);
    assert_eq!(problem["code"], "registry_unauthorized", "{problem}");
    assert!(
        problem["detail"].as_str().is_some_and(|d| d.contains("registries")),
        "{problem}"
    );
}

#[test]
fn a_registry_that_is_away_is_503() {
    let platform = Platform::start();
    let problem = platform
        .call("POST", "/v1/deploy?image=127.0.0.1:1/team/web:1&wait=5s", None)
        .expect(503);
    assert_eq!(problem["code"], "registry_unavailable", "{problem}");
}

#[test]
fn an_image_for_another_platform_is_refused() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let problem = platform.deploy("nope", "arm64").expect(422);
    assert_eq!(problem["code"], "image_platform", "{problem}");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|d| d.contains("arm64") && d.contains("amd64")),
        "{problem}"
    );
}

#[test]
fn a_missing_required_secret_stops_a_deploy_before_it_starts() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("needs", &json!({"secrets": {"required": ["DATABASE_URL"]}}));
    let problem = platform.deploy("needs", "1").expect(422);
    assert_eq!(problem["code"], "missing_secrets", "{problem}");
    assert!(
        problem["detail"].as_str().is_some_and(|d| d.contains("DATABASE_URL")),
        "{problem}"
    );
    assert_eq!(platform.get("/v1/apps/needs/deployments")["items"], json!([]));
}

#[test]
fn without_the_engine_a_deploy_is_refused_and_running_apps_are_listed_as_unknown() {
    let mut options = crate::platform::Options::default();
    options
        .variables
        .push(("SLIPWAY_DOCKER_HOST", "unix:///nonexistent/docker.sock".into()));
    let platform = Platform::with(options);
    let path = format!("/v1/deploy?image={}&app=web", app_image("1"));
    let problem = platform.call("POST", &path, None).expect(503);
    assert_eq!(problem["code"], "engine_unavailable", "{problem}");
}

#[test]
fn a_full_disk_stops_the_pull_and_says_so() {
    let mut options = crate::platform::Options::default();
    options.variables.push(("SLIPWAY_DISK_FREE_MIN", "100%".into()));
    let platform = Platform::with(options);
    platform.log_in_to_registry();
    let reference = app_image("floor");
    // Whatever an earlier run left would make the pull unnecessary.
    let digests = docker(&["images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"]);
    for line in digests
        .lines()
        .filter(|l| l.starts_with(reference.trim_end_matches(":floor")) && l.contains("@sha256:"))
    {
        std::process::Command::new("docker")
            .args(["image", "rm", line])
            .output()
            .expect("docker runs");
    }
    let path = format!("/v1/deploy?image={reference}&app=full&wait=60s");
    let failed = platform.call("POST", &path, None).expect(422);
    assert_eq!(failed["deployment"]["reason"]["code"], "disk_full", "{failed}");
    until("nothing is left", || containers("full").is_empty().then_some(()));
}

#[test]
fn a_port_in_use_and_a_directory_that_cannot_be_written_are_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let mut options = crate::platform::Options::default();
    options.variables.push(("SLIPWAY_HTTPS_LISTEN", address.clone()));
    let platform = Platform::prepare(options);
    let output = platform.command(&["up"]).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&address) && text.contains("SLIPWAY_HTTPS_LISTEN"),
        "{text}"
    );

    let output = platform.command(&["proxy"]).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && text.contains(&address) && text.contains("with SLIPWAY_HTTPS_LISTEN"),
        "{text}"
    );

    let fresh = platform.data().join("fresh");
    let output = platform
        .command(&["up", "--detach"])
        .env("SLIPWAY_DATA_DIR", &fresh)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("SLIPWAY_HTTPS_LISTEN") && !fresh.exists(), "{text}");

    let file = platform.data().join("a-file");
    std::fs::write(&file, "").expect("our own directory");
    let output = platform
        .command(&["up"])
        .env("SLIPWAY_DATA_DIR", file.join("below"))
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("SLIPWAY_DATA_DIR"), "{text}");
}

#[test]
fn f35_a_pool_of_networks_that_is_used_up_is_told_and_a_deleted_app_gives_its_own_back() {
    let mut platform = Platform::prepare(crate::platform::Options::default());
    let name = "SLIPWAY_NETWORK_POOL";
    let all = platform
        .variables()
        .iter()
        .find(|(n, _)| n == name)
        .expect("a pool")
        .1
        .clone();
    platform.set(name, all.replace("/20", "/25"));
    platform.up();
    platform.log_in_to_registry();
    for app in ["one", "two", "three"] {
        platform.app(app, &json!({"resources": {"memory": "64MiB"}}));
    }
    platform.deploy("one", "1").expect(200);
    platform.deploy("two", "1").expect(200);
    let failed = platform.deploy("three", "1").expect(422);
    let reason = &failed["deployment"]["reason"];
    assert_eq!(reason["code"], "network_pool_used_up", "{failed}");
    assert!(
        reason["hint"].as_str().is_some_and(|hint| hint.contains(name)),
        "{failed}"
    );
    assert!(containers("three").is_empty());
    platform.call("DELETE", "/v1/apps/one", None).expect(204);
    until("its network is free", || containers("one").is_empty().then_some(()));
    until("the other one is deployed", || {
        (platform.deploy("three", "1").status == 200).then_some(())
    });
    assert_eq!(platform.visit("two.apps.localhost", "/echo").status, 200);
}
