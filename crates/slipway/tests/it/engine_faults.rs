//! What becomes of apps and deploys when the container engine is restarted, killed, or the whole machine goes down.

use serde_json::{Value, json};
use slipway_chaos::faults::Moment;
use slipway_chaos::faults::Script;
use slipway_chaos::faults::http::HttpProxy;

use crate::platform::{Options, Platform, app_image, serves, signal, until, visitors, wait};
use crate::private_engine::PrivateEngine;

fn spec() -> Value {
    json!({"health": {"path": "/healthz", "interval": "100ms", "deadline": "30s"}, "resources": {"memory": "64MiB"},
           "deploy": {"bake_time": "0s", "drain_timeout": "2s", "kill_timeout": "1s"}})
}

fn platform_on(url: String) -> Platform {
    let platform = Platform::with(Options {
        variables: vec![("SLIPWAY_DOCKER_HOST", url)],
        ..Options::default()
    });
    platform.log_in_to_registry();
    platform
}

#[test]
fn f30_an_engine_that_restarts_with_live_restore_is_not_noticed_and_its_containers_are_kept() {
    let mut engine = PrivateEngine::start(true);
    let platform = platform_on(engine.url());
    platform.app("steady", &spec());
    platform.deploy("steady", "1").expect(200);
    let before = engine.containers("steady");
    let ((), lost) = visitors(&platform, "steady", || {
        engine.stop();
        engine.up();
        engine.kill();
        engine.up();
    });
    assert_eq!(lost, 0, "no visitor noticed");
    assert_eq!(engine.containers("steady"), before, "nothing was made anew");
    platform.deploy("steady", "2").expect(200);
    drop(platform);
}

#[test]
fn f30_an_engine_killed_at_any_moment_of_a_deploy_only_makes_it_longer() {
    let mut engine = PrivateEngine::start(true);
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("engine.sock");
    let proxy = wait(async { HttpProxy::start(&socket, &engine.socket(), Script::new()) }).expect("a proxy");
    let platform = platform_on(format!("unix://{}", socket.display()));
    platform.app("shaken", &spec());
    platform.deploy("shaken", "1").expect(200);
    platform.deploy("shaken", "2").expect(200);
    let before = proxy.control().calls();
    platform.deploy("shaken", "1").expect(200);
    until("the old instance is gone", || {
        (engine.containers("shaken").len() == 1).then_some(())
    });
    let calls = proxy.control().calls() - before;
    let ((), lost) = visitors(&platform, "shaken", || {
        // The first calls resolve the image: a caller whose engine is away then is told to come again.
        for call in (5..calls).step_by(usize::try_from(calls / 5).expect("few").max(1)) {
            let tag = if call % 2 == 0 { "2" } else { "1" };
            let held = proxy.control().at_call(proxy.control().calls() + call, Moment::Before);
            std::thread::scope(|scope| {
                let deploy = scope.spawn(|| platform.deploy("shaken", tag));
                // A round may make fewer calls than the first: then the engine goes once it has ended.
                let held = wait(async { tokio::time::timeout(std::time::Duration::from_secs(5), held).await });
                engine.kill();
                engine.up();
                drop(held);
                let ended = deploy.join().expect("no panic");
                let is_told = ended.status == 503 && ended.text.contains("engine_unavailable");
                assert!(ended.status == 200 || is_told, "at call {call}: {}", ended.text);
            });
        }
    });
    assert_eq!(lost, 0, "no visitor noticed");
    until("one instance is left", || {
        (engine.containers("shaken").len() == 1).then_some(())
    });
}

#[test]
fn f30_an_engine_that_restarts_without_live_restore_gets_its_apps_back() {
    let mut engine = PrivateEngine::start(false);
    let platform = platform_on(engine.url());
    platform.app("fallen", &spec());
    platform.deploy("fallen", "1").expect(200);
    engine.stop();
    engine.up();
    let page = until("the app is back", || serves(&platform, "fallen"));
    assert_eq!(page["release"], "1");
    let newest = &platform.get("/v1/apps/fallen/deployments?limit=1")["items"][0];
    assert_eq!((&newest["release"], &newest["state"]), (&json!(1), &json!("succeeded")));
}

#[test]
fn f34_after_a_power_cut_everything_that_should_run_is_back_and_what_was_stopped_is_not() {
    let mut engine = PrivateEngine::start(true);
    let mut platform = platform_on(engine.url());
    for app in ["plain", "halted", "midway"] {
        platform.app(app, &spec());
        platform.deploy(app, "1").expect(200);
    }
    platform
        .call("POST", "/v1/apps/halted/stop?wait=30s", Some(&json!({})))
        .expect(200);
    // One is in the middle of a deploy.
    let accepted = platform.call("POST", &format!("/v1/deploy?image={}&app=midway", app_image("2")), None);
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    let all: Vec<u32> = [
        Some(platform.pid()),
        platform.child_pid("serve"),
        platform.child_pid("proxy"),
    ]
    .into_iter()
    .flatten()
    .collect();
    engine.power_cut();
    for pid in all {
        signal(pid, "KILL");
    }
    platform.ended();
    engine.up();
    platform.up();
    until("what ran serves again", || serves(&platform, "plain"));
    until("the deploy went on", || {
        let newest = platform.get("/v1/apps/midway/deployments?limit=1")["items"][0].clone();
        (newest["state"] == "succeeded").then_some(())
    });
    assert_eq!(serves(&platform, "midway").expect("served")["release"], "2");
    assert!(engine.containers("halted").is_empty(), "it was stopped and stays so");
}

/// An image with a layer of so many MiB, in the test registry and not on the engine.
fn big_image(engine: &PrivateEngine, tag: &str, mib: u64) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let mut random = std::fs::File::open("/dev/urandom").expect("random bytes");
    let mut layer = std::fs::File::create(dir.path().join("layer")).expect("a file");
    std::io::copy(&mut std::io::Read::take(&mut random, mib << 20), &mut layer).expect("written");
    std::fs::write(
        dir.path().join("Dockerfile"),
        format!("FROM {}\nCOPY layer /layer\n", app_image("1")),
    )
    .expect("written");
    let name = format!(
        "{}/slipway-test/big:{}-{tag}",
        crate::platform::registry(),
        std::process::id()
    );
    let (user, password) = crate::platform::registry_login();
    engine.docker(&[
        "login",
        "--username",
        &user,
        "--password",
        &password,
        &crate::platform::registry(),
    ]);
    engine.docker(&["build", "--quiet", "--tag", &name, &dir.path().display().to_string()]);
    engine.docker(&["push", "--quiet", &name]);
    engine.docker(&["rmi", "--force", &name, &app_image("1")]);
    name
}

#[test]
fn f42_a_pull_that_is_cut_short_is_begun_again_and_leaves_no_half_layer() {
    let mut engine = PrivateEngine::start(true);
    // It takes a moment to pull.
    let image = big_image(&engine, "1", 256);
    let platform = platform_on(engine.url());
    platform.app("heavy", &spec());
    let begun = platform.call("POST", &format!("/v1/deploy?image={image}&app=heavy"), None);
    assert_eq!(begun.status, 202, "{}", begun.text);
    let partial = engine.data().join("tmp");
    let half = || {
        let entries = std::fs::read_dir(&partial).into_iter().flatten().flatten();
        entries
            .filter(|e| e.file_name().to_string_lossy().starts_with("GetImageBlob"))
            .count()
    };
    until("the pull is under way", || (half() > 0).then_some(()));
    engine.kill();
    signal(platform.child_pid("serve").expect("the control plane"), "KILL");
    assert!(half() > 0, "it was cut short");
    engine.up();
    until("the deploy went on to its end", || {
        if !platform.is_ready() {
            return None;
        }
        let newest = platform.get("/v1/apps/heavy/deployments?limit=1")["items"][0].clone();
        assert_ne!(newest["state"], "failed", "{newest:#}");
        (newest["state"] == "succeeded").then_some(())
    });
    assert_eq!(half(), 0, "what was half pulled is gone");
}

#[test]
fn a_pull_for_which_there_is_no_room_makes_room_of_what_nobody_needs_first() {
    let engine = PrivateEngine::with_disk_of(400);
    let (first, second) = (big_image(&engine, "1", 80), big_image(&engine, "2", 80));
    // What the build left is not ours to remove.
    engine.docker(&["builder", "prune", "--force", "--all"]);
    engine.docker(&["image", "prune", "--force", "--all"]);
    let platform = Platform::with(Options {
        variables: vec![
            ("SLIPWAY_DOCKER_HOST", engine.url()),
            ("SLIPWAY_DISK_FREE_MIN", "85%".into()),
        ],
        ..Options::default()
    });
    platform.log_in_to_registry();
    for app in ["brief", "lasting"] {
        platform.app(app, &spec());
    }
    let deploy =
        |app: &str, image: &str| platform.call("POST", &format!("/v1/deploy?image={image}&app={app}&wait=60s"), None);
    let digest = deploy("brief", &first).expect(200)["digest"]
        .as_str()
        .expect("a digest")
        .to_owned();
    let listed = || engine.docker(&["images", "--digests", "--format", "{{.Digest}}"]);
    let refused = deploy("lasting", &second).expect(422);
    assert_eq!(refused["deployment"]["reason"]["code"], "disk_full", "{refused}");
    assert!(listed().contains(&digest), "it is needed");

    // A container of somebody else's keeps the image from going with its app.
    let name = first.rsplit_once(':').expect("a tag").0;
    let foreign = engine.docker(&["create", &format!("{name}@{digest}")]);
    platform.call("DELETE", "/v1/apps/brief", None);
    until("the app is gone", || {
        engine.containers("brief").is_empty().then_some(())
    });
    until("its image was looked at", || {
        (platform.sql("select count(*) from orphan_images").trim() == "1").then_some(())
    });
    let refused = deploy("lasting", &second).expect(422);
    assert_eq!(refused["deployment"]["reason"]["code"], "disk_full", "{refused}");
    engine.docker(&["rm", foreign.trim()]);
    deploy("lasting", &second).expect(200);
    assert!(!listed().contains(&digest), "it made room");
    platform.visit("lasting.apps.localhost", "/echo").expect(200);
}
