//! From rows to the snapshot that proxies follow.
//!
//! Promises: the newest snapshot is always at hand; hints make it quick, a poll makes it sure; a database that is
//! away changes nothing that is at hand.

use std::sync::Arc;
use std::time::Duration;

use slipway_domain::Clock;
use slipway_domain::name::HostName;
use slipway_domain::routing::{
    ApiRoute, EnvironmentRoute, Limits, NamePolicy, Queue, RouteState, SNAPSHOT_FORMAT, Snapshot,
};
use slipway_store::{ChallengeKind, Hint, Hints, SnapshotRows, Store, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Behind every hint stands a look of our own.
const POLL: Duration = Duration::from_secs(5);

/// What snapshots carry that does not come from the database.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    /// Where apps answer.
    pub base_domain: HostName,
    /// Where the API answers through the proxy.
    pub api: Option<ApiRoute>,
}

/// The newest snapshot, and a number that changes when something happened in a deployment.
pub(crate) struct Feeds {
    /// For proxies; `None` until the first one was made.
    pub snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    /// For those who wait for events.
    pub events: watch::Sender<u64>,
}

impl Feeds {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            snapshots: watch::Sender::new(None),
            events: watch::Sender::new(0),
        }
    }

    /// Keeps the feeds fresh until told to stop.
    pub(crate) async fn run(&self, store: &Store, fixed: &Fixed, clock: &dyn Clock, shutdown: &CancellationToken) {
        let mut hints: Option<Hints> = None;
        loop {
            if hints.is_none() {
                hints = store
                    .hints()
                    .await
                    .inspect_err(|error| tracing::warn!(%error, "feeds.hints_lost"))
                    .ok();
            }
            if let Err(error) = self.refresh(store, fixed, clock).await {
                tracing::warn!(%error, "feeds.database_away: proxies keep what they have");
            }
            let hint = tokio::select! {
                () = tokio::time::sleep(POLL) => continue,
                () = shutdown.cancelled() => return,
                hint = next(&mut hints) => hint,
            };
            match hint {
                Ok(Hint::Events) => self.events.send_modify(|n| *n = n.wrapping_add(1)),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "feeds.hints_lost");
                    hints = None;
                }
            }
        }
    }

    async fn refresh(&self, store: &Store, fixed: &Fixed, clock: &dyn Clock) -> Result<(), StoreError> {
        let mut tx = store.begin().await?;
        let version = tx.route_version().await?;
        drop(tx);
        if self.snapshots.borrow().as_ref().is_some_and(|s| s.version == version) {
            return Ok(());
        }
        let mut tx = store.begin().await?;
        let rows = tx.snapshot_rows().await?;
        drop(tx);
        let snapshot = Arc::new(snapshot(rows, fixed, clock.now()));
        self.snapshots.send_replace(Some(snapshot));
        Ok(())
    }
}

impl Default for Feeds {
    fn default() -> Self {
        Self::new()
    }
}

async fn next(hints: &mut Option<Hints>) -> Result<Hint, StoreError> {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

/// The snapshot of these rows.
fn snapshot(rows: SnapshotRows, fixed: &Fixed, now: slipway_domain::Timestamp) -> Snapshot {
    let environments: Vec<EnvironmentRoute> = rows
        .environments
        .into_iter()
        .map(|e| {
            let (state, groups) = e.route.unwrap_or((RouteState::Empty, Vec::new()));
            let limits = Limits {
                body_bytes_max: e.spec.http.max_body.0,
                first_byte_ms_max: e.spec.http.request_timeout.as_millis(),
                queue: e.spec.http.max_in_flight.map(|in_flight_max| Queue {
                    in_flight_max,
                    waiting_max: e.spec.http.queue,
                    wait_ms_max: e.spec.http.queue_timeout.as_millis(),
                }),
            };
            EnvironmentRoute {
                id: e.id,
                app: e.app,
                environment: e.name,
                state,
                groups,
                sticky: e.sticky,
                counted: e.spec.scale.sleeps() || e.spec.scale.follows_load(),
                on_demand_tls: e.spec.on_demand_tls,
                limits,
            }
        })
        .collect();
    let (http, tls): (Vec<_>, Vec<_>) = (rows.challenges.into_iter()).partition(|c| c.kind == ChallengeKind::Http01);
    let known = |id| environments.iter().any(|e| e.id == id);
    Snapshot {
        format: SNAPSHOT_FORMAT,
        version: rows.version,
        issued_at: now,
        base_domain: fixed.base_domain.clone(),
        api: fixed.api.clone(),
        hosts: rows.hosts.into_iter().filter(|(_, id)| known(*id)).collect(),
        environments,
        certificates: rows.certificates,
        challenges: http.into_iter().map(|c| (c.token, c.answer)).collect(),
        tls_challenges: tls
            .into_iter()
            .filter_map(|c| Some((c.host.parse().ok()?, c.answer)))
            .collect(),
        redirects: rows.redirects.into_iter().collect(),
        policies: (rows.policies.into_iter())
            .map(|row| {
                let policy = NamePolicy {
                    hsts: row.hsts.header(now),
                    client_ca_pem: row.client_ca_pem,
                };
                (row.name, policy)
            })
            .collect(),
    }
}
