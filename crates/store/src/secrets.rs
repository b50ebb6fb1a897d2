//! `secrets`: every version of every secret, sealed. Written by the API; a release pins versions.

use slipway_domain::Timestamp;
use slipway_domain::ids::{EnvironmentId, SecretId};
use slipway_domain::name::VariableName;
use slipway_domain::secret::Sealed;

use crate::row::parse;
use crate::{Environment, StoreError, Tx};

/// What may be shown of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretInfo {
    /// This version's identifier.
    pub id: SecretId,
    /// Its name.
    pub name: VariableName,
    /// The version, from 1.
    pub version: i32,
    /// Keyed: equal values of one team have equal ones.
    pub fingerprint: String,
    /// When it was set.
    pub created_at: Timestamp,
    /// Who set it.
    pub created_by: String,
}

/// A secret with its ciphertext.
#[derive(Debug, Clone)]
pub struct SealedSecret {
    /// What may be shown.
    pub info: SecretInfo,
    /// The ciphertext.
    pub sealed: Sealed,
}

fn info(
    id: uuid::Uuid,
    name: &str,
    version: i32,
    fingerprint: String,
    created_at: Timestamp,
    created_by: String,
) -> Result<SecretInfo, StoreError> {
    let id = SecretId::from_uuid(id);
    Ok(SecretInfo {
        id,
        name: parse(name, "secrets", "name", &id)?,
        version,
        fingerprint,
        created_at,
        created_by,
    })
}

impl Tx {
    /// Adds the next version of a secret and says which it is; `secret.info.version` is not read. Hold the lock.
    #[tracing::instrument(name = "db.put_secret", level = "debug", skip_all)]
    pub async fn put_secret(&mut self, environment: &Environment, secret: &SealedSecret) -> Result<i32, StoreError> {
        let i = &secret.info;
        let version = sqlx::query_scalar!(
            "insert into secrets (id, team_id, environment_id, name, version, sealed, key_version, fingerprint, created_at, created_by)
             select $1, $2, $3, $4, coalesce(max(version), 0) + 1, $5, $6, $7, $8, $9
             from secrets where environment_id = $3 and name = $4
             returning version",
            i.id.uuid(),
            environment.team.uuid(),
            environment.id.uuid(),
            i.name.as_str(),
            secret.sealed.bytes,
            secret.sealed.key_version,
            i.fingerprint,
            i.created_at,
            i.created_by
        )
        .fetch_one(self.c())
        .await?;
        Ok(version)
    }

    /// The newest version of each secret that is not deleted, by name.
    #[tracing::instrument(name = "db.current_secrets", level = "debug", skip_all)]
    pub async fn current_secrets(&mut self, environment: EnvironmentId) -> Result<Vec<SecretInfo>, StoreError> {
        let rows = sqlx::query!(
            "select id as \"id!\", name as \"name!\", version as \"version!\", fingerprint as \"fingerprint!\",
                    created_at as \"created_at!\", created_by as \"created_by!\"
             from (select distinct on (name) * from secrets where environment_id = $1 order by name, version desc) newest
             where deleted_at is null order by name",
            environment.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| info(r.id, &r.name, r.version, r.fingerprint, r.created_at, r.created_by))
            .collect()
    }

    /// Marks the newest version as deleted; false when there is none.
    #[tracing::instrument(name = "db.delete_secret", level = "debug", skip_all)]
    pub async fn delete_secret(
        &mut self,
        environment: EnvironmentId,
        name: &VariableName,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update secrets set deleted_at = $3
             where id = (select id from secrets where environment_id = $1 and name = $2 order by version desc limit 1)
               and deleted_at is null",
            environment.uuid(),
            name.as_str(),
            now
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Versions with their ciphertext.
    #[tracing::instrument(name = "db.sealed_secrets", level = "debug", skip_all)]
    pub async fn sealed_secrets(&mut self, ids: &[SecretId]) -> Result<Vec<SealedSecret>, StoreError> {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|i| i.uuid()).collect();
        let rows = sqlx::query!(
            "select id, name, version, sealed, key_version, fingerprint, created_at, created_by
             from secrets where id = any($1)",
            &ids
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let sealed = Sealed {
                    key_version: r.key_version,
                    bytes: r.sealed,
                };
                let info = info(r.id, &r.name, r.version, r.fingerprint, r.created_at, r.created_by)?;
                Ok(SealedSecret { info, sealed })
            })
            .collect()
    }
}
