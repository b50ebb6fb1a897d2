//! `custom_domains` that visitors brought along.

use slipway_domain::Timestamp;
use slipway_domain::domains::BroughtNames;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::name::DomainName;

use crate::{StoreError, Tx};

/// Whoever adds such names does so one after the other, so that no bound is passed.
const LOCK: i64 = 0x736c_6970_6e61_6d65;

impl Tx {
    /// Whether a visitor brought a name along; `None` where nobody asks for it.
    #[tracing::instrument(name = "db.is_on_demand", level = "debug", skip_all)]
    pub async fn is_on_demand(&mut self, host: &DomainName) -> Result<Option<bool>, StoreError> {
        let on_demand = sqlx::query_scalar!(
            "select bool_and(on_demand) from custom_domains where host = $1",
            host.as_str()
        )
        .fetch_one(self.c())
        .await?;
        Ok(on_demand)
    }

    /// How many names visitors brought along. Until the transaction ends nobody else adds one.
    #[tracing::instrument(name = "db.brought_names", level = "debug", skip_all)]
    pub async fn brought_names(&mut self, id: EnvironmentId, now: Timestamp) -> Result<BroughtNames, StoreError> {
        sqlx::query!("select pg_advisory_xact_lock($1)", LOCK)
            .execute(self.c())
            .await?;
        let row = sqlx::query!(
            "select count(*) filter (where environment_id = $1) as \"count!\",
                    count(*) filter (where environment_id = $1 and created_at + interval '1 hour' > $2) as \"last_hour!\",
                    count(*) filter (where created_at + interval '1 hour' > $2) as \"last_hour_in_all!\"
             from custom_domains where on_demand and (environment_id = $1 or created_at + interval '1 hour' > $2)",
            id.uuid(),
            now
        )
        .fetch_one(self.c())
        .await?;
        let count = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(BroughtNames {
            count: count(row.count),
            last_hour: count(row.last_hour),
            last_hour_in_all: count(row.last_hour_in_all),
        })
    }

    /// Forgets those that were not proven within an hour, and those that lead elsewhere and have no certificate any more; says
    /// which.
    #[tracing::instrument(name = "db.forget_on_demand", level = "debug", skip_all)]
    pub async fn forget_on_demand(&mut self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        let gone = sqlx::query!(
            "delete from custom_domains d
             where on_demand and not may_order and created_at + interval '1 hour' < $1
               and not exists (select from certificates c
                               where c.names = array[d.host] and c.replaced_at is null and c.not_after > $1)
             returning host, team_id, proof is not null as \"proven!\"",
            now
        )
        .fetch_all(self.c())
        .await?;
        for row in gone.iter().filter(|row| row.proven) {
            sqlx::query!(
                "delete from domains where host = $1 and team_id = $2 and kind = 'custom'",
                row.host,
                row.team_id
            )
            .execute(self.c())
            .await?;
        }
        if gone.iter().any(|row| row.proven) {
            self.bump_routes().await?;
        }
        Ok(gone.into_iter().map(|row| row.host).collect())
    }
}
