//! A part of the engine that is one test's own: ids, names and a subnet that nobody else has. Dropping it removes
//! every container, network and volume of its environment, also when the test has failed.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use slipway_domain::clock::Entropy;
use slipway_domain::ids::{EnvironmentId, ReleaseId, TeamId};
use slipway_domain::image::Pin;
use slipway_domain::observed::Instance;
use slipway_domain::ports::{PullPolicy, RegistryCredentials};
use slipway_domain::quantity::{Bytes, MilliCpu, Span};
use slipway_domain::secret::Secret;
use slipway_domain::spec::{KillSignal, Resources, RunAs};
use slipway_domain::{Epoch, Generation, ReleaseNumber, Timestamp};
use slipway_engine::docker::DockerEngine;
use slipway_engine::{Engine, GroupSpec, NetworkSpec, Owner};

/// Everything that must happen happens within this.
pub(crate) const SOON: Duration = Duration::from_mins(1);
/// The test app as the engine has it already.
pub(crate) const LOCAL_IMAGE: &str = "slipway-test/app:1";

/// Where the engine under test is.
pub(crate) fn host() -> String {
    std::env::var("SLIPWAY_TEST_DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into())
}

pub(crate) fn engine() -> DockerEngine {
    DockerEngine::new(&host())
}

/// The test registry's host and port.
pub(crate) fn registry() -> String {
    std::env::var("SLIPWAY_TEST_REGISTRY").unwrap_or_else(|_| "127.0.0.1:5000".into())
}

pub(crate) fn credentials() -> RegistryCredentials {
    let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    RegistryCredentials {
        username: or("SLIPWAY_TEST_REGISTRY_USER", "ci"),
        password: Secret::new(or("SLIPWAY_TEST_REGISTRY_PASSWORD", "registry-password")),
    }
}

/// Bytes that differ from test to test.
struct Different;

impl Entropy for Different {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let random = RandomState::new().hash_one(0_u8).to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

/// Now, as this machine has it.
pub(crate) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}

/// A /28 of 10.96.0.0/11 that depends on the process and a counter.
fn subnet() -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let part = std::process::id().wrapping_mul(8).wrapping_add(n) % (1 << 17);
    let address = std::net::Ipv4Addr::from((10 << 24 | 96 << 16) + part * 16);
    format!("{address}/28")
}

/// One test's own part of the engine.
pub(crate) struct Place {
    pub(crate) engine: DockerEngine,
    pub(crate) owner: Owner,
    pub(crate) subnet: String,
}

impl Place {
    /// Nothing is made yet.
    pub(crate) fn new() -> Self {
        let mut word = [0_u8; 4];
        Different.fill(&mut word);
        let app = format!("it-{:08x}", u32::from_le_bytes(word));
        Self {
            engine: engine(),
            owner: Owner {
                installation: "one".into(),
                team: TeamId::mint(now(), &Different),
                app: app.parse().expect("a name"),
                environment: "production".parse().expect("a name"),
                environment_id: EnvironmentId::mint(now(), &Different),
                generation: Generation(1),
                epoch: Epoch(7),
            },
            subnet: subnet(),
        }
    }

    /// With its network, which containers need.
    pub(crate) async fn with_network() -> Self {
        let place = Self::new();
        let made = place.engine.ensure_network(&place.network()).await;
        made.expect("the engine makes a network: is it there, and may this user use it?");
        place
    }

    pub(crate) fn environment(&self) -> EnvironmentId {
        self.owner.environment_id
    }

    pub(crate) fn network(&self) -> NetworkSpec {
        NetworkSpec {
            owner: self.owner.clone(),
            subnet: self.subnet.clone(),
        }
    }

    /// A release of the test app that behaves as `mode` says.
    pub(crate) async fn group(&self, mode: &str) -> GroupSpec {
        let env = BTreeMap::from([
            ("MODE".to_owned(), mode.to_owned()),
            ("PORT".to_owned(), "8080".to_owned()),
        ]);
        GroupSpec {
            owner: self.owner.clone(),
            release: ReleaseId::mint(now(), &Different),
            release_number: ReleaseNumber(1),
            image: local_image(&self.engine).await,
            port: 8080,
            env,
            secrets: BTreeMap::new(),
            resources: Resources {
                cpu: MilliCpu(500),
                memory: Bytes(64 << 20),
                pids: 64,
            },
            read_only: true,
            user: RunAs::Uid(65_532),
            mounts: Vec::new(),
            kill_signal: KillSignal::Term,
            kill_timeout: Span::from_secs(5),
        }
    }

    pub(crate) async fn observe(&self) -> Vec<Instance> {
        let found = self.engine.observe(Some(self.environment())).await;
        found.expect("the engine can be looked at")
    }

    /// The only instance there is.
    pub(crate) async fn only(&self) -> Instance {
        let mut all = self.observe().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Applies one slot and waits until the app in it answers.
    pub(crate) async fn serve(&self, group: &GroupSpec) -> (Instance, SocketAddr) {
        self.engine.apply_group(group, &[0]).await.expect("one slot");
        let instance = self.only().await;
        let address = instance.address.expect("a running instance has an address");
        until("the app answers", async || get(address, "/healthz")).await;
        (instance, address)
    }

    /// The name of the container in a slot of release 1.
    pub(crate) fn container(&self, slot: u32) -> String {
        let id = self.owner.environment_id.to_string();
        format!(
            "slipway-{}-production-v1-{slot}-{}",
            self.owner.app,
            &id[id.len() - 6..]
        )
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let filter = format!("label=slipway.environment-id={}", self.environment());
        for id in docker_lossy(&["ps", "--all", "--quiet", "--filter", &filter]).lines() {
            docker_lossy(&["rm", "--force", "--volumes", id]);
        }
        for volume in docker_lossy(&["volume", "ls", "--quiet", "--filter", &filter]).lines() {
            docker_lossy(&["volume", "rm", "--force", volume]);
        }
        for network in docker_lossy(&["network", "ls", "--quiet", "--filter", &filter]).lines() {
            docker_lossy(&["network", "rm", network]);
        }
    }
}

/// Removes a container by name when dropped: one that does not carry the labels of a place.
pub(crate) struct Foreign(pub(crate) String);

impl Drop for Foreign {
    fn drop(&mut self) {
        docker_lossy(&["rm", "--force", "--volumes", &self.0]);
    }
}

/// The test app that is on the engine, pinned.
pub(crate) async fn local_image(engine: &DockerEngine) -> Pin {
    let reference = LOCAL_IMAGE.parse().expect("a reference");
    let found = engine.resolve(&reference, PullPolicy::Local, None).await;
    found.expect("the test image is on the engine: run scripts/build-test-images.sh")
}

/// Asks again until there is an answer, or fails saying what was awaited.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Something that must come by itself.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(SOON, future).await;
    came.unwrap_or_else(|_| panic!("not within {SOON:?}: {what}"))
}

/// GETs a path of the app; `None` while nobody answers.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    // An app that ends itself leaves no whole answer; what came of it tells enough.
    let _ = stream.read_to_string(&mut answer);
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

/// Runs the engine's own client against the engine under test.
fn client(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(["--host", &host()]).args(arguments).stdin(Stdio::null());
    command
}

/// What the engine's own client says, which must succeed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = client(arguments).output().expect("the docker client runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What it says, if it says anything.
pub(crate) fn docker_lossy(arguments: &[&str]) -> String {
    let output = client(arguments).output();
    output
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default()
}
