//! Control plane and proxy as processes of their own, and what the operator's commands make of them; and settings that
//! change.

use std::process::Child;

use serde_json::json;

use crate::platform::{Options, Platform, containers, signal, until};

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn stop(&mut self) {
        signal(self.0.id(), "TERM");
        until("it ends", || self.0.try_wait().expect("a child of ours"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn in_parts_the_platform_works_and_the_operators_commands_know_that_it_runs() {
    let platform = Platform::prepare(Options::default());
    let socket = format!("unix://{}", platform.data().join("control.sock").display());
    let proxy_dir = tempfile::tempdir().expect("a directory");
    let begin = |arguments: &[&str], data: &std::path::Path| {
        let mut command = platform.command(arguments);
        command
            .env("SLIPWAY_CONTROL_URL", &socket)
            .env("SLIPWAY_DATA_DIR", data);
        let log = std::fs::File::create(proxy_dir.path().join(format!("{}.log", arguments[0]))).expect("a file");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        Process(command.spawn().expect("the binary runs"))
    };
    let mut serve = begin(&["serve"], platform.data());
    let mut proxy = begin(&["proxy"], proxy_dir.path());
    until("both are ready", || platform.is_ready().then_some(()));
    platform.log_in_to_registry();
    platform.app("apart", &json!({"health": {"path": "/healthz"}}));
    let deployed = platform.deploy("apart", "1").expect(200);
    let port = format!(":{}", platform.https.port());
    assert!(
        deployed["url"].as_str().is_some_and(|url| url.ends_with(&port)),
        "{deployed}"
    );
    assert_eq!(platform.visit("apart.apps.localhost", "/healthz").status, 200);

    let (code, said, err) = platform.cli(&["doctor"]);
    assert!(
        said.contains("runs in parts") && said.contains("is ready"),
        "{code} {said}{err}"
    );
    assert!(!said.contains("in use by another"), "{said}");
    let (code, said, err) = platform.cli(&["uninstall", "--delete-data", "--yes"]);
    assert!(code == 1 && err.contains("still runs"), "{said}{err}");
    assert_eq!(containers("apart").len(), 1, "nothing was removed");
    assert_eq!(platform.visit("apart.apps.localhost", "/healthz").status, 200);
    serve.stop();
    proxy.stop();
    let (code, said, err) = platform.cli(&["uninstall", "--delete-data", "--yes"]);
    assert_eq!(code, 0, "{said}{err}");
    assert!(containers("apart").is_empty());
}

#[test]
fn a_second_start_with_other_settings_says_what_differs_and_a_third_after_a_stop_takes_them_into_use() {
    let mut platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("moves", &json!({"health": {"path": "/healthz"}}));
    platform.deploy("moves", "1").expect(200);
    let (code, said, err) = platform.cli(&["up", "--detach"]);
    assert_eq!(code, 0, "the same settings: {said}{err}");
    let other = platform
        .command(&["up", "--detach"])
        .env("SLIPWAY_BASE_DOMAIN", "elsewhere.test")
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success(), "{said}");
    for part in ["base_domain is `apps.localhost`, not `elsewhere.test`", "slipway down"] {
        assert!(said.contains(part), "{part}: {said}");
    }

    platform.down();
    platform.set("SLIPWAY_BASE_DOMAIN", "elsewhere.test".into());
    platform.up();
    let app = platform.get("/v1/apps/moves");
    let url = app["environments"][0]["url"].as_str().expect("a URL");
    assert!(url.starts_with("https://moves.elsewhere.test:"), "{url}");
    until("the app answers below the new base domain", || {
        (platform.visit("moves.elsewhere.test", "/healthz").status == 200).then_some(())
    });
}
