//! What handlers work with: the store, the ports, the settings.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use slipway_domain::Timestamp;
use slipway_domain::name::{AppName, EnvironmentName, HostName};
use slipway_domain::ports::{CertificateChecker, DomainInspector, ImageResolver, InstanceReader, Sealer, ZoneEditor};
use slipway_domain::{Clock, Entropy};
use slipway_store::Store;
use tokio::sync::Semaphore;

/// Settings of the API. All times and sizes are bounds.
#[derive(Debug, Clone)]
pub struct ApiSettings {
    /// Below it apps answer.
    pub base_domain: HostName,
    /// Where the API answers through the proxy.
    pub api_domain: Option<HostName>,
    /// The root of the internal CA, PEM.
    pub internal_root_pem: String,
    /// Where the first choice of CA lets orders be tried out.
    pub staging_directory: Option<String>,
    /// The image of managed databases, in which `{version}` is replaced.
    pub postgres_image: String,
    /// The port of HTTPS as the world sees it, for the addresses in answers.
    pub https_port: u16,
    /// The version of the platform, for the document.
    pub version: String,
    /// How long a registry may take to say what an image is.
    pub resolve_timeout: Duration,
    /// The longest request body.
    pub body_bytes_max: usize,
    /// The most streams and waiting calls at once.
    pub streams_max: usize,
}

impl ApiSettings {
    /// The usual bounds.
    pub fn new(base_domain: HostName, https_port: u16, version: impl Into<String>) -> Self {
        Self {
            base_domain,
            api_domain: None,
            internal_root_pem: String::new(),
            staging_directory: None,
            postgres_image: "postgres:{version}".into(),
            https_port,
            version: version.into(),
            resolve_timeout: Duration::from_secs(30),
            body_bytes_max: 1 << 20,
            streams_max: 512,
        }
    }

    /// Where an environment answers.
    pub fn url(&self, app: &AppName, environment: &EnvironmentName) -> String {
        self.url_of(&HostName::of(app, environment, &self.base_domain))
    }

    /// Where visitors find a name.
    pub fn url_of(&self, host: &HostName) -> String {
        match self.https_port {
            443 => format!("https://{host}"),
            port => format!("https://{host}:{port}"),
        }
    }
}

/// Continues the caller's trace in the span of the request, which has not been entered yet, and gives the W3C
/// `traceparent` of that span to be kept with what the request starts.
pub(crate) type TraceHook = fn(&tracing::Span, &HeaderMap) -> Option<String>;

/// A request that was answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered<'a> {
    /// `GET` and the like; `_OTHER` for a method that HTTP does not define.
    pub method: &'static str,
    /// The route as the document writes it; `None` when there is none.
    pub route: Option<&'a str>,
    /// The status of the answer.
    pub status: http::StatusCode,
    /// From the head of the request to the head of the answer.
    pub duration: std::time::Duration,
}

/// All that handlers need.
pub struct ApiState {
    /// The database.
    pub store: Store,
    /// Tells what an image reference is right now.
    pub resolver: Arc<dyn ImageResolver>,
    /// Looks at instances.
    pub instances: Arc<dyn InstanceReader>,
    /// Asks DNS about domains.
    pub inspector: Arc<dyn DomainInspector>,
    /// Changes zones.
    pub zones: Arc<dyn ZoneEditor>,
    /// Looks at certificates that people bring along.
    pub checker: Arc<dyn CertificateChecker>,
    /// Seals secrets.
    pub sealer: Arc<dyn Sealer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// When this server began to answer: keyed requests from before are nobody's any more.
    pub started_at: Timestamp,
    /// Settings.
    pub settings: ApiSettings,
    /// Tells the scheduler that there is something to do. A hint: losing it only adds latency.
    pub wake: Arc<dyn Fn() + Send + Sync>,
    /// Changes whenever an event was appended. A hint as well.
    pub events: tokio::sync::watch::Receiver<u64>,
    /// Continues traces.
    pub trace: TraceHook,
    /// Is told of every request that was answered.
    pub observe: Arc<dyn Fn(&Answered<'_>) + Send + Sync>,
    /// Becomes true when the server shuts down: streams and waiting calls end then.
    pub shutdown: tokio::sync::watch::Receiver<bool>,
}

/// The state as the router shares it.
pub(crate) struct Shared {
    pub(crate) api: ApiState,
    /// Streams and waiting calls hold a permit each.
    pub(crate) streams: Arc<Semaphore>,
    /// The document, rendered once.
    pub(crate) document: bytes::Bytes,
    /// The reference page, rendered once.
    pub(crate) page: bytes::Bytes,
}

impl std::ops::Deref for Shared {
    type Target = ApiState;

    fn deref(&self) -> &ApiState {
        &self.api
    }
}
