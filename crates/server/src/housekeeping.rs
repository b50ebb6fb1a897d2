//! What must be done now and then: old idempotency keys, proxies that are gone, the nightly dump.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use slipway_domain::Clock;
use slipway_store::{AuditEntry, AuditOutcome, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::dump::Dump;
use crate::postgres::Programs;

/// Proxies that have been away for so long do not hold up deploys any more.
const PROXY_AWAY_SECONDS: i32 = 30;
/// How often proxies are looked at.
const TICK: Duration = Duration::from_secs(15);
/// A deployment waits so long for approval, then it is called off.
const APPROVAL_MAX: chrono::TimeDelta = chrono::TimeDelta::days(7);
/// So many runs of one command in one environment are kept.
const RUNS_KEPT_MAX: i64 = 200;
/// So long an alert that is over is kept.
const ALERTS_KEPT: chrono::TimeDelta = chrono::TimeDelta::days(90);
/// How often the rest is looked at, in ticks.
const TICKS_PER_HOUR: u32 = 240;

/// What it works with.
pub(crate) struct Keeper {
    /// The configuration.
    pub config: Config,
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Keeper {
    /// Keeps house until told to stop.
    pub(crate) async fn run(&self, shutdown: &CancellationToken) {
        let mut tick = 0_u32;
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = shutdown.cancelled() => return,
            }
            if let Err(error) = self.proxies().await {
                tracing::warn!(%error, "housekeeping.proxies: the database does not answer");
            }
            if let Err(error) = self.expired().await {
                tracing::warn!(%error, "housekeeping.expired: the database does not answer");
            }
            if tick.is_multiple_of(TICKS_PER_HOUR) {
                self.hourly().await;
            }
            tick = tick.wrapping_add(1);
        }
    }

    async fn proxies(&self) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        let forgotten = tx.forget_proxies(PROXY_AWAY_SECONDS).await?;
        tx.commit().await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "proxies.forgotten: away for too long");
        }
        Ok(())
    }

    /// Environments whose time is over go, and the audit log says that the platform did it.
    async fn expired(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        for unapproved in tx.unapproved_since(now - APPROVAL_MAX).await? {
            tx.abort_deployment(unapproved, "the platform: nobody approved it in time", now)
                .await?;
            tracing::info!(deployment = %unapproved, "deployment.unapproved: nobody approved it in time");
        }
        let over = tx.expired_environments(now).await?;
        for environment in over {
            tx.delete_environment(environment.id, now).await?;
            let name = format!("{}/{}", environment.app_name, environment.name);
            tracing::info!(environment = %name, "environment.expired");
            let entry = AuditEntry {
                team: Some(environment.team),
                actor: json!({"type": "platform", "name": "expiry"}),
                action: "environment.delete".into(),
                target: json!({"type": "environment", "id": environment.id, "name": name}),
                outcome: AuditOutcome::Allowed,
                reason: Some("nothing was deployed to it for as long as it may last".into()),
                request_id: None,
                trace_id: None,
                change: None,
            };
            tx.append_audit(&entry, now).await?;
        }
        tx.commit().await
    }

    async fn hourly(&self) {
        let swept = async {
            let mut tx = self.store.begin().await?;
            tx.sweep_idempotent(self.clock.now()).await?;
            tx.reap_jobs().await?;
            tx.prune_runs(RUNS_KEPT_MAX).await?;
            tx.prune_alerts(self.clock.now() - ALERTS_KEPT).await?;
            tx.commit().await
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, "housekeeping.sweep: the database does not answer");
        }
        let Some(database_url) = self.config.database_url.clone() else {
            return;
        };
        let dump = Dump {
            database_url,
            programs: self.config.postgres_programs.clone().unwrap_or_else(Programs::on_path),
            master_key_file: self.config.master_key_file.clone(),
            dir: self.config.dumps(),
        };
        let now = self.clock.now();
        if dump.is_due(now) {
            match dump.run(now).await {
                Ok(path) => tracing::info!(path = %path.display(), "dump.written"),
                Err(error) => tracing::error!(%error, "dump.failed: the platform's own database was not dumped"),
            }
        }
    }
}
