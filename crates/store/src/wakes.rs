//! Requests that wait for an environment that rests, as proxies tell.

use slipway_domain::Timestamp;
use slipway_domain::ids::EnvironmentId;

use crate::{StoreError, Tx};

impl Tx {
    /// Notes that requests wait for these environments; those that are gone are passed over. Losing the last moment of it
    /// in a crash costs only a repetition, so it does not wait for the disk.
    #[tracing::instrument(name = "db.ask_to_wake", level = "debug", skip_all)]
    pub async fn ask_to_wake(&mut self, environments: &[EnvironmentId], now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!("set local synchronous_commit = off")
            .execute(self.c())
            .await?;
        let ids: Vec<_> = environments.iter().map(|id| id.uuid()).collect();
        sqlx::query!(
            "insert into wakes (environment_id, asked_at)
             select id, $2 from environments where id = any($1) order by id
             on conflict (environment_id) do update set asked_at = greatest(wakes.asked_at, excluded.asked_at)",
            &ids,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// When somebody last asked for the environment, if anybody ever did.
    #[tracing::instrument(name = "db.wake_asked_at", level = "debug", skip_all)]
    pub(crate) async fn wake_asked_at(&mut self, id: EnvironmentId) -> Result<Option<Timestamp>, StoreError> {
        Ok(
            sqlx::query_scalar!("select asked_at from wakes where environment_id = $1", id.uuid())
                .fetch_optional(self.c())
                .await?,
        )
    }
}
