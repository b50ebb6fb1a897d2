//! `leases`: who may act. Time is the database's; the epoch grows with each new holder and fences the old one.

use slipway_domain::Epoch;
use uuid::Uuid;

use crate::{StoreError, Tx};

impl Tx {
    /// Takes a lease that is free, expired or held under the same name before, always under a new epoch: what the holder
    /// did before is fenced as another's would be. `None` while another holds it.
    #[tracing::instrument(name = "db.acquire_lease", level = "debug", skip_all)]
    pub async fn acquire_lease(&mut self, name: &str, holder: Uuid, ttl_ms: i64) -> Result<Option<Epoch>, StoreError> {
        let epoch = sqlx::query_scalar!(
            "insert into leases (name, holder, epoch, expires_at)
             values ($1, $2, 1, now() + $3::bigint * interval '1 millisecond')
             on conflict (name) do update
                set epoch = leases.epoch + 1, holder = excluded.holder, expires_at = excluded.expires_at
                where leases.holder = excluded.holder or leases.expires_at <= now()
             returning epoch",
            name,
            holder,
            ttl_ms
        )
        .fetch_optional(self.c())
        .await?;
        Ok(epoch.map(Epoch))
    }

    /// Prolongs a lease; false when it is not held any more.
    #[tracing::instrument(name = "db.renew_lease", level = "debug", skip_all)]
    pub async fn renew_lease(
        &mut self,
        name: &str,
        holder: Uuid,
        epoch: Epoch,
        ttl_ms: i64,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update leases set expires_at = now() + $4::bigint * interval '1 millisecond'
             where name = $1 and holder = $2 and epoch = $3 and expires_at > now()",
            name,
            holder,
            epoch.0,
            ttl_ms
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Whether a scheduler is at work.
    #[tracing::instrument(name = "db.is_scheduled", level = "debug", skip_all)]
    pub async fn is_scheduled(&mut self) -> Result<bool, StoreError> {
        let held = sqlx::query_scalar!(
            "select exists (select from leases where name = 'scheduler' and expires_at > now()) as \"held!\""
        )
        .fetch_one(self.c())
        .await?;
        Ok(held)
    }

    /// Gives a lease back.
    #[tracing::instrument(name = "db.release_lease", level = "debug", skip_all)]
    pub async fn release_lease(&mut self, name: &str, holder: Uuid, epoch: Epoch) -> Result<(), StoreError> {
        sqlx::query!(
            "update leases set expires_at = now() where name = $1 and holder = $2 and epoch = $3",
            name,
            holder,
            epoch.0
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Refuses to go on unless the scheduler's lease is still held under this epoch, and keeps it so until the end of
    /// the transaction: the row lock makes a new holder wait. What only the scheduler writes is refused without it.
    #[tracing::instrument(name = "db.fence", level = "debug", skip_all)]
    pub async fn fence(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        self.hold_lease("scheduler", epoch).await?;
        self.epoch = Some(epoch);
        Ok(())
    }

    /// Refuses to go on unless a lease is still held under this epoch, and keeps it so until the end of the transaction.
    #[tracing::instrument(name = "db.hold_lease", level = "debug", skip_all)]
    pub async fn hold_lease(&mut self, name: &str, epoch: Epoch) -> Result<(), StoreError> {
        let held = sqlx::query_scalar!(
            "select 1 as \"one!\" from leases where name = $1 and epoch = $2 and expires_at > now() for share",
            name,
            epoch.0
        )
        .fetch_optional(self.c())
        .await?;
        held.map(drop).ok_or(StoreError::Fenced)
    }
}
