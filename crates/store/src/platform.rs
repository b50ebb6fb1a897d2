//! `platform`: facts about this installation; one row.

use slipway_domain::secret::Sealed;

use crate::{StoreError, Tx};

impl Tx {
    /// The sealed known text, if a key was ever checked in.
    #[tracing::instrument(name = "db.key_check", level = "debug", skip_all)]
    pub async fn key_check(&mut self) -> Result<Option<Sealed>, StoreError> {
        let row = sqlx::query!("select key_check, key_check_version from platform")
            .fetch_one(self.c())
            .await?;
        Ok(row
            .key_check
            .zip(row.key_check_version)
            .map(|(bytes, key_version)| Sealed { key_version, bytes }))
    }

    /// Checks a key in.
    #[tracing::instrument(name = "db.set_key_check", level = "debug", skip_all)]
    pub async fn set_key_check(&mut self, sealed: &Sealed) -> Result<(), StoreError> {
        sqlx::query!(
            "update platform set key_check = $1, key_check_version = $2",
            sealed.bytes,
            sealed.key_version
        )
        .execute(self.c())
        .await?;
        Ok(())
    }
}
