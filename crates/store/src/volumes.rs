//! `volumes`: named volumes are records, never made implicitly. Written by the scheduler.

use slipway_domain::Timestamp;
use slipway_domain::ids::{EnvironmentId, VolumeId};
use slipway_domain::name::VolumeName;

use crate::row::parse;
use crate::{Environment, StoreError, Tx};

/// A named volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its identifier.
    pub id: VolumeId,
    /// Its name in its environment.
    pub name: VolumeName,
}

impl Tx {
    /// Notes a volume, once.
    #[tracing::instrument(name = "db.ensure_volume", level = "debug", skip_all)]
    pub async fn ensure_volume(&mut self, e: &Environment, volume: &Volume, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into volumes (id, team_id, environment_id, name, created_at) values ($1, $2, $3, $4, $5)
             on conflict (environment_id, name) do nothing",
            volume.id.uuid(),
            e.team.uuid(),
            e.id.uuid(),
            volume.name.as_str(),
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// All of an environment.
    #[tracing::instrument(name = "db.volumes", level = "debug", skip_all)]
    pub async fn volumes(&mut self, environment: EnvironmentId) -> Result<Vec<Volume>, StoreError> {
        let rows = sqlx::query!(
            "select id, name from volumes where environment_id = $1 order by name",
            environment.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let id = VolumeId::from_uuid(r.id);
                Ok(Volume {
                    id,
                    name: parse(&r.name, "volumes", "name", &id)?,
                })
            })
            .collect()
    }
}
