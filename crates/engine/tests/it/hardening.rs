//! The hardened run defaults, looked at on a running container: in what the engine says of it, and from inside.

use std::net::SocketAddr;

use serde_json::{Value, json};
use slipway_domain::observed::InstanceState;
use slipway_domain::secret::Secret;
use slipway_domain::spec::RunAs;

use crate::place::{Place, docker, get, until};

fn inspected(id: &str) -> Value {
    let text = docker(&["inspect", id]);
    let mut all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    all.remove(0)
}

/// A file as the app sees it.
fn file(address: SocketAddr, path: &str) -> String {
    get(address, &format!("/file?path={path}")).unwrap_or_else(|| panic!("{path}: no answer"))
}

/// The first of these files that is there: control groups come in two kinds.
fn either(address: SocketAddr, paths: [&str; 2]) -> String {
    let found = paths.iter().map(|p| file(address, p));
    found
        .map(|text| text.trim().to_owned())
        .find(|text| !text.contains("No such file"))
        .unwrap_or_else(|| panic!("neither of {paths:?}"))
}

fn line<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let line = text.lines().find(|l| l.starts_with(start));
    let line = line.unwrap_or_else(|| panic!("no line {start} in {text}"));
    line[start.len()..].split_whitespace().collect()
}

#[tokio::test]
async fn the_engine_says_that_every_run_default_is_in_force() {
    let place = Place::with_network().await;
    let (instance, _) = place.serve(&place.group("").await).await;
    let found = inspected(&instance.id);
    let host = &found["HostConfig"];
    for (name, expected) in [
        ("Privileged", json!(false)),
        ("ReadonlyRootfs", json!(true)),
        ("CapDrop", json!(["ALL"])),
        ("Memory", json!(64 << 20)),
        ("MemorySwap", json!(64 << 20)),
        ("NanoCpus", json!(500_000_000)),
        ("PidsLimit", json!(64)),
        ("PublishAllPorts", json!(false)),
        ("Init", json!(true)),
        ("NetworkMode", json!(format!("slipway-{}", place.environment()))),
        ("Ulimits", json!([{"Name": "nofile", "Hard": 4096, "Soft": 4096}])),
        ("RestartPolicy", json!({"Name": "no", "MaximumRetryCount": 0})),
        (
            "LogConfig",
            json!({"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}),
        ),
        ("PidMode", json!("")),
        ("UTSMode", json!("")),
        ("UsernsMode", json!("")),
    ] {
        assert_eq!(host[name], expected, "{name}");
    }
    for name in ["CapAdd", "Binds", "Devices", "DeviceRequests", "VolumesFrom"] {
        assert!(is_empty(&host[name]), "{name}: {}", host[name]);
    }
    assert!(is_empty(&host["PortBindings"]) && is_empty(&found["Mounts"]), "{found}");
    assert!(["private", "none"].contains(&host["IpcMode"].as_str().unwrap_or_default()));
    let options = host["SecurityOpt"].as_array().expect("security options");
    assert!(
        options
            .iter()
            .any(|o| o.as_str().is_some_and(|o| o.starts_with("no-new-privileges")))
    );
    assert_eq!(found["Config"]["User"], "65532:65532");
    assert_eq!(found["Config"]["StopSignal"], "SIGTERM");
}

fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
}

#[tokio::test]
async fn the_app_finds_itself_without_rights() {
    let place = Place::with_network().await;
    let (_, address) = place.serve(&place.group("").await).await;
    let status = file(address, "/proc/self/status");
    assert_eq!(line(&status, "Uid:"), ["65532"; 4]);
    assert_eq!(line(&status, "Gid:"), ["65532"; 4]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(line(&status, set), ["0000000000000000"], "{set}");
    }
    assert_eq!(line(&status, "NoNewPrivs:"), ["1"]);
    // The engine's first process reaps and passes signals on; the app is its child.
    assert_ne!(line(&status, "Pid:"), ["1"]);
    let limits = file(address, "/proc/self/limits");
    assert_eq!(line(&limits, "Max open files")[..2], ["4096", "4096"]);
}

#[tokio::test]
async fn the_app_can_write_to_tmp_alone() {
    let place = Place::with_network().await;
    let group = place.group("").await;
    let (instance, address) = place.serve(&group).await;
    let refused = file(address, "/state&write=x");
    assert!(refused.contains("Read-only file system"), "{refused}");
    assert_eq!(file(address, "/tmp/state&write=x"), "written\n");
    assert_eq!(file(address, "/tmp/state"), "x");
    let mounts = file(address, "/proc/self/mounts");
    let of = |path: &str| {
        let mut found = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>());
        let found = found.find(|words| words[1] == path);
        let words = found.unwrap_or_else(|| panic!("{path} is not mounted: {mounts}"));
        (
            words[2].to_owned(),
            words[3].split(',').map(str::to_owned).collect::<Vec<_>>(),
        )
    };
    assert!(of("/").1.contains(&"ro".to_owned()), "{mounts}");
    let (kind, options) = of("/tmp");
    assert_eq!(kind, "tmpfs");
    for option in ["rw", "noexec", "nosuid", "nodev", "size=65536k"] {
        assert!(options.contains(&option.to_owned()), "{option}: {options:?}");
    }

    // The image has no `/tmp`; one that was started again still has one that it can write to.
    docker(&["kill", &instance.id]);
    until("it has ended", async || {
        let found = place.only().await;
        matches!(found.state, InstanceState::Exited { .. }).then_some(())
    })
    .await;
    let (again, address) = place.serve(&group).await;
    assert_eq!(again.id, instance.id);
    assert_eq!(file(address, "/tmp/state&write=y"), "written\n");
}

#[tokio::test]
async fn the_kernel_holds_the_app_to_its_bounds() {
    let place = Place::with_network().await;
    let (_, address) = place.serve(&place.group("").await).await;
    let memory = [
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory.max",
    ];
    assert_eq!(either(address, memory), (64 << 20).to_string());
    assert_eq!(
        either(address, ["/sys/fs/cgroup/pids/pids.max", "/sys/fs/cgroup/pids.max"]),
        "64"
    );
    let quota = either(
        address,
        ["/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu.max"],
    );
    // Half a core of the usual period of 100 ms, which the newer kind adds.
    assert_eq!(quota.trim_end_matches(" 100000"), "50000");
}

#[tokio::test]
async fn secrets_reach_the_app_and_no_label() {
    let place = Place::with_network().await;
    let mut group = place.group("").await;
    group
        .secrets
        .insert("TOKEN".to_owned(), Secret::new("open-sesame".into()));
    let (instance, address) = place.serve(&group).await;
    let environment = get(address, "/env").expect("an answer");
    assert!(environment.lines().any(|l| l == "TOKEN=open-sesame"), "{environment}");
    let labels = inspected(&instance.id)["Config"]["Labels"].to_string();
    assert!(
        labels.contains("slipway.release-id") && !labels.contains("sesame"),
        "{labels}"
    );
}

#[tokio::test]
async fn a_waiver_opens_what_it_names_and_nothing_else() {
    let place = Place::with_network().await;
    let mut group = place.group("").await;
    group.read_only = false;
    group.user = RunAs::Image;
    let (instance, address) = place.serve(&group).await;
    let found = inspected(&instance.id);
    let image = docker(&[
        "image",
        "inspect",
        "--format",
        "{{.Config.User}}",
        &group.image.engine_reference(),
    ]);
    assert_eq!(found["Config"]["User"], image);
    assert_eq!(found["HostConfig"]["ReadonlyRootfs"], false);
    assert_eq!(found["HostConfig"]["CapDrop"], json!(["ALL"]));
    let status = file(address, "/proc/self/status");
    assert_eq!(line(&status, "CapBnd:"), ["0000000000000000"]);
    assert_eq!(line(&status, "NoNewPrivs:"), ["1"]);
}
