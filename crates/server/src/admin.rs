//! The control plane's own address: metrics and readiness, never public.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use slipway_domain::routing::Snapshot;
use slipway_domain::{Clock, Timestamp};
use slipway_engine::Engine;
use slipway_engine::docker::DockerEngine;
use slipway_store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// A part that does not answer within this is taken for away.
const LOOK_MAX: Duration = Duration::from_secs(3);

/// What it tells of.
#[derive(Clone)]
pub(crate) struct Admin {
    /// The database.
    pub store: Store,
    /// The engine.
    pub engine: DockerEngine,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// The version that runs.
    pub version: &'static str,
    /// What proxies are told.
    pub(crate) snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// The time.
    pub(crate) clock: Arc<dyn Clock>,
    /// When it began.
    pub(crate) started_at: Timestamp,
}

/// Serves until told to stop.
pub(crate) async fn serve(listener: TcpListener, admin: Admin, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/readyz", get(readyz))
        .route("/debug/status", get(status))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(admin);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let known = async {
        let mut tx = admin.store.begin().await?;
        tx.certificate_ends().await
    };
    // Metrics are told even when the database is away; then those of certificates are left out.
    let certificates = known.await.unwrap_or_default();
    let ends: Vec<(String, i64)> = certificates
        .iter()
        .flat_map(|(names, end)| names.iter().map(|n| (n.clone(), end.timestamp())))
        .collect();
    let text = admin.metrics.render(admin.version, &ends);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// An answer within the time a check may take.
async fn within<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(LOOK_MAX, asked)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", LOOK_MAX.as_secs())))
}

/// Each part with what is wrong with it; ready when the database and the engine answer.
async fn readyz(State(admin): State<Admin>) -> Response {
    let database = within(async { admin.store.ping().await.map_err(|e| e.to_string()) });
    let engine = within(async { admin.engine.info().await.map(|i| i.version).map_err(|e| e.to_string()) });
    let proxies = async {
        let mut tx = admin.store.begin().await?;
        let version = tx.route_version().await?;
        let proxies = tx.proxies().await?;
        Ok::<_, slipway_store::StoreError>((version, proxies))
    };
    let proxies = within(Box::pin(async { proxies.await.map_err(|e| e.to_string()) }));
    let (database, engine, proxies) = tokio::join!(database, engine, proxies);
    let proxies = proxies.map(|(version, proxies)| {
        let of = |p: &slipway_store::ProxyRow| {
            serde_json::json!({"id": p.id, "connected": p.connected, "behind": (version.0 - p.applied.0).max(0)})
        };
        proxies.iter().map(of).collect::<Vec<_>>()
    });
    let ready = database.is_ok() && engine.is_ok();
    let body = serde_json::json!({
        "ready": ready,
        "database": database.err().unwrap_or_else(|| "ok".into()),
        "engine": engine.unwrap_or_else(|e| e),
        "scheduler": if admin.metrics.leads() { "leads" } else { "stands by" },
        "proxies": proxies.unwrap_or_default(),
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}

/// What an operator asks first when something is odd: how long it runs, what it leads and tells, what it uses.
async fn status(State(admin): State<Admin>) -> Response {
    let snapshot = admin.snapshots.borrow().clone();
    let told = snapshot.map(|s| {
        serde_json::json!({
            "version": s.version,
            "issued_at": s.issued_at,
            "environments": s.environments.len(),
            "hosts": s.hosts.len(),
            "certificates": s.certificates.len(),
        })
    });
    Json(serde_json::json!({
        "version": admin.version,
        "process": std::process::id(),
        "started_at": admin.started_at,
        "up_seconds": (admin.clock.now() - admin.started_at).num_seconds(),
        "resident_bytes": resident_bytes(),
        "leads": admin.metrics.leads(),
        "snapshot": told,
    }))
    .into_response()
}

/// Memory in use, as the kernel tells; `None` where it does not.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
