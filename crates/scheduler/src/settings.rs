//! What the scheduler is told about its surroundings.

use std::sync::Arc;

use ipnet::Ipv4Net;
use slipway_domain::name::HostName;
use slipway_domain::ports::{DatabaseServers, Notifier, Sealer};
use slipway_domain::{Clock, Entropy};
use slipway_engine::Engine;
use slipway_store::Store;
use tracing::Span;
use uuid::Uuid;

use crate::traffic::TrafficBoard;

/// Everything the scheduler works with.
#[derive(Clone)]
pub struct Deps {
    /// The database.
    pub store: Store,
    /// The container engine.
    pub engine: Arc<dyn Engine>,
    /// Opens secrets and registry passwords.
    pub sealer: Arc<dyn Sealer>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// Unpredictable bytes, for identifiers.
    pub entropy: Arc<dyn Entropy>,
    /// What the proxies counted.
    pub traffic: Arc<TrafficBoard>,
    /// The servers of managed databases.
    pub servers: Arc<dyn DatabaseServers>,
    /// Tells somebody what is wrong, where anybody is to be told.
    pub notifier: Option<Arc<dyn Notifier>>,
    /// Counts what happens.
    pub observer: Arc<dyn Observer>,
    /// Ties a span to the trace of the request that caused it, given as a `traceparent` (W3C Trace Context).
    pub link: Link,
    /// The rest.
    pub settings: Arc<Settings>,
}

/// Ties a span to a trace.
pub type Link = Arc<dyn Fn(&Span, &str) + Send + Sync>;

/// Values from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This process, as the holder of the lease.
    pub holder: Uuid,
    /// What tells its things on the engine from those of another installation.
    pub installation: String,
    /// Environments answer below it; probes carry the app's name in `Host`.
    pub base_domain: HostName,
    /// Out of it each environment gets a subnet of 64 addresses.
    pub network_pool: Ipv4Net,
    /// Pulls stop before the engine's disk is fuller than this.
    pub disk_free_min: DiskFloor,
    /// Where apps may send traces, if anywhere.
    pub otlp_endpoint: Option<String>,
}

/// How much of a disk must stay free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DiskFloor {
    /// A share of the whole, 0 to 100.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
}

impl DiskFloor {
    /// Whether so much free space of so much in all is enough.
    pub fn allows(self, free_bytes: u64, total_bytes: u64) -> bool {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "a share of a disk needs no more than 53 bits")]
            Self::Percent(percent) => free_bytes as f64 >= total_bytes as f64 * percent / 100.0,
            Self::Bytes(bytes) => free_bytes >= bytes,
        }
    }
}

impl std::fmt::Display for DiskFloor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => slipway_domain::quantity::Bytes(*bytes).fmt(f),
        }
    }
}

/// Hears what the metrics of the platform count. Calls are short and never block.
pub trait Observer: Send + Sync + 'static {
    /// A deployment ended: `succeeded`, `failed`, …; the reason's code or `none`.
    fn deploy_finished(&self, result: &'static str, reason: &'static str);
    /// A phase of a deployment took so long.
    fn deploy_phase(&self, phase: &'static str, seconds: f64);
    /// Somebody was told of something, or could not be.
    fn told(&self, ok: bool);
    /// One look at an environment took so long and ended so.
    fn reconciled(&self, seconds: f64, ok: bool);
    /// Whether this process leads, and how many environments it last saw unsettled.
    fn leading(&self, leads: bool);
}

#[cfg(test)]
mod tests {
    use super::DiskFloor;

    #[test]
    fn a_floor_counts_what_stays_free() {
        assert!(DiskFloor::Percent(10.0).allows(10, 100));
        assert!(!DiskFloor::Percent(10.0).allows(9, 100));
        assert!(DiskFloor::Bytes(5).allows(5, 100));
        assert!(!DiskFloor::Bytes(5).allows(4, 100));
    }
}
