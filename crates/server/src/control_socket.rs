//! The control socket: what proxies read and say, as `slipway_domain::routing` describes it.
//!
//! Promises: only the owner of the data directory can open it (mode 0600); a proxy gets the newest snapshot at once
//! and then each newer one; what a proxy acknowledges is in the database before it is answered.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use slipway_domain::Clock;
use slipway_domain::generation::RouteVersion;
use slipway_domain::ids::{CertificateId, ProxyId};
use slipway_domain::ports::{SealContext, Sealer};
use slipway_domain::routing::{Ack, CertificateMaterial, NameAnswer, NameWish, Snapshot, Wake};
use slipway_domain::traffic::TrafficReport;
use slipway_scheduler::{Bell, TrafficBoard};
use slipway_store::{Store, StoreError};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::on_demand::OnDemand;

/// An empty line this often keeps the connection alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What the socket serves from.
#[derive(Clone)]
pub(crate) struct Control {
    /// The database.
    pub store: Store,
    /// Opens certificate keys.
    pub sealer: Arc<dyn Sealer>,
    /// The newest snapshot.
    pub snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    /// Takes what proxies counted.
    pub traffic: Arc<TrafficBoard>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// Asks apps about names that visitors come with.
    pub on_demand: Arc<OnDemand>,
    /// Rung when a proxy said something.
    pub bell: Bell,
    /// Streams end with it.
    pub shutdown: CancellationToken,
    /// Streams under way.
    pub tasks: TaskTracker,
}

/// Opens the socket at a path, in place of one that a process before left there.
pub(crate) fn bind(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until told to stop.
pub(crate) async fn serve(listener: UnixListener, control: Control) -> std::io::Result<()> {
    let shutdown = control.shutdown.clone();
    let router = Router::new()
        .route("/internal/v1/snapshots", get(snapshots))
        .route("/internal/v1/acks", post(ack))
        .route("/internal/v1/traffic", post(traffic))
        .route("/internal/v1/wakes", post(wakes))
        .route("/internal/v1/names", post(names))
        .route("/internal/v1/certificates/{id}", get(certificate))
        .with_state(control);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

#[derive(serde::Deserialize)]
struct Follower {
    proxy: ProxyId,
}

async fn snapshots(State(control): State<Control>, Query(follower): Query<Follower>) -> Response {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, Infallible>>(1);
    let tasks = control.tasks.clone();
    tasks.spawn(async move {
        tracing::info!(proxy = %follower.proxy, "proxy.connected");
        note_connection(&control, follower.proxy, true).await;
        feed(&control, sender).await;
        note_connection(&control, follower.proxy, false).await;
        tracing::info!(proxy = %follower.proxy, "proxy.disconnected");
    });
    Response::new(Body::from_stream(ReceiverStream::new(receiver)))
}

/// Sends the newest snapshot and each newer one until the proxy hangs up.
async fn feed(control: &Control, sender: mpsc::Sender<Result<Bytes, Infallible>>) {
    let mut snapshots = control.snapshots.clone();
    snapshots.mark_changed();
    loop {
        let line = tokio::select! {
            changed = snapshots.changed() => match changed {
                Ok(()) => snapshots.borrow_and_update().clone().and_then(|s| line(&s)),
                Err(_) => return,
            },
            () = tokio::time::sleep(KEEP_ALIVE) => Some(Bytes::from_static(b"\n")),
            () = sender.closed() => return,
            () = control.shutdown.cancelled() => return,
        };
        if let Some(line) = line
            && sender.send(Ok(line)).await.is_err()
        {
            return;
        }
    }
}

fn line(snapshot: &Snapshot) -> Option<Bytes> {
    let mut text = serde_json::to_vec(snapshot)
        .inspect_err(|error| tracing::error!(%error, "snapshot.unwritable"))
        .ok()?;
    text.push(b'\n');
    Some(text.into())
}

async fn note_connection(control: &Control, proxy: ProxyId, connected: bool) {
    let noted = async {
        let mut tx = control.store.begin().await?;
        tx.set_proxy_connected(proxy, connected).await?;
        tx.commit().await
    };
    if let Err(error) = noted.await {
        tracing::warn!(%proxy, %error, "proxy.connection_not_noted");
    }
}

async fn ack(State(control): State<Control>, Json(ack): Json<Ack>) -> Response {
    let noted = async {
        let mut tx = control.store.begin().await?;
        if ack.applied > tx.route_version().await? {
            // The database is older than what proxies have in force, as after a restore: go on from there.
            tx.raise_route_version(RouteVersion(ack.applied.0 + 1)).await?;
            tracing::warn!(proxy = %ack.proxy, applied = ack.applied.0, "routes.raised above what a proxy has in force");
        }
        tx.upsert_ack(&ack).await?;
        tx.commit().await
    };
    match noted.await {
        Ok(()) => {
            control.bell.acknowledged();
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => unavailable(&error),
    }
}

async fn traffic(State(control): State<Control>, Json(report): Json<TrafficReport>) -> StatusCode {
    let compares = !report.environments.is_empty();
    control.traffic.take(report, control.clock.now());
    // The load alone is looked at by its own clock.
    if compares {
        control.bell.acknowledged();
    }
    StatusCode::NO_CONTENT
}

async fn wakes(State(control): State<Control>, Json(wake): Json<Wake>) -> Response {
    let noted = async {
        let mut tx = control.store.begin().await?;
        tx.ask_to_wake(&wake.environments, control.clock.now()).await?;
        tx.commit().await
    };
    match noted.await {
        Ok(()) => {
            control.bell.wanted(&wake.environments);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => unavailable(&error),
    }
}

async fn names(State(control): State<Control>, Json(wish): Json<NameWish>) -> Response {
    match control.on_demand.is_wanted(&wish.host).await {
        Ok(Some(wanted)) => Json(NameAnswer { wanted }).into_response(),
        Ok(None) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn certificate(State(control): State<Control>, UrlPath(id): UrlPath<CertificateId>) -> Response {
    let found = async {
        let mut tx = control.store.begin().await?;
        tx.certificate(id).await
    };
    let certificate = match found.await {
        Ok(Some(certificate)) => certificate,
        Ok(None) => return StatusCode::NOT_FOUND.into_response(),
        Err(error) => return unavailable(&error),
    };
    let text = id.to_string();
    let context = SealContext::certificate(&text);
    match control.sealer.open(context, &certificate.sealed_key) {
        Ok(key) => {
            let key_pem = key.expose().to_owned();
            Json(CertificateMaterial {
                id,
                chain_pem: certificate.chain_pem,
                key_pem,
            })
            .into_response()
        }
        Err(error) => {
            tracing::error!(certificate = %id, names = ?certificate.names, %error, "certificate.key_unusable: another one is got");
            replace(&control, &certificate.names).await;
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Has another certificate got: the key of this one is lost.
async fn replace(control: &Control, names: &[String]) {
    let asked = async {
        let mut tx = control.store.begin().await?;
        tx.renew_now(names, control.clock.now()).await?;
        tx.commit().await
    };
    if let Err(error) = asked.await {
        tracing::warn!(%error, "control_socket.database_away");
    }
}

fn unavailable(error: &StoreError) -> Response {
    tracing::warn!(%error, "control_socket.database_away");
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}
