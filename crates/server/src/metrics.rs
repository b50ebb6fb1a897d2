//! The control plane's own metrics in the Prometheus text format (version 0.0.4).
//!
//! Promises: labels are words from closed sets, never ids; counting never blocks.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use slipway_api::Answered;
use slipway_scheduler::Observer;

/// Upper bounds of the histograms, seconds: those that the semantic conventions of OpenTelemetry advise for requests,
/// and two more for what takes longer.
const BOUNDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
];

#[derive(Debug, Default, Clone)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {bucket}");
        }
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", self.count);
        let braces = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{labels}}}")
        };
        let _ = writeln!(
            text,
            "{name}_sum{braces} {}\n{name}_count{braces} {}",
            self.sum, self.count
        );
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Everything counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    deploys: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    phases: Mutex<BTreeMap<&'static str, Histogram>>,
    notices: Mutex<BTreeMap<&'static str, u64>>,
    reconcile: Mutex<Histogram>,
    reconcile_errors: AtomicU64,
    leads: AtomicBool,
    /// By method, route and class of the status.
    requests: Mutex<BTreeMap<(&'static str, String, &'static str), Histogram>>,
}

impl Observer for Metrics {
    fn deploy_finished(&self, result: &'static str, reason: &'static str) {
        *self.deploys.lock().entry((result, reason)).or_default() += 1;
    }

    fn deploy_phase(&self, phase: &'static str, seconds: f64) {
        self.phases.lock().entry(phase).or_default().add(seconds);
    }

    fn reconciled(&self, seconds: f64, ok: bool) {
        self.reconcile.lock().add(seconds);
        self.reconcile_errors.fetch_add(u64::from(!ok), Ordering::Relaxed);
    }

    fn told(&self, ok: bool) {
        let result = if ok { "succeeded" } else { "failed" };
        *self.notices.lock().entry(result).or_default() += 1;
    }

    fn leading(&self, leads: bool) {
        self.leads.store(leads, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Whether this process leads.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Counts a request to the API.
    pub(crate) fn answered(&self, answered: &Answered<'_>) {
        let class = match answered.status.as_u16() / 100 {
            1 | 2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let key = (answered.method, answered.route.unwrap_or("none").to_owned(), class);
        let seconds = answered.duration.as_secs_f64();
        self.requests.lock().entry(key).or_default().add(seconds);
    }

    fn write_requests(&self, text: &mut String) {
        let name = "http_server_request_duration_seconds";
        head(text, name, "histogram", "How long answers of the API took to begin.");
        for ((method, route, class), histogram) in &*self.requests.lock() {
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{class}\"");
            histogram.write(text, name, &labels);
        }
    }

    /// The text. `certificates` are (name, end in seconds since the epoch).
    pub(crate) fn render(&self, version: &str, certificates: &[(String, i64)]) -> String {
        let mut text = String::new();
        head(&mut text, "slipway_build_info", "gauge", "The version that runs.");
        let _ = writeln!(text, "slipway_build_info{{version=\"{version}\",role=\"control\"}} 1");
        head(&mut text, "slipway_deploys_total", "counter", "Deployments that ended.");
        for ((result, reason), count) in &*self.deploys.lock() {
            let _ = writeln!(
                text,
                "slipway_deploys_total{{result=\"{result}\",reason=\"{reason}\"}} {count}"
            );
        }
        let name = "slipway_alert_notices_total";
        head(
            &mut text,
            name,
            "counter",
            "Attempts to tell of an alert, or of its end.",
        );
        for (result, count) in &*self.notices.lock() {
            let _ = writeln!(text, "{name}{{result=\"{result}\"}} {count}");
        }
        head(
            &mut text,
            "slipway_deploy_duration_seconds",
            "histogram",
            "How long phases of deployments took.",
        );
        for (phase, histogram) in &*self.phases.lock() {
            histogram.write(
                &mut text,
                "slipway_deploy_duration_seconds",
                &format!("phase=\"{phase}\""),
            );
        }
        head(
            &mut text,
            "slipway_reconcile_duration_seconds",
            "histogram",
            "How long one look at an environment took.",
        );
        self.reconcile
            .lock()
            .write(&mut text, "slipway_reconcile_duration_seconds", "");
        head(
            &mut text,
            "slipway_reconcile_errors_total",
            "counter",
            "Looks that failed.",
        );
        let _ = writeln!(
            text,
            "slipway_reconcile_errors_total {}",
            self.reconcile_errors.load(Ordering::Relaxed)
        );
        head(&mut text, "slipway_leader", "gauge", "Whether this process schedules.");
        let _ = writeln!(text, "slipway_leader {}", u8::from(self.leads()));
        head(
            &mut text,
            "slipway_cert_expiry_timestamp_seconds",
            "gauge",
            "When a certificate ends.",
        );
        for (name, end) in certificates {
            let _ = writeln!(text, "slipway_cert_expiry_timestamp_seconds{{name=\"{name}\"}} {end}");
        }
        self.write_requests(&mut text);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_rendered_in_the_text_format() {
        let metrics = Metrics::default();
        metrics.deploy_finished("failed", "exited");
        metrics.deploy_phase("health", 0.02);
        metrics.reconciled(0.3, false);
        metrics.leading(true);
        metrics.answered(&Answered {
            method: "GET",
            route: Some("/v1/apps/{app}"),
            status: http::StatusCode::NOT_FOUND,
            duration: std::time::Duration::from_millis(60),
        });
        let text = metrics.render("1.2.3", &[("*.apps.localhost".into(), 17)]);
        for line in [
            "slipway_build_info{version=\"1.2.3\",role=\"control\"} 1",
            "slipway_deploys_total{result=\"failed\",reason=\"exited\"} 1",
            "slipway_deploy_duration_seconds_bucket{phase=\"health\",le=\"0.01\"} 0",
            "slipway_deploy_duration_seconds_bucket{phase=\"health\",le=\"0.025\"} 1",
            "slipway_deploy_duration_seconds_count{phase=\"health\"} 1",
            "slipway_reconcile_errors_total 1",
            "slipway_leader 1",
            "http_server_request_duration_seconds_bucket{method=\"GET\",route=\"/v1/apps/{app}\",status=\"4xx\",le=\"0.05\"} 0",
            "http_server_request_duration_seconds_bucket{method=\"GET\",route=\"/v1/apps/{app}\",status=\"4xx\",le=\"0.075\"} 1",
            "slipway_cert_expiry_timestamp_seconds{name=\"*.apps.localhost\"} 17",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
