//! What a proxy knows: a versioned snapshot of routes, states, limits, challenges and certificate references.
//!
//! The control plane serves it on its control socket, over HTTP/1.1:
//! - `GET /internal/v1/snapshots?proxy=<id>` — newline-delimited JSON, one [`Snapshot`] per line, the newest first
//!   and then each newer one; an empty line every 15 s keeps the connection alive;
//! - `POST /internal/v1/acks` with an [`Ack`] — after the snapshot is in force, and again whenever the list of
//!   draining instances changes;
//! - `POST /internal/v1/traffic` with a [`TrafficReport`](crate::traffic::TrafficReport) — every second, while releases
//!   are compared anywhere, or the number of instances follows the requests;
//! - `POST /internal/v1/wakes` with a [`Wake`] — when a request arrives for what is asleep, and every second while one
//!   waits for it;
//! - `POST /internal/v1/names` with a [`NameWish`], answered with a [`NameAnswer`] — when a visitor comes with a name that
//!   has no certificate, while names may be brought along anywhere;
//! - `GET /internal/v1/certificates/<id>` — a [`CertificateMaterial`].
//!
//! Promises: a proxy applies versions only upwards, keeps the last one on disk, and needs nothing else to serve.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::generation::{ReleaseNumber, RouteVersion};
use crate::ids::{CertificateId, EnvironmentId, ProxyId};
use crate::name::{AppName, DomainName, EnvironmentName, HostName};
use crate::spec::OnDemandTls;

/// The format of [`Snapshot`] that this build writes and reads.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// Everything a proxy needs, at one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SNAPSHOT_FORMAT`] of the writer.
    pub format: u32,
    /// Grows with every change.
    pub version: RouteVersion,
    /// When it was made.
    pub issued_at: Timestamp,
    /// Unknown names below it get a 404 page, all other unknown names fail the handshake.
    pub base_domain: HostName,
    /// The name under which the API itself is served, and where it listens.
    pub api: Option<ApiRoute>,
    /// Host name to environment; of a name and a wildcard that covers it the name wins.
    pub hosts: BTreeMap<DomainName, EnvironmentId>,
    /// The environments that have a host.
    pub environments: Vec<EnvironmentRoute>,
    /// Which certificates exist for which names; the material is fetched apart.
    pub certificates: Vec<CertificateReference>,
    /// ACME HTTP-01 answers: token to key authorization (RFC 8555 section 8.3).
    pub challenges: BTreeMap<String, String>,
    /// ACME TLS-ALPN-01 answers (RFC 8737): the certificate to show for a name, with its key, in PEM one after the other.
    #[serde(default)]
    pub tls_challenges: BTreeMap<HostName, String>,
    /// Names whose visitors are sent on to another name.
    #[serde(default)]
    pub redirects: BTreeMap<HostName, HostName>,
    /// What is special about a name.
    #[serde(default)]
    pub policies: BTreeMap<DomainName, NamePolicy>,
}

/// What is special about a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamePolicy {
    /// The `Strict-Transport-Security` header of every answer over TLS (RFC 6797), in place of the app's own.
    #[serde(default)]
    pub hsts: Option<String>,
    /// The CAs, PEM, one of which must have issued a visitor's certificate; `None` where none is asked for.
    #[serde(default)]
    pub client_ca_pem: Option<String>,
}

/// Where the API answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiRoute {
    /// The public name.
    pub host: HostName,
    /// Where the control plane listens.
    pub address: SocketAddr,
}

/// One environment as a proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRoute {
    /// Its identifier: per-environment state in the proxy survives snapshots under it.
    pub id: EnvironmentId,
    /// For access logs, metrics and error pages.
    pub app: AppName,
    /// For access logs, metrics and error pages.
    pub environment: EnvironmentName,
    /// What to do with a request.
    pub state: RouteState,
    /// Groups of instances with their share of traffic. Empty unless serving.
    pub groups: Vec<GroupRoute>,
    /// Whether a visitor stays with the group that answered first, by a cookie.
    #[serde(default)]
    pub sticky: bool,
    /// Whether the control plane wants to know how many requests are in flight.
    #[serde(default)]
    pub counted: bool,
    /// Names that visitors may bring along to it.
    #[serde(default)]
    pub on_demand_tls: Option<OnDemandTls>,
    /// Bounds on requests.
    pub limits: Limits,
}

/// What a proxy does with a request for an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteState {
    /// Forward it.
    Serving,
    /// Nothing was ever deployed: 404.
    Empty,
    /// The first release is on its way, or what served is started again: 503 with `Retry-After`.
    Starting,
    /// The last deployment failed and nothing serves: 503.
    Failed,
    /// Stopped by request: 503.
    Stopped,
    /// In maintenance: 503.
    Maintenance,
    /// Asleep: hold the request and ask for a wake-up.
    Asleep,
    /// Hold requests until the state changes.
    Holding,
}

/// One release's instances and its share of traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRoute {
    /// The release.
    pub release: ReleaseNumber,
    /// Its share, relative to the other groups.
    pub weight: u32,
    /// Where to forward to.
    pub instances: Vec<Upstream>,
}

/// How the traffic of an environment is shared between a new release and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The new release.
    pub release: ReleaseNumber,
    /// Its share of the traffic, 1 to 99.
    pub percent: u32,
    /// Whether a visitor stays with the release that answered first.
    pub sticky: bool,
}

/// One instance to forward to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Upstream {
    /// The engine's container id.
    pub instance: String,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Bounds on requests to one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The longest request body; more is 413.
    pub body_bytes_max: u64,
    /// To the first response byte; then 504.
    pub first_byte_ms_max: u64,
    /// Requests in flight at one instance, if the app bounds them.
    #[serde(default)]
    pub queue: Option<Queue>,
}

/// How an app bounds what its instances have to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Requests in flight at one instance.
    pub in_flight_max: u32,
    /// Requests that wait for a place at it; more are 503.
    pub waiting_max: u32,
    /// How long one waits; then 503.
    pub wait_ms_max: u64,
}

/// A certificate and the names it is for, without its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateReference {
    /// Under which the material is fetched; a renewed certificate has a new one.
    pub id: CertificateId,
    /// Exact names and one-label wildcards such as `*.apps.localhost`.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: Timestamp,
}

/// A certificate with its key, as the proxy fetches it.
#[derive(Clone, Serialize, Deserialize)]
pub struct CertificateMaterial {
    /// The same as in the reference.
    pub id: CertificateId,
    /// Leaf first, then intermediates, PEM.
    pub chain_pem: String,
    /// PKCS #8, PEM.
    pub key_pem: String,
}

/// Requests wait for what is asleep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wake {
    /// For which.
    pub environments: Vec<EnvironmentId>,
}

/// A visitor came with a name that nobody added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameWish {
    /// The name.
    pub host: HostName,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameAnswer {
    /// Whether a certificate is on its way.
    pub wanted: bool,
}

/// What a proxy says it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who.
    pub proxy: ProxyId,
    /// The version in force.
    pub applied: RouteVersion,
    /// Instances no longer in the snapshot that still answer requests, sorted.
    pub draining: Vec<String>,
}
