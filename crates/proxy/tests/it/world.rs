//! A proxy with everything around it: control plane, certificates, listeners on free ports, a state directory.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use slipway_domain::ReleaseNumber;
use slipway_domain::clock::{Clock, Entropy, Timestamp};
use slipway_domain::generation::RouteVersion;
use slipway_domain::ids::{CertificateId, EnvironmentId};
use slipway_domain::name::{DomainName, HostName};
use slipway_domain::routing::{
    ApiRoute, CertificateMaterial, CertificateReference, EnvironmentRoute, GroupRoute, Limits, RouteState,
    SNAPSHOT_FORMAT, Snapshot, Upstream,
};
use slipway_domain::spec::OnDemandTls;
use slipway_proxy::{Config, Listen, ProxyError, ProxyLimits};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::control::Control;

/// A wait with an end.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .unwrap_or_else(|_| panic!("not within 20 s: {what}"))
}

#[derive(Debug)]
struct Real;

impl Clock for Real {
    fn now(&self) -> Timestamp {
        chrono::Utc::now()
    }
}

impl Entropy for Real {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("entropy");
    }
}

pub(crate) fn host(text: &str) -> HostName {
    text.parse().expect("a host name")
}

/// Roomy limits that tests tighten one by one.
pub(crate) const LIMITS: Limits = Limits {
    body_bytes_max: 100 * 1024 * 1024,
    first_byte_ms_max: 15_000,
    queue: None,
};

/// A snapshot in the making.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) snapshot: Snapshot,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let snapshot = Snapshot {
            format: SNAPSHOT_FORMAT,
            version: RouteVersion(1),
            issued_at: chrono::Utc::now(),
            base_domain: host("apps.localhost"),
            api: None,
            hosts: BTreeMap::new(),
            environments: Vec::new(),
            certificates: Vec::new(),
            challenges: BTreeMap::new(),
            tls_challenges: BTreeMap::new(),
            redirects: BTreeMap::new(),
            policies: BTreeMap::new(),
        };
        Self { snapshot }
    }

    /// An app at `<name>.apps.localhost`, replacing what it was.
    pub(crate) fn app(mut self, name: &str, state: RouteState, instances: &[Upstream], limits: Limits) -> Self {
        let address = host(&format!("{name}.apps.localhost"));
        let address = DomainName::from(address);
        let known = self.snapshot.hosts.get(&address).copied();
        let id = known.unwrap_or_else(|| EnvironmentId::mint(chrono::Utc::now(), &Real));
        self.snapshot.hosts.insert(address, id);
        self.snapshot.environments.retain(|environment| environment.id != id);
        self.snapshot.environments.push(EnvironmentRoute {
            id,
            app: name.parse().expect("an app name"),
            environment: "production".parse().expect("a name"),
            state,
            groups: vec![GroupRoute {
                release: ReleaseNumber(1),
                weight: 1,
                instances: instances.to_vec(),
            }],
            sticky: false,
            counted: false,
            on_demand_tls: None,
            limits,
        });
        self
    }

    /// The same, where apps may have names that visitors bring along.
    pub(crate) fn on_demand(mut self) -> Self {
        for environment in &mut self.snapshot.environments {
            environment.on_demand_tls = Some(OnDemandTls {
                ask: "/ask".into(),
                max: 100,
            });
        }
        self
    }

    /// One more name for the last app.
    pub(crate) fn also(mut self, name: &str) -> Self {
        let id = self.snapshot.environments.last().expect("an app").id;
        self.snapshot.hosts.insert(DomainName::from(host(name)), id);
        self
    }

    /// An app that serves.
    pub(crate) fn serving(self, name: &str, instances: &[Upstream]) -> Self {
        self.app(name, RouteState::Serving, instances, LIMITS)
    }

    pub(crate) fn api(mut self, name: &str, address: SocketAddr) -> Self {
        self.snapshot.api = Some(ApiRoute {
            host: host(name),
            address,
        });
        self
    }

    pub(crate) fn next(mut self) -> Self {
        self.snapshot.version = self.snapshot.version.next();
        self
    }
}

/// The proxy and its surroundings.
pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) client: Client,
    certificates: Vec<CertificateReference>,
    dir: TempDir,
    limits: ProxyLimits,
    shutdown: CancellationToken,
    proxy: Option<JoinHandle<Result<(), ProxyError>>>,
}

impl World {
    /// Starts a proxy and waits until it has acknowledged the scene.
    pub(crate) async fn start(scene: &Scene) -> Self {
        Self::start_with(scene, ProxyLimits::default(), &[]).await
    }

    pub(crate) async fn start_with(scene: &Scene, limits: ProxyLimits, trusted: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut control = Control::at(&dir.path().join("control.sock"));
        control.start();
        let mut world = Self {
            control,
            client: Client::new(),
            certificates: Vec::new(),
            dir,
            limits,
            shutdown: CancellationToken::new(),
            proxy: None,
        };
        world.certify(&["*.apps.localhost"]);
        world.certify(&["console.test"]);
        world.launch(trusted);
        world.show(scene).await;
        world
    }

    pub(crate) fn state_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("state")
    }

    /// A certificate that later scenes carry and clients trust.
    pub(crate) fn certify(&mut self, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = rcgen::generate_simple_self_signed(names.clone()).expect("a certificate");
        let now = chrono::Utc::now();
        let id = CertificateId::mint(now, &Real);
        self.client.trust(pair.cert.der().clone());
        let (chain_pem, key_pem) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        self.control
            .has_certificate(CertificateMaterial { id, chain_pem, key_pem });
        self.certificates.push(CertificateReference {
            id,
            names,
            not_after: now + chrono::Duration::days(90),
        });
    }

    fn launch(&mut self, trusted: &[&str]) {
        let bound = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (http, https, admin) = (bound(), bound(), bound());
        let address = |listener: &TcpListener| listener.local_addr().expect("an address");
        self.client.http = address(&http);
        self.client.https = address(&https);
        self.client.admin = address(&admin);
        self.shutdown = CancellationToken::new();
        let config = Config {
            https_redirect_port: address(&https).port(),
            http: Listen::Bound(http),
            https: Listen::Bound(https),
            admin: Some(Listen::Bound(admin)),
            control_socket: self.control.socket().to_owned(),
            state_dir: self.state_dir(),
            trusted_proxies: trusted.iter().map(|net| net.parse().expect("a network")).collect(),
            trace: None,
            version: "test".into(),
            limits: self.limits,
        };
        let run = slipway_proxy::run(config, Arc::new(Real), Arc::new(Real), self.shutdown.clone());
        self.proxy = Some(tokio::spawn(run));
    }

    /// Publishes a scene and waits until it is in force.
    pub(crate) async fn show(&self, scene: &Scene) {
        let mut snapshot = scene.snapshot.clone();
        snapshot.certificates.clone_from(&self.certificates);
        let version = snapshot.version;
        self.control.publish(snapshot);
        self.control
            .acknowledged("the snapshot in force", |ack| ack.applied == version)
            .await;
    }

    /// Waits until a request for the app `web` is under way.
    pub(crate) async fn is_asked_for_web(&self) {
        let under_way = "http_server_active_requests{app=\"web\",environment=\"production\"} 1";
        within("a request to be under way", async {
            while !self.client.admin("/metrics").await.text().contains(under_way) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Tells the proxy to stop, without waiting.
    pub(crate) fn tell_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Waits for the proxy to end.
    pub(crate) async fn stopped(&mut self) {
        let proxy = self.proxy.take().expect("running");
        within("the proxy to stop", proxy)
            .await
            .expect("no panic")
            .expect("a clean end");
    }

    /// Stops the proxy and starts another one over the same state directory, on other ports.
    pub(crate) async fn restart(&mut self) {
        self.tell_to_stop();
        self.stopped().await;
        self.launch(&[]);
    }
}

/// A file's permission bits.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).expect("there").permissions().mode() & 0o777
}
