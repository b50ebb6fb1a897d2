//! An engine of the newest form, played: it takes no version before 1.44, and its answers lack what the Docker Engine
//! API has taken away since 1.41 (version history of the API: `VirtualSize` with 1.44, `Container` of an image with
//! 1.45, `NetworkSettings.IPAddress` and its neighbours, `status` and `id` of events with 1.52).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use slipway_domain::image::Pin;
use slipway_domain::observed::InstanceState;
use slipway_domain::ports::{PullPolicy, ResolveError};
use slipway_engine::{Engine, EngineError};

use crate::place::{Place, soon};
use crate::played::Socket;

const ID: &str = "5f1c9a6f0b4d4e6f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f";
const RELEASE: &str = "rel_01kb0000000000000000000000";
const IMAGE: &str = "sha256:4c1d2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8a9b0c1d";

/// The versions an engine speaks.
#[derive(Clone, Copy)]
struct Speaks {
    release: &'static str,
    least: u32,
    most: u32,
}

const CURRENT: Speaks = Speaks {
    release: "29.1.0",
    least: 44,
    most: 52,
};
const OLD: Speaks = Speaks {
    release: "20.10.24",
    least: 12,
    most: 41,
};

impl Speaks {
    fn version(self) -> (u16, String) {
        let body = json!({
            "Version": self.release,
            "ApiVersion": format!("1.{}", self.most),
            "MinAPIVersion": format!("1.{}", self.least),
            "Os": "linux", "Arch": "amd64", "KernelVersion": "6.12.0", "GitCommit": "0", "GoVersion": "go1.25.3",
            "Components": [], "Platform": {"Name": "Docker Engine - Community"},
        });
        (200, body.to_string())
    }

    /// The path without the version, or how an engine refuses the version.
    fn path(self, target: &str) -> Result<&str, (u16, String)> {
        let Some(rest) = target.strip_prefix("/v1.") else {
            return Ok(target);
        };
        let (minor, _) = rest.split_once('/').expect("a path behind the version");
        let number: u32 = minor.parse().expect("a version");
        let (how, word, bound) = if number < self.least {
            ("old", "Minimum", self.least)
        } else if number > self.most {
            ("new", "Maximum", self.most)
        } else {
            return Ok(&rest[minor.len()..]);
        };
        let text = format!("client version 1.{minor} is too {how}. {word} supported API version is 1.{bound}");
        Err((400, json!({"message": text}).to_string()))
    }
}

fn labels(place: &Place) -> Value {
    json!({
        "slipway.team": place.owner.team.to_string(),
        "slipway.app": place.owner.app.to_string(),
        "slipway.environment": "production",
        "slipway.environment-id": place.environment().to_string(),
        "slipway.generation": "1",
        "slipway.epoch": "7",
        "slipway.role": "app",
        "slipway.release": "1",
        "slipway.release-id": RELEASE,
        "slipway.slot": "0",
        "slipway.port": "8080",
    })
}

fn container(place: &Place, state: &Value) -> Value {
    let network = format!("slipway-{}", place.environment());
    json!({
        "Id": ID,
        "Created": "2026-01-02T03:04:05.678901234Z",
        "Path": "/app", "Args": [], "Image": IMAGE, "Name": "/slipway-web-production-1-0", "RestartCount": 0,
        "Driver": "overlayfs", "Platform": "linux", "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "",
        "ImageManifestDescriptor": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": IMAGE, "size": 480},
        "State": state,
        "Config": {"Hostname": "5f1c9a6f0b4d", "User": "65532:65532", "Image": IMAGE, "Labels": labels(place)},
        "HostConfig": {"NetworkMode": network, "Memory": 67_108_864},
        "Mounts": [],
        "NetworkSettings": {
            "SandboxID": ID, "SandboxKey": "/var/run/docker/netns/5f1c9a6f0b4d", "Ports": {"8080/tcp": null},
            "Networks": {network: {
                "IPAMConfig": null, "Links": null, "Aliases": null, "MacAddress": "02:42:0a:60:00:02",
                "DriverOpts": null, "GwPriority": 0, "NetworkID": ID, "EndpointID": ID, "Gateway": "10.96.0.1",
                "IPAddress": "10.96.0.2", "IPPrefixLen": 28, "IPv6Gateway": "", "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0, "DNSNames": ["slipway-web-production-1-0", "5f1c9a6f0b4d"],
            }},
        },
    })
}

fn running() -> Value {
    json!({
        "Status": "running", "Running": true, "Paused": false, "Restarting": false, "OOMKilled": false, "Dead": false,
        "Pid": 4242, "ExitCode": 0, "Error": "", "StartedAt": "2026-01-02T03:04:06.5Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    })
}

fn image() -> Value {
    json!({
        "Id": IMAGE, "ParentId": "", "RepoDigests": [format!("registry.example.com/web@{IMAGE}")],
        // What was pulled by its digest is listed under it here too, with containerd's image store.
        "RepoTags": ["web:1", format!("registry.example.com/web@{IMAGE}")],
        "Created": 1_767_323_045, "Size": 1_310_720, "SharedSize": -1, "Labels": null, "Containers": 1,
        "Descriptor": {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": IMAGE, "size": 856},
    })
}

/// What an engine of the newest form answers to a path without its version.
fn answer(place: &Place, path: &str, state: &Value) -> Option<Value> {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    Some(match path {
        "/info" => json!({
            "ID": "c0ffee", "ServerVersion": "29.1.0", "OSType": "linux", "Architecture": "x86_64",
            "DockerRootDir": "/var/lib/docker", "LiveRestoreEnabled": true, "Driver": "overlayfs",
            "SystemTime": "2026-01-02T03:05:00.000000001Z", "CgroupVersion": "2", "CgroupDriver": "systemd",
            "FirewallBackend": {"Driver": "nftables"}, "DiscoveredDevices": [], "Containerd": {"Address": "/run/c.sock"},
        }),
        "/containers/json" => json!([{
            "Id": ID, "Names": ["/slipway-web-production-1-0"], "Image": "web", "ImageID": IMAGE, "Command": "/app",
            "Created": 1_767_323_045, "Ports": [], "Labels": labels(place), "State": "running",
            "Status": "Up 1 second", "HostConfig": {"NetworkMode": "x"}, "Mounts": [],
            "NetworkSettings": {"Networks": {}}, "Health": {"Status": "none", "FailingStreak": 0},
        }]),
        "/images/json" => json!([image()]),
        "/images/web:1/json" => json!({
            "Id": IMAGE, "RepoTags": ["web:1"], "RepoDigests": [], "Architecture": "amd64", "Os": "linux",
            "Size": 1_310_720, "RootFS": {"Type": "layers", "Layers": []}, "Config": {"Entrypoint": ["/app"]},
        }),
        "/networks" => json!([{
            "Name": "bridge", "Id": ID, "Scope": "local", "Driver": "bridge", "EnableIPv4": true, "EnableIPv6": false,
            "IPAM": {"Driver": "default", "Options": null, "Config": [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]},
            "Internal": false, "Attachable": false, "Ingress": false, "Options": {}, "Labels": {},
        }]),
        "/events" => json!({
            "Type": "container", "Action": "die", "scope": "local", "time": 1_767_323_100,
            "timeNano": 1_767_323_100_000_000_000_i64, "Actor": {"ID": ID, "Attributes": labels(place)},
        }),
        path if path == format!("/containers/{ID}/json") => container(place, state),
        path if path == format!("/containers/{ID}/stats") => json!({
            "id": ID, "name": "/x", "os_type": "linux", "read": "2026-01-02T03:05:00Z", "preread": "0001-01-01T00:00:00Z",
            "pids_stats": {"current": 3, "limit": 64}, "blkio_stats": {}, "num_procs": 0, "storage_stats": {},
            "cpu_stats": {"cpu_usage": {"total_usage": 9_000_000, "usage_in_kernelmode": 1, "usage_in_usermode": 2}},
            "memory_stats": {"usage": 1_048_576, "limit": 67_108_864, "stats": {"anon": 5, "inactive_file": 48_576}},
        }),
        _ => return None,
    })
}

/// An engine of the newest form whose only container is in this state.
fn current(place: &Arc<Place>, state: Value) -> Socket {
    let place = Arc::clone(place);
    Socket::playing(move |_, target| {
        if target == "/version" {
            return CURRENT.version();
        }
        match CURRENT.path(target) {
            Err(refused) => refused,
            Ok(path) => match answer(&place, path, &state) {
                Some(body) => (200, body.to_string()),
                None => (404, json!({"message": format!("page not found: {path}")}).to_string()),
            },
        }
    })
}

#[tokio::test]
async fn an_instance_is_seen_with_its_address() {
    let place = Arc::new(Place::new());
    let socket = current(&place, running());
    let found = socket
        .engine()
        .observe(Some(place.environment()))
        .await
        .expect("a look");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].id.as_str(), found[0].release.to_string().as_str()),
        (ID, RELEASE)
    );
    assert_eq!(found[0].address, Some("10.96.0.2:8080".parse().expect("an address")));
    let started_at = "2026-01-02T03:04:06.5Z".parse().expect("a time");
    assert_eq!(found[0].state, InstanceState::Running { started_at });
    let asked = socket.asked();
    assert!(
        asked[1..].iter().all(|line| line.starts_with("GET /v1.44/")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn an_ended_instance_tells_how() {
    let place = Arc::new(Place::new());
    let mut state = running();
    for (name, value) in [
        ("Status", json!("exited")),
        ("ExitCode", json!(137)),
        ("OOMKilled", json!(true)),
        ("FinishedAt", json!("2026-01-02T03:05:06Z")),
    ] {
        state[name] = value;
    }
    let found = current(&place, state).engine().observe(None).await.expect("a look");
    let expected = InstanceState::Exited {
        exit_code: 137,
        oom_killed: true,
        finished_at: Some("2026-01-02T03:05:06Z".parse().expect("a time")),
    };
    assert_eq!((&found[0].state, found[0].address), (&expected, None));
}

#[tokio::test]
async fn images_have_their_size_tags_and_digests() {
    let place = Arc::new(Place::new());
    let socket = current(&place, running());
    let engine = socket.engine();
    let all = engine.images().await.expect("a list");
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].id.as_str(), all[0].size_bytes), (IMAGE, 1_310_720));
    assert_eq!(all[0].tags, ["web:1"]);
    assert_eq!(all[0].repo_digests, [format!("registry.example.com/web@{IMAGE}")]);
    let reference = "web:1".parse().expect("a reference");
    let pin = engine.resolve(&reference, PullPolicy::Local, None).await;
    assert_eq!(
        pin,
        Ok(Pin::Local {
            id: IMAGE.parse().expect("a digest")
        })
    );
}

#[tokio::test]
async fn the_engine_itself_its_networks_use_and_events_are_understood() {
    let place = Arc::new(Place::new());
    let socket = current(&place, running());
    let engine = socket.engine();
    let info = engine.info().await.expect("an answer");
    assert_eq!(
        (
            info.version.as_str(),
            info.api_version.as_str(),
            info.architecture.as_str()
        ),
        ("29.1.0", "1.52", "amd64")
    );
    assert!(info.live_restore);
    assert_eq!(engine.subnets_in_use().await, Ok(vec!["172.17.0.0/16".to_owned()]));
    let usage = engine.usage(&[ID.to_owned()]).await;
    assert_eq!(usage.first().map(|(_, u)| u.memory_bytes), Some(1_000_000));
    let mut events = engine.events().await.expect("a stream");
    let event = soon("the hint", events.next()).await.expect("a hint");
    assert_eq!((event.environment, event.action.as_str()), (place.environment(), "die"));
}

#[tokio::test]
async fn an_engine_that_takes_the_place_of_an_older_one_is_agreed_with_anew() {
    let is_new = Arc::new(AtomicBool::new(false));
    let place = Arc::new(Place::new());
    let (switch, owner) = (Arc::clone(&is_new), Arc::clone(&place));
    let socket = Socket::playing(move |_, target| {
        let speaks = if switch.load(Ordering::SeqCst) { CURRENT } else { OLD };
        if target == "/version" {
            return speaks.version();
        }
        match speaks.path(target) {
            Err(refused) => refused,
            Ok(path) => (200, answer(&owner, path, &running()).unwrap_or_default().to_string()),
        }
    });
    let engine = socket.engine();
    engine.observe(None).await.expect("the old one answers");
    is_new.store(true, Ordering::SeqCst);
    // What is under way fails as if nobody had answered, and nothing is concluded.
    let answer = engine.observe(None).await;
    assert!(
        matches!(&answer, Err(EngineError::Unavailable(t)) if t.contains("too old")),
        "{answer:?}"
    );
    let reference = "web:1".parse().expect("a reference");
    let resolved = engine.resolve(&reference, PullPolicy::Local, None).await;
    assert!(
        matches!(resolved, Err(ResolveError::EngineUnavailable(_))),
        "{resolved:?}"
    );
    // The stream of hints ended with the old one and is asked for again.
    engine.events().await.expect("a stream");
    assert_eq!(engine.observe(None).await.expect("a look").len(), 1);
    is_new.store(false, Ordering::SeqCst);
    engine.info().await.expect("the old one is back");
    assert_eq!(engine.observe(None).await.expect("a look").len(), 1);
    let asked = socket.asked();
    assert!(asked.contains(&"GET /v1.41/containers/json".to_owned()), "{asked:?}");
    assert!(asked.contains(&"GET /v1.44/containers/json".to_owned()), "{asked:?}");
}
