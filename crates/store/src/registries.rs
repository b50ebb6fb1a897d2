//! `registries`: pull credentials per team and host. Written by the API.

use slipway_domain::Timestamp;
use slipway_domain::ids::TeamId;
use slipway_domain::image::RegistryHost;
use slipway_domain::secret::Sealed;

use crate::row::parse;
use crate::{StoreError, Tx};

/// Pull credentials, the password sealed.
#[derive(Debug, Clone)]
pub struct Registry {
    /// The registry.
    pub host: RegistryHost,
    /// The user.
    pub username: String,
    /// The password.
    pub sealed_password: Sealed,
    /// When they were set.
    pub updated_at: Timestamp,
    /// Who set them.
    pub updated_by: String,
}

struct Row {
    host: String,
    username: String,
    sealed_password: Vec<u8>,
    key_version: i32,
    updated_at: Timestamp,
    updated_by: String,
}

impl TryFrom<Row> for Registry {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        Ok(Self {
            host: parse(&r.host, "registries", "host", &r.host)?,
            username: r.username,
            sealed_password: Sealed {
                key_version: r.key_version,
                bytes: r.sealed_password,
            },
            updated_at: r.updated_at,
            updated_by: r.updated_by,
        })
    }
}

impl Tx {
    /// Sets or replaces credentials.
    #[tracing::instrument(name = "db.put_registry", level = "debug", skip_all)]
    pub async fn put_registry(&mut self, team: TeamId, registry: &Registry) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into registries (team_id, host, username, sealed_password, key_version, updated_at, updated_by)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (team_id, host) do update set username = excluded.username,
                sealed_password = excluded.sealed_password, key_version = excluded.key_version,
                updated_at = excluded.updated_at, updated_by = excluded.updated_by",
            team.uuid(),
            registry.host.as_str(),
            registry.username,
            registry.sealed_password.bytes,
            registry.sealed_password.key_version,
            registry.updated_at,
            registry.updated_by
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// All of a team, by host.
    #[tracing::instrument(name = "db.registries", level = "debug", skip_all)]
    pub async fn registries(&mut self, team: TeamId) -> Result<Vec<Registry>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select host, username, sealed_password, key_version, updated_at, updated_by
             from registries where team_id = $1 order by host limit 200",
            team.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Registry::try_from).collect()
    }

    /// Those for one host.
    #[tracing::instrument(name = "db.registry", level = "debug", skip_all)]
    pub async fn registry(&mut self, team: TeamId, host: &RegistryHost) -> Result<Option<Registry>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select host, username, sealed_password, key_version, updated_at, updated_by
             from registries where team_id = $1 and host = $2",
            team.uuid(),
            host.as_str()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(Registry::try_from).transpose()
    }

    /// Removes them; false when there were none.
    #[tracing::instrument(name = "db.delete_registry", level = "debug", skip_all)]
    pub async fn delete_registry(&mut self, team: TeamId, host: &RegistryHost) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "delete from registries where team_id = $1 and host = $2",
            team.uuid(),
            host.as_str()
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
