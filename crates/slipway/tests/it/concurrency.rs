//! Many at once: callers of one environment, and control planes on one database.

use std::net::TcpListener;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::platform::{Platform, app_image, containers, docker, signal, until};

fn spec() -> Value {
    json!({"health": {"path": "/healthz", "interval": "100ms"}, "resources": {"memory": "64MiB"},
           "deploy": {"drain_timeout": "2s", "kill_timeout": "1s"}})
}

#[test]
fn f05_of_fifty_deploys_at_once_the_last_acknowledged_wins_and_the_others_are_superseded() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("rush", &spec());
    platform.deploy("rush", "1").expect(200);
    std::thread::scope(|scope| {
        for n in 0..50 {
            let platform = &platform;
            scope.spawn(move || {
                let tag = if n % 2 == 0 { "1" } else { "2" };
                let path = format!("/v1/deploy?image={}&app=rush", app_image(tag));
                platform.call("POST", &path, None).expect(202);
            });
        }
    });
    let all = until("every deployment has ended", || {
        let all = platform.get("/v1/apps/rush/deployments?limit=200")["items"].clone();
        let items = all.as_array().expect("items");
        items.iter().all(|d| !d["finished_at"].is_null()).then(|| items.clone())
    });
    assert_eq!(all.len(), 51);
    let (last, others) = all.split_first().expect("there are some");
    assert_eq!(
        (&last["release"], &last["state"]),
        (&json!(51), &json!("succeeded")),
        "{last}"
    );
    // One that came through before the next was accepted has succeeded; none has failed and none is forgotten.
    let ended = |d: &Value| d["state"] == "superseded" || d["state"] == "succeeded";
    assert!(others.iter().all(ended), "{others:#?}");
    assert_eq!(
        platform.visit("rush.apps.localhost", "/echo").expect(200)["release"],
        "51"
    );
    until("one instance is left", || (containers("rush").len() == 1).then_some(()));
}

#[test]
fn f05_deploy_rollback_scale_and_restart_at_once_end_in_what_was_asked_last() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("mixed", &spec());
    platform.deploy("mixed", "1").expect(200);
    platform.deploy("mixed", "2").expect(200);
    std::thread::scope(|scope| {
        let deploy = format!("/v1/deploy?image={}&app=mixed", app_image("1"));
        for n in 0..24 {
            let (platform, deploy) = (&platform, deploy.clone());
            scope.spawn(move || {
                let (path, body) = match n % 4 {
                    0 => (deploy.as_str(), None),
                    1 => ("/v1/apps/mixed/rollback", Some(json!({}))),
                    2 => ("/v1/apps/mixed/scale", Some(json!({"count": 1 + n % 3}))),
                    _ => ("/v1/apps/mixed/restart", Some(json!({}))),
                };
                let answer = platform.call("POST", path, body.as_ref());
                assert!(
                    [202, 204, 409].contains(&answer.status),
                    "{path}: {} {}",
                    answer.status,
                    answer.text
                );
            });
        }
    });
    let newest = until("the last one has ended", || {
        let newest = platform.get("/v1/apps/mixed/deployments?limit=1")["items"][0].clone();
        (!newest["finished_at"].is_null()).then_some(newest)
    });
    assert_eq!(newest["state"], "succeeded", "{newest}");
    // A rollback takes over instances of the same contents, which keep the number they were started under.
    let alike = platform.sql(&format!(
        "select r.number from releases r join releases n on coalesce(n.same_as, n.id) = coalesce(r.same_as, r.id)
         where n.number = {}",
        newest["release"]
    ));
    let wanted = platform.get("/v1/apps/mixed/spec")["spec"]["scale"]["min"]
        .as_u64()
        .expect("a number");
    until("only what was asked last runs", || {
        let all = containers("mixed");
        let label = "{{index .Config.Labels \"slipway.release\"}}";
        let own = |id: &str| {
            let label = docker(&["inspect", "--format", label, id]);
            let number = label.trim().trim_start_matches('v');
            alike.lines().any(|line| line == number)
        };
        let wanted = usize::try_from(wanted).expect("few");
        (all.len() == wanted && all.iter().all(|(id, _)| own(id))).then_some(())
    });
}

/// A control plane beside that of a platform, on the same database and with the same keys.
struct Second {
    child: Child,
    log: std::path::PathBuf,
}

impl Second {
    fn beside(platform: &Platform) -> Self {
        Self::with(platform, &[])
    }

    fn with(platform: &Platform, variables: &[(&str, &str)]) -> Self {
        let dir = platform.data();
        let log = dir.join("second.log");
        let file = std::fs::File::create(&log).expect("a log");
        let free = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.local_addr().expect("its address").to_string()
        };
        let socket = format!("unix://{}", dir.join("second.sock").display());
        let mut command = platform.command(&["serve", "--roles", "scheduler"]);
        command
            .env("SLIPWAY_ADMIN_LISTEN", free())
            .env("SLIPWAY_CONTROL_URL", socket)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(file);
        let child = command.spawn().expect("the binary runs");
        Self { child, log }
    }

    fn has_said(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.log).unwrap_or_default().contains(text)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn f10_a_leader_that_was_paused_is_refused_when_it_goes_on_and_nothing_is_done_twice() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("fenced", &spec());
    platform.deploy("fenced", "1").expect(200);
    let second = Second::beside(&platform);
    let leader = platform.child_pid("serve").expect("the control plane");
    signal(leader, "STOP");
    until("the second one leads", || {
        second.has_said("lease.acquired").then_some(())
    });

    let before = containers("fenced").remove(0).0;
    docker(&["rm", "--force", &before]);
    let replaced = until("the second one replaces what was removed", || {
        let all = containers("fenced");
        (all.len() == 1 && all[0].1 == "running").then(|| all[0].0.clone())
    });

    signal(leader, "CONT");
    until("the first one finds that it does not lead any more", || {
        platform.log().contains("lease.lost").then_some(())
    });
    until("visitors reach the new instance", || {
        (platform.visit("fenced.apps.localhost", "/echo").status == 200).then_some(())
    });
    let after: Vec<String> = containers("fenced").into_iter().map(|(id, _)| id).collect();
    assert_eq!(after, [replaced], "neither removed nor made twice");
}

/// Where Debian's package `faketime` has what changes a process's clock.
fn clock_library() -> String {
    let places = std::fs::read_dir("/usr/lib").expect("a system's libraries").flatten();
    let found = places
        .map(|place| place.path().join("faketime/libfaketime.so.1"))
        .find(|library| library.exists());
    found.expect("install faketime").display().to_string()
}

#[test]
fn f11_a_control_plane_whose_clock_is_ahead_does_not_take_a_lease_that_is_held() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("timely", &spec());
    let library = clock_library();
    let ahead = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME", "+10m"),
        // What measures spans goes on as it does.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let second = Second::with(&platform, &ahead);
    let lease = |column: &str| platform.sql(&format!("select {column} from leases where name = 'scheduler'"));
    until("the second one runs", || second.has_said("lease.held").then_some(()));
    let epoch = lease("epoch");
    for _ in 0..3 {
        let before = lease("expires_at");
        until("the leader has prolonged its lease", || {
            (lease("expires_at") != before).then_some(())
        });
    }
    platform.deploy("timely", "1").expect(200);
    assert_eq!(lease("epoch"), epoch, "nobody took over");
    assert!(!second.has_said("lease.acquired"));
}
