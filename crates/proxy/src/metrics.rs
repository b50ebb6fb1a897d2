//! Numbers about the proxy, in atomics, written as Prometheus text.
//!
//! Promises: label values come from the snapshot or from fixed lists, never from a request; an app's series end when
//! it leaves the snapshot; one environment has at most 11 histograms (187 series).

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::RwLock;

/// Upper bounds in microseconds and as text, as the semantic conventions of OpenTelemetry advise.
const BUCKETS: [(u64, &str); 14] = [
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (75_000, "0.075"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (750_000, "0.75"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (7_500_000, "7.5"),
    (10_000_000, "10"),
];
/// Pairs of method and status class with a histogram of their own; the rest is counted under `_OTHER`.
const NAMED_PAIRS_MAX: usize = 7;
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// Whole microseconds as seconds in text, without going through floating point.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(at) = BUCKETS.iter().position(|(bound, _)| micros <= *bound) {
            self.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let mut below = 0;
        for ((_, bound), bucket) in BUCKETS.iter().zip(&self.buckets) {
            below += bucket.load(Ordering::Relaxed);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let count = self.count.load(Ordering::Relaxed).max(below);
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let sum = seconds(self.sum_micros.load(Ordering::Relaxed));
        let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

/// Requests of one environment.
#[derive(Debug, Default)]
pub(crate) struct RequestMetrics {
    active: AtomicI64,
    named: RwLock<Vec<(&'static str, usize, Box<Histogram>)>>,
    other: [Histogram; CLASSES.len()],
}

fn method_label(method: &Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
        .into_iter()
        .find(|known| method.as_str() == *known)
        .unwrap_or("_OTHER")
}

fn class_of(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100)
        .saturating_sub(2)
        .min(CLASSES.len() - 1)
}

impl RequestMetrics {
    pub(crate) fn begin(&self) {
        self.active.fetch_add(1, Ordering::Relaxed);
    }

    /// A request ended. A switch to another protocol (101) has no duration worth a histogram.
    pub(crate) fn end(&self, method: &Method, status: StatusCode, duration: Duration) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        if status.is_informational() {
            return;
        }
        let (method, class) = (method_label(method), class_of(status));
        let find = |named: &[(&'static str, usize, Box<Histogram>)]| {
            named.iter().position(|(m, c, _)| *m == method && *c == class)
        };
        {
            let named = self.named.read();
            if let Some(at) = find(&named) {
                named[at].2.observe(duration);
                return;
            }
        }
        let mut named = self.named.write();
        if method != "_OTHER" && find(&named).is_none() && named.len() < NAMED_PAIRS_MAX {
            named.push((method, class, Box::default()));
        }
        match find(&named) {
            Some(at) => named[at].2.observe(duration),
            None => self.other[class].observe(duration),
        }
    }

    fn write_durations(&self, out: &mut String, labels: &str) {
        let name = "http_server_request_duration_seconds";
        for (method, class, histogram) in self.named.read().iter() {
            let labels = format!("{labels},method=\"{method}\",status=\"{}\"", CLASSES[*class]);
            histogram.write(out, name, &labels);
        }
        for (class, histogram) in CLASSES.iter().zip(&self.other) {
            if histogram.count.load(Ordering::Relaxed) > 0 {
                histogram.write(out, name, &format!("{labels},method=\"_OTHER\",status=\"{class}\""));
            }
        }
    }
}

/// A counter with one label whose values are fixed at compile time.
#[derive(Debug)]
pub(crate) struct Family<const N: usize> {
    values: [&'static str; N],
    counts: [AtomicU64; N],
}

impl<const N: usize> Family<N> {
    const fn new(values: [&'static str; N]) -> Self {
        Self {
            values,
            counts: [const { AtomicU64::new(0) }; N],
        }
    }

    /// Counts one. A value that is not in the list counts under the last one, `other`.
    pub(crate) fn add(&self, value: &str) {
        let at = self.values.iter().position(|known| *known == value).unwrap_or(N - 1);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
    }

    fn write(&self, out: &mut String, name: &str, help: &str, label: &str) {
        head(out, name, "counter", help);
        for (value, count) in self.values.iter().zip(&self.counts) {
            let _ = writeln!(out, "{name}{{{label}=\"{value}\"}} {}", count.load(Ordering::Relaxed));
        }
    }
}

/// Numbers of the proxy as a whole.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) connections: AtomicI64,
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_refused: Family<3>,
    pub(crate) handshakes: AtomicU64,
    pub(crate) handshake_failures: Family<5>,
    pub(crate) on_demand: Family<6>,
    pub(crate) upstream_errors: Family<8>,
    pub(crate) upstream_connects: AtomicU64,
    pub(crate) upstream_reuses: AtomicU64,
    pub(crate) retries: Family<3>,
    pub(crate) feed_connected: AtomicI64,
    pub(crate) feed_reconnects: AtomicU64,
    pub(crate) snapshots_applied: AtomicU64,
    pub(crate) snapshots_refused: Family<4>,
    pub(crate) certificate_failures: AtomicU64,
}

impl Metrics {
    pub(crate) const fn new() -> Self {
        Self {
            connections: AtomicI64::new(0),
            connections_accepted: AtomicU64::new(0),
            connections_refused: Family::new(["per_ip", "accept", "other"]),
            handshakes: AtomicU64::new(0),
            handshake_failures: Family::new(["unknown_name", "no_name", "timeout", "failed", "other"]),
            on_demand: Family::new(["served", "refused", "busy", "away", "late", "other"]),
            upstream_errors: Family::new([
                "app_refused_connection",
                "app_broke_connection",
                "app_timed_out",
                "app_overloaded",
                "no_healthy_instance",
                "app_broke_body",
                "app_stalled_body",
                "other",
            ]),
            upstream_connects: AtomicU64::new(0),
            upstream_reuses: AtomicU64::new(0),
            retries: Family::new(["refused", "stale_connection", "other"]),
            feed_connected: AtomicI64::new(0),
            feed_reconnects: AtomicU64::new(0),
            snapshots_applied: AtomicU64::new(0),
            snapshots_refused: Family::new(["older", "format", "unreadable", "other"]),
            certificate_failures: AtomicU64::new(0),
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    head(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

fn label_value(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What is read elsewhere at the moment of writing.
#[derive(Debug)]
pub(crate) struct Gauges {
    pub(crate) version: String,
    pub(crate) snapshot_version: i64,
    pub(crate) snapshot_age: Duration,
    pub(crate) hosts: usize,
    pub(crate) certificate_names: usize,
    pub(crate) draining_instances: usize,
    pub(crate) upstream_in_flight: usize,
    pub(crate) upstream_idle: usize,
}

/// The whole page for `/metrics`.
pub(crate) fn render<'a>(
    metrics: &Metrics,
    gauges: &Gauges,
    requests: impl Iterator<Item = (&'a str, &'a str, &'a RequestMetrics)> + Clone,
) -> String {
    let mut out = String::with_capacity(16 * 1024);
    head(
        &mut out,
        "slipway_build_info",
        "gauge",
        "Always 1; the label tells the version.",
    );
    let _ = writeln!(
        out,
        "slipway_build_info{{component=\"proxy\",version=\"{}\"}} 1",
        label_value(&gauges.version)
    );
    write_requests(&mut out, requests);
    write_connections(&mut out, metrics);
    write_upstreams(&mut out, metrics, gauges);
    write_feed(&mut out, metrics, gauges);
    out
}

fn write_requests<'a>(
    out: &mut String,
    requests: impl Iterator<Item = (&'a str, &'a str, &'a RequestMetrics)> + Clone,
) {
    let labels = |app: &str, name: &str| format!("app=\"{}\",environment=\"{}\"", label_value(app), label_value(name));
    let help = "Time from the head of a request to the last byte of its answer.";
    head(out, "http_server_request_duration_seconds", "histogram", help);
    for (app, name, metrics) in requests.clone() {
        metrics.write_durations(out, &labels(app, name));
    }
    head(
        out,
        "http_server_active_requests",
        "gauge",
        "Requests whose answer is not finished.",
    );
    for (app, name, metrics) in requests {
        let active = metrics.active.load(Ordering::Relaxed);
        let _ = writeln!(out, "http_server_active_requests{{{}}} {active}", labels(app, name));
    }
}

fn write_connections(out: &mut String, m: &Metrics) {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let open = m.connections.load(Ordering::Relaxed);
    single(
        out,
        "slipway_proxy_connections",
        "gauge",
        "Open client connections.",
        open,
    );
    let accepted = load(&m.connections_accepted);
    single(
        out,
        "slipway_proxy_connections_accepted_total",
        "counter",
        "Client connections accepted.",
        accepted,
    );
    let help = "Client connections turned away.";
    m.connections_refused
        .write(out, "slipway_proxy_connections_refused_total", help, "why");
    let done = load(&m.handshakes);
    single(
        out,
        "slipway_proxy_tls_handshakes_total",
        "counter",
        "TLS handshakes that ended well.",
        done,
    );
    let help = "TLS handshakes that did not.";
    m.handshake_failures
        .write(out, "slipway_proxy_tls_handshake_failures_total", help, "reason");
    let help = "TLS handshakes for names that had no certificate yet, by what came of them.";
    m.on_demand
        .write(out, "slipway_proxy_on_demand_names_total", help, "outcome");
}

fn write_upstreams(out: &mut String, m: &Metrics, gauges: &Gauges) {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let help = "Requests an app did not answer properly.";
    m.upstream_errors
        .write(out, "slipway_proxy_upstream_errors_total", help, "why");
    m.retries.write(
        out,
        "slipway_proxy_retries_total",
        "Requests sent a second time.",
        "why",
    );
    let opened = load(&m.upstream_connects);
    single(
        out,
        "slipway_proxy_upstream_connects_total",
        "counter",
        "Connections opened to instances.",
        opened,
    );
    let help = "Requests sent over a connection that was open already.";
    single(
        out,
        "slipway_proxy_upstream_reuses_total",
        "counter",
        help,
        load(&m.upstream_reuses),
    );
    let help = "Requests instances are at work on.";
    single(
        out,
        "slipway_proxy_upstream_in_flight",
        "gauge",
        help,
        gauges.upstream_in_flight,
    );
    let help = "Unused connections to instances.";
    single(
        out,
        "slipway_proxy_upstream_idle_connections",
        "gauge",
        help,
        gauges.upstream_idle,
    );
    let help = "Instances that left the snapshot and still answer requests.";
    single(
        out,
        "slipway_proxy_draining_instances",
        "gauge",
        help,
        gauges.draining_instances,
    );
}

fn write_feed(out: &mut String, m: &Metrics, gauges: &Gauges) {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let connected = m.feed_connected.load(Ordering::Relaxed);
    single(
        out,
        "slipway_proxy_feed_connected",
        "gauge",
        "1 while snapshots are streamed.",
        connected,
    );
    let help = "Attempts to reach the control plane after the first.";
    single(
        out,
        "slipway_proxy_feed_reconnects_total",
        "counter",
        help,
        load(&m.feed_reconnects),
    );
    let help = "The version of the snapshot in force.";
    single(
        out,
        "slipway_proxy_snapshot_version",
        "gauge",
        help,
        gauges.snapshot_version,
    );
    let age = seconds(u64::try_from(gauges.snapshot_age.as_micros()).unwrap_or(u64::MAX));
    single(
        out,
        "slipway_proxy_snapshot_age_seconds",
        "gauge",
        "Since the snapshot in force was made.",
        age,
    );
    let applied = load(&m.snapshots_applied);
    single(
        out,
        "slipway_proxy_snapshots_applied_total",
        "counter",
        "Snapshots put in force.",
        applied,
    );
    let help = "Snapshots not put in force.";
    m.snapshots_refused
        .write(out, "slipway_proxy_snapshots_refused_total", help, "why");
    single(
        out,
        "slipway_proxy_hosts",
        "gauge",
        "Host names with a route.",
        gauges.hosts,
    );
    let help = "Names with a certificate, wildcards counted once.";
    single(
        out,
        "slipway_proxy_certificate_names",
        "gauge",
        help,
        gauges.certificate_names,
    );
    let help = "Certificates that could not be fetched or read.";
    single(
        out,
        "slipway_proxy_certificate_failures_total",
        "counter",
        help,
        load(&m.certificate_failures),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_has_a_bounded_number_of_series() {
        let metrics = RequestMetrics::default();
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "X1", "X2",
        ] {
            for status in [200, 301, 404, 500, 599] {
                metrics.begin();
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                metrics.end(
                    &method,
                    StatusCode::from_u16(status).expect("a status"),
                    Duration::from_millis(30),
                );
            }
        }
        let mut out = String::new();
        metrics.write_durations(&mut out, "app=\"web\",environment=\"production\"");
        assert_eq!(out.lines().count(), 11 * 17);
        assert!(out.contains("method=\"GET\",status=\"2xx\",le=\"0.05\"} 1"), "{out}");
        assert!(out.contains("method=\"GET\",status=\"2xx\",le=\"0.025\"} 0"));
        assert!(out.contains("_sum{app=\"web\",environment=\"production\",method=\"GET\",status=\"2xx\"} 0.030000"));
        let total: u64 = out
            .lines()
            .filter(|line| line.contains("_count{"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        assert_eq!(total, 50);
    }

    #[test]
    fn unknown_label_values_count_as_other() {
        let family = Family::new(["a", "other"]);
        family.add("a");
        family.add("never heard of");
        let mut out = String::new();
        family.write(&mut out, "n_total", "h", "why");
        assert!(out.contains("n_total{why=\"a\"} 1") && out.contains("n_total{why=\"other\"} 1"));
    }
}
