//! The state all parts of the proxy share, and its start and end.
//!
//! Promises: everything that can fail fails before the first connection is taken; every task it starts ends before
//! [`run`] returns, or is cut when the drain deadline has passed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use slipway_domain::clock::{Clock, Entropy};
use slipway_domain::ids::{ProxyId, RequestId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::body::Uptime;
use crate::config::{Config, ProxyLimits, SpanTrace, ms};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::drain::Draining;
use crate::error::ProxyError;
use crate::load::Wakes;
use crate::metrics::{Gauges, Metrics};
use crate::on_demand::OnDemand;
use crate::serve::Scheme;
use crate::table::{Environment, InstanceMaker, Table};
use crate::tls::Tls;
use crate::{admin, feed, listen, sync};

/// How long tasks get to notice that they were cut.
const CUT_WAIT: Duration = Duration::from_secs(3);

/// Shared by all connections, requests and tasks.
pub(crate) struct Proxy {
    limits: ProxyLimits,
    trusted: Vec<IpNet>,
    https_redirect_port: u16,
    trace: Option<SpanTrace>,
    version: String,
    clock: Arc<dyn Clock>,
    dice: Dice,
    uptime: Uptime,
    table: ArcSwap<Table>,
    /// The version in force; requests that are held wait for it to change.
    applied: watch::Sender<i64>,
    tls: Tls,
    draining: Draining,
    metrics: Metrics,
    wakes: Wakes,
    on_demand: OnDemand,
    /// Answers of the proxy's own.
    own: Arc<Environment>,
    /// Client connections, tunnels and what they leave behind for a moment.
    tracker: TaskTracker,
    /// Connections to instances.
    wires: TaskTracker,
    /// Finish what is under way, take nothing new.
    stopping: CancellationToken,
    /// The deadline has passed.
    cut: CancellationToken,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Proxy {
    pub(crate) const fn limits(&self) -> &ProxyLimits {
        &self.limits
    }

    pub(crate) const fn https_redirect_port(&self) -> u16 {
        self.https_redirect_port
    }

    /// The `traceparent` of a request's span, if spans are exported.
    pub(crate) fn own_trace(&self, span: &tracing::Span, headers: &http::HeaderMap) -> Option<String> {
        self.trace.and_then(|own| own(span, headers))
    }

    pub(crate) const fn dice(&self) -> &Dice {
        &self.dice
    }

    pub(crate) const fn uptime(&self) -> Uptime {
        self.uptime
    }

    pub(crate) const fn tls(&self) -> &Tls {
        &self.tls
    }

    pub(crate) const fn draining(&self) -> &Draining {
        &self.draining
    }

    pub(crate) const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) const fn wakes(&self) -> &Wakes {
        &self.wakes
    }

    pub(crate) const fn on_demand(&self) -> &OnDemand {
        &self.on_demand
    }

    pub(crate) const fn own(&self) -> &Arc<Environment> {
        &self.own
    }

    pub(crate) const fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    pub(crate) const fn wires(&self) -> &TaskTracker {
        &self.wires
    }

    pub(crate) const fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    pub(crate) const fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<Table>> {
        self.table.load()
    }

    pub(crate) fn mint_request_id(&self) -> RequestId {
        RequestId::mint(self.clock.now(), &self.dice)
    }

    /// Whether the operator trusts what this peer says about clients.
    pub(crate) fn trusts(&self, peer: std::net::IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|net| net.contains(&peer))
    }

    /// Whether any snapshot is in force.
    pub(crate) fn is_ready(&self) -> bool {
        self.table.load().version.0 > 0 && !self.stopping.is_cancelled()
    }

    /// Tells of each change of the table.
    pub(crate) fn watch_applied(&self) -> watch::Receiver<i64> {
        self.applied.subscribe()
    }

    /// Puts a table in force; instances it does not have are sent away.
    pub(crate) fn put_in_force(&self, make: impl FnOnce(&Table, &InstanceMaker) -> Table) {
        let maker = InstanceMaker {
            limits: self.limits,
            drained: Arc::clone(self.draining.changed()),
        };
        let previous = self.table.load_full();
        let next = Arc::new(make(&previous, &maker));
        let version = next.version.0;
        self.table.store(Arc::clone(&next));
        self.draining.retire(next.gone_since(&previous));
        self.metrics.snapshots_applied.fetch_add(1, Ordering::Relaxed);
        self.applied.send_replace(version);
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let table = self.table.load();
        let age = (self.clock.now() - table.issued_at).to_std().unwrap_or(Duration::ZERO);
        Gauges {
            version: self.version.clone(),
            snapshot_version: table.version.0,
            snapshot_age: if table.version.0 > 0 { age } else { Duration::ZERO },
            hosts: table.hosts_len(),
            certificate_names: self.tls.current().names_len(),
            draining_instances: self.draining.len(),
            upstream_in_flight: table.instances().map(|instance| instance.in_flight()).sum(),
            upstream_idle: table.instances().map(|instance| instance.idle_connections()).sum(),
        }
    }
}

/// See [`crate::run`].
pub(crate) async fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    shutdown: CancellationToken,
) -> Result<(), ProxyError> {
    let disk = Disk::open(&config.state_dir)?;
    let id = disk.proxy_id(|| ProxyId::mint(clock.now(), entropy.as_ref()))?;
    let http = listen::open(config.http, "http")?;
    let https = listen::open(config.https, "https")?;
    let admin = config.admin.map(|listen| listen::open(listen, "admin")).transpose()?;
    let wires = TaskTracker::new();
    let control = feed::Control::new(&config.control_socket, wires.clone());
    let proxy = Arc::new(Proxy {
        limits: config.limits,
        trusted: config.trusted_proxies,
        https_redirect_port: config.https_redirect_port,
        trace: config.trace,
        version: config.version,
        dice: Dice::seeded(entropy.as_ref()),
        clock,
        uptime: Uptime::begin(),
        table: ArcSwap::from_pointee(Table::empty()),
        applied: watch::Sender::new(0),
        tls: Tls::new(disk.clone())?,
        draining: Draining::new(),
        metrics: Metrics::new(),
        wakes: Wakes::default(),
        on_demand: OnDemand::new(control.clone()),
        own: Arc::new(Environment::new("-", "-")),
        tracker: TaskTracker::new(),
        wires,
        stopping: shutdown.clone(),
        cut: CancellationToken::new(),
    });
    let mut routes = sync::Routes::new(Arc::clone(&proxy), disk);
    routes.restore().await;
    tracing::info!(proxy = %id, version = proxy.table().version.0, "proxy.started");
    let side = TaskTracker::new();
    if let Some(admin) = admin {
        side.spawn(admin::serve(Arc::clone(&proxy), admin));
    }
    side.spawn(feed::acknowledge(Arc::clone(&proxy), control.clone(), id));
    side.spawn(feed::ask_to_wake(Arc::clone(&proxy), control.clone()));
    side.spawn(feed::report(Arc::clone(&proxy), control.clone(), id));
    side.spawn(feed::follow(Arc::clone(&proxy), control, id, routes));
    side.spawn(sweep(Arc::clone(&proxy)));
    let doors = listen::Doors::new(&proxy);
    tokio::join!(
        listen::accept(Arc::clone(&proxy), http, Scheme::Http, &doors),
        listen::accept(Arc::clone(&proxy), https, Scheme::Https, &doors),
    );
    finish(&proxy, &side).await;
    Ok(())
}

/// Closes connections to instances that nobody used for a while.
async fn sweep(proxy: Arc<Proxy>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = proxy.stopping().cancelled() => return,
        }
        for instance in proxy.table().instances() {
            instance.sweep();
        }
    }
}

async fn finish(proxy: &Arc<Proxy>, side: &TaskTracker) {
    tracing::info!(
        connections = proxy.metrics().connections.load(Ordering::Relaxed),
        "proxy.draining"
    );
    proxy.tracker.close();
    if tokio::time::timeout(ms(proxy.limits.drain_ms_max), proxy.tracker.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = proxy.metrics().connections.load(Ordering::Relaxed),
            "proxy.drain_cut"
        );
    }
    proxy.cut.cancel();
    // Connections to instances end with the table that holds them.
    for instance in proxy.table().instances() {
        instance.retire();
    }
    proxy.wires.close();
    side.close();
    let rest = async { tokio::join!(proxy.tracker.wait(), proxy.wires.wait(), side.wait()) };
    if tokio::time::timeout(CUT_WAIT, rest).await.is_err() {
        tracing::warn!("proxy.tasks_left");
    }
    tracing::info!("proxy.stopped");
}
