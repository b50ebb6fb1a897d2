//! The private Postgres on a machine that has an engine and no PostgreSQL: out of an image, with the same promises.

use std::collections::BTreeMap;

use serde_json::json;
use slipway_server::config::{Config, Sources};
use slipway_server::up::{self, UpConfig};
use tokio_util::sync::CancellationToken;

use crate::platform::{Options, Platform, docker, until, wait};

/// An image of PostgreSQL that the test scripts build.
const IMAGE: &str = "slipway-test/postgres:1";

fn without_postgres(image: &str) -> Platform {
    Platform::prepare(Options {
        private_postgres: true,
        variables: vec![("SLIPWAY_POSTGRES_IMAGE", image.to_owned())],
    })
}

fn config(platform: &Platform) -> UpConfig {
    let variables: BTreeMap<String, String> = platform.variables().iter().cloned().collect();
    let is_root = rustix::process::geteuid().is_root();
    let config = Config::load(Sources {
        variables: variables.clone(),
        is_root,
        ..Sources::default()
    });
    // The children read their settings from flags here, since this process's own environment is not theirs.
    let arguments = variables.iter().flat_map(|(name, value)| {
        let flag = name.trim_start_matches("SLIPWAY_").to_lowercase().replace('_', "-");
        [format!("--{flag}"), value.clone()]
    });
    UpConfig {
        config: config.expect("the configuration is right"),
        program: env!("CARGO_BIN_EXE_slipway").into(),
        arguments: arguments.collect(),
        postgres_places: Vec::new(),
        is_root,
        log: None,
        begun: CancellationToken::new(),
    }
}

/// Runs the platform while `during` looks at it, then stops it.
fn run(platform: &mut Platform, during: impl FnOnce(&mut Platform)) {
    let stop = CancellationToken::new();
    let up = config(platform);
    std::thread::scope(|scope| {
        let stopped = stop.clone();
        let running = scope.spawn(move || wait(up::run(up, stopped)));
        // Stopped also when a check fails, so that its failure is seen.
        let guard = stop.drop_guard();
        platform.ready();
        during(platform);
        drop(guard);
        running.join().expect("no panic").expect("it stops when told to");
    });
}

/// Containers of this platform's database.
fn database_containers(platform: &Platform) -> Vec<String> {
    let directory = platform.data().join("postgres").display().to_string();
    let filter = format!("label=slipway.platform-files={directory}");
    let text = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn without_postgresql_here_the_database_runs_in_a_container_and_keeps_its_data() {
    let mut platform = without_postgres(IMAGE);
    run(&mut platform, |platform| {
        platform
            .call("POST", "/v1/apps", Some(&json!({"name": "kept"})))
            .expect(201);
        let found = database_containers(platform);
        assert_eq!(found.len(), 1, "one server, and no helper is left");
        let shown =
            "{{.HostConfig.NetworkMode}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}";
        let text = docker(&["inspect", "--format", shown, &found[0]]);
        assert!(text.starts_with("none true [ALL] "), "{text}");
        assert!(!text.contains(" 0:"), "not as root: {text}");

        docker(&["kill", &found[0]]);
        until("another server answers", || {
            let answer = platform.call("GET", "/v1/apps", None);
            let other = database_containers(platform);
            (answer.status == 200 && !other.contains(&found[0])).then_some(())
        });
    });
    assert_eq!(
        database_containers(&platform),
        Vec::<String>::new(),
        "a clean stop leaves nothing"
    );
    run(&mut platform, |platform| {
        assert_eq!(platform.get("/v1/apps/kept")["name"], "kept");
        let dumps = platform.data().join("dumps");
        until("a dump was written", || {
            let entries = std::fs::read_dir(&dumps).ok()?;
            let mut whole = entries
                .flatten()
                .filter(|e| e.file_name().to_string_lossy().ends_with(".dump"));
            whole.next()
        });
    });
}

#[test]
fn an_image_that_cannot_be_had_says_what_to_install_or_set() {
    let platform = without_postgres("127.0.0.1:1/nobody/postgres:17");
    let error = wait(up::run(config(&platform), CancellationToken::new()));
    let text = error.expect_err("there is no such registry").to_string();
    for part in [
        "127.0.0.1:1/nobody/postgres:17",
        "SLIPWAY_POSTGRES_IMAGE",
        "apt-get install postgresql",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}
