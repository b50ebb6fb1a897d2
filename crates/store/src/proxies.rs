//! `proxies`: each proxy and what it has in force; times are the database's.

use slipway_domain::generation::RouteVersion;
use slipway_domain::ids::ProxyId;
use slipway_domain::routing::Ack;

use crate::{StoreError, Tx};

/// A proxy as it was heard of last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyRow {
    /// Which.
    pub id: ProxyId,
    /// The version in force there.
    pub applied: RouteVersion,
    /// Instances it still has requests on though they left the snapshot.
    pub draining: Vec<String>,
    /// Whether it follows the feed now.
    pub connected: bool,
}

impl Tx {
    /// Notes what a proxy said. Losing the last moment of it in a crash costs only a repetition, so it does not wait
    /// for the disk.
    #[tracing::instrument(name = "db.upsert_ack", level = "debug", skip_all)]
    pub async fn upsert_ack(&mut self, ack: &Ack) -> Result<(), StoreError> {
        sqlx::query!("set local synchronous_commit = off")
            .execute(self.c())
            .await?;
        sqlx::query!(
            "insert into proxies (id, applied_version, draining, connected) values ($1, $2, $3, true)
             on conflict (id) do update set applied_version = excluded.applied_version, draining = excluded.draining,
                connected = true, seen_at = now()",
            ack.proxy.uuid(),
            ack.applied.0,
            &ack.draining
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Makes the route version at least this: after a database was restored, proxies refuse to go back. None of them has
    /// any of its routes in force, then, whatever version it confirmed before.
    #[tracing::instrument(name = "db.raise_route_version", level = "debug", skip_all)]
    pub async fn raise_route_version(&mut self, least: RouteVersion) -> Result<(), StoreError> {
        sqlx::query!(
            "with raised as (
                 update route_version set version = $1, changed_at = now() where version < $1 returning version)
             update routes set version = raised.version from raised",
            least.0
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes whether a proxy follows the feed.
    #[tracing::instrument(name = "db.set_proxy_connected", level = "debug", skip_all)]
    pub async fn set_proxy_connected(&mut self, id: ProxyId, connected: bool) -> Result<(), StoreError> {
        sqlx::query!(
            "update proxies set connected = $2, seen_at = now() where id = $1",
            id.uuid(),
            connected
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Says that no proxy follows the feed, as at the start of the process that serves it. What each has in force is to
    /// be heard from it anew: the database may have been put back to an older point meanwhile.
    #[tracing::instrument(name = "db.disconnect_proxies", level = "debug", skip_all)]
    pub async fn disconnect_proxies(&mut self) -> Result<(), StoreError> {
        sqlx::query!(
            "update proxies set connected = false, applied_version = 0,
                    seen_at = case when connected then now() else seen_at end"
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Forgets proxies that have been away for so long.
    #[tracing::instrument(name = "db.forget_proxies", level = "debug", skip_all)]
    pub async fn forget_proxies(&mut self, away_seconds: i32) -> Result<u64, StoreError> {
        let done = sqlx::query!(
            "delete from proxies where not connected and seen_at < now() - make_interval(secs => $1)",
            f64::from(away_seconds)
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected())
    }

    /// All that are known.
    #[tracing::instrument(name = "db.proxies", level = "debug", skip_all)]
    pub async fn proxies(&mut self) -> Result<Vec<ProxyRow>, StoreError> {
        let rows = sqlx::query!("select id, applied_version, draining, connected from proxies order by id")
            .fetch_all(self.c())
            .await?;
        Ok(rows
            .into_iter()
            .map(|r| ProxyRow {
                id: ProxyId::from_uuid(r.id),
                applied: RouteVersion(r.applied_version),
                draining: r.draining,
                connected: r.connected,
            })
            .collect())
    }
}
