//! What the proxy is told at start: where to listen, where the control plane is, and every bound it keeps.
//!
//! Promises: each limit has a default that holds up in public, and its unit is the last part of its name.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// Where connections come from.
#[derive(Debug)]
pub enum Listen {
    /// Bind this address.
    Address(SocketAddr),
    /// Take over a socket that somebody else bound, such as one passed down by a supervisor.
    Bound(TcpListener),
}

/// Everything the proxy is told by its caller.
#[derive(Debug)]
pub struct Config {
    /// Plain HTTP: ACME answers and redirects to HTTPS, nothing else.
    pub http: Listen,
    /// HTTPS: the apps and the API.
    pub https: Listen,
    /// `/metrics`, `/readyz`, `/healthz`, `/debug`. Never a public address.
    pub admin: Option<Listen>,
    /// The port people reach HTTPS under, for redirects. 443 is left out of the address.
    pub https_redirect_port: u16,
    /// The control plane's socket: the path in `unix://<path>`.
    pub control_socket: PathBuf,
    /// Where the last good snapshot and its certificates are kept, mode 0700.
    pub state_dir: PathBuf,
    /// Peers whose `X-Forwarded-*` and `X-Request-Id` are believed, such as a load balancer in front.
    pub trusted_proxies: Vec<IpNet>,
    /// Where spans are exported: makes a request's span part of the caller's trace and gives the span's own
    /// `traceparent`, which the app is told.
    pub trace: Option<SpanTrace>,
    /// For `slipway_build_info`.
    pub version: String,
    /// The bounds.
    pub limits: ProxyLimits,
}

/// Ties a span to the trace in a request's head, and gives the span's own `traceparent` (W3C Trace Context).
pub type SpanTrace = fn(&tracing::Span, &http::HeaderMap) -> Option<String>;

/// Bounds that hold for the whole proxy. Those of one app come with its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyLimits {
    /// Open client connections; `None` takes two fifths of the open-file limit.
    pub connections_max: Option<usize>,
    /// Open client connections from one IPv4 address or one IPv6 /64. Trusted proxies are exempt.
    pub connections_per_ip_max: u32,
    /// From accept to the end of the TLS handshake.
    pub handshake_ms_max: u64,
    /// For one request head over HTTP/1.1.
    pub head_ms_max: u64,
    /// Between two requests on one HTTP/1.1 connection.
    pub keep_alive_ms_max: u64,
    /// Without any request on an HTTP/2 connection.
    pub keep_alive_h2_ms_max: u64,
    /// Without progress in a body, in either direction.
    pub body_idle_ms_max: u64,
    /// For a TCP connection to an instance.
    pub connect_ms_max: u64,
    /// An unused connection to an instance. Below the 5 s after which Node.js closes its side.
    pub upstream_idle_ms_max: u64,
    /// Unused connections kept per instance.
    pub upstream_idle_max: usize,
    /// Requests in flight per instance; more wait in line.
    pub upstream_in_flight_max: usize,
    /// Requests that wait in that line.
    pub upstream_waiting_max: usize,
    /// How long a request waits in that line.
    pub upstream_queue_ms_max: u64,
    /// How long a request waits while an app is asleep or held.
    pub hold_ms_max: u64,
    /// How many requests of one environment wait like that.
    pub hold_max: usize,
    /// From the request to stop until connections that are still open are cut.
    pub drain_ms_max: u64,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            connections_max: None,
            connections_per_ip_max: 256,
            handshake_ms_max: 10_000,
            head_ms_max: 15_000,
            keep_alive_ms_max: 75_000,
            keep_alive_h2_ms_max: 300_000,
            body_idle_ms_max: 60_000,
            connect_ms_max: 3_000,
            upstream_idle_ms_max: 4_000,
            upstream_idle_max: 128,
            upstream_in_flight_max: 1_024,
            upstream_waiting_max: 1_024,
            upstream_queue_ms_max: 5_000,
            hold_ms_max: 30_000,
            hold_max: 1_000,
            drain_ms_max: 30_000,
        }
    }
}

/// The longest request head, start line included (HTTP/1.1) or as a header list (HTTP/2).
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header fields in one request.
pub(crate) const HEADER_FIELDS_MAX: usize = 128;
/// Read and write buffer of one HTTP/1.1 connection.
pub(crate) const CONNECTION_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// One snapshot on the control socket.
pub(crate) const SNAPSHOT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// One certificate on the control socket.
pub(crate) const CERTIFICATE_BYTES_MAX: usize = 256 * 1024;
/// A request body for the API.
pub(crate) const API_BODY_BYTES_MAX: u64 = 100 * 1024 * 1024;
/// To the API's first byte and between two of its bytes: `?wait=` and followed logs are slow on purpose.
pub(crate) const API_WAIT_MS_MAX: u64 = 600_000;

/// A limit in milliseconds as a duration.
pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
