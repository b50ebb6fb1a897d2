//! `certificates`: with their sealed keys.

use slipway_domain::Timestamp;
use slipway_domain::ids::CertificateId;
use slipway_domain::secret::Sealed;

use crate::{StoreError, Tx};

/// A certificate, its key sealed.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Its identifier.
    pub id: CertificateId,
    /// Names and one-label wildcards.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// The key, PKCS #8 PEM, sealed.
    pub sealed_key: Sealed,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// The directory of the CA; `None` for the internal one.
    pub ca: Option<String>,
    /// When it is to be replaced.
    pub renew_at: Option<Timestamp>,
    /// When the CA is to be asked again when that should be.
    pub ari_at: Option<Timestamp>,
}

struct Row {
    id: uuid::Uuid,
    names: Vec<String>,
    issuer: String,
    chain_pem: String,
    sealed_key: Vec<u8>,
    key_version: i32,
    not_before: Timestamp,
    not_after: Timestamp,
    created_at: Timestamp,
    ca: Option<String>,
    renew_at: Option<Timestamp>,
    ari_at: Option<Timestamp>,
}

impl From<Row> for Certificate {
    fn from(r: Row) -> Self {
        Self {
            id: CertificateId::from_uuid(r.id),
            names: r.names,
            issuer: r.issuer,
            chain_pem: r.chain_pem,
            sealed_key: Sealed {
                key_version: r.key_version,
                bytes: r.sealed_key,
            },
            not_before: r.not_before,
            not_after: r.not_after,
            created_at: r.created_at,
            ca: r.ca,
            renew_at: r.renew_at,
            ari_at: r.ari_at,
        }
    }
}

impl Tx {
    /// Adds a certificate and takes those of the same names out of use.
    #[tracing::instrument(name = "db.insert_certificate", level = "debug", skip_all)]
    pub async fn insert_certificate(&mut self, c: &Certificate) -> Result<(), StoreError> {
        sqlx::query!(
            "update certificates set replaced_at = $2 where replaced_at is null and names = $1",
            &c.names,
            c.created_at
        )
        .execute(self.c())
        .await?;
        sqlx::query!(
            "insert into certificates (id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at,
                ca, renew_at, ari_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            c.id.uuid(),
            &c.names,
            c.issuer,
            c.chain_pem,
            c.sealed_key.bytes,
            c.sealed_key.key_version,
            c.not_before,
            c.not_after,
            c.created_at,
            c.ca,
            c.renew_at,
            c.ari_at
        )
        .execute(self.c())
        .await?;
        self.bump_routes().await?;
        Ok(())
    }

    /// Those in use.
    #[tracing::instrument(name = "db.current_certificates", level = "debug", skip_all)]
    pub async fn current_certificates(&mut self) -> Result<Vec<Certificate>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at, ca, renew_at, ari_at
             from certificates where replaced_at is null order by id"
        )
        .fetch_all(self.c())
        .await?;
        Ok(rows.into_iter().map(Certificate::from).collect())
    }

    /// By identifier.
    #[tracing::instrument(name = "db.certificate", level = "debug", skip_all)]
    pub async fn certificate(&mut self, id: CertificateId) -> Result<Option<Certificate>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at, ca, renew_at, ari_at
             from certificates where id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        Ok(row.map(Certificate::from))
    }

    /// Notes when a certificate is to be replaced, and when the CA is asked again.
    #[tracing::instrument(name = "db.plan_renewal", level = "debug", skip_all)]
    pub async fn plan_renewal(
        &mut self,
        id: CertificateId,
        renew_at: Timestamp,
        ari_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update certificates set renew_at = $2, ari_at = $3 where id = $1",
            id.uuid(),
            renew_at,
            ari_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Takes certificates out of use that nobody wants any more.
    #[tracing::instrument(name = "db.retire_certificates", level = "debug", skip_all)]
    pub async fn retire_certificates(&mut self, ids: &[CertificateId], now: Timestamp) -> Result<(), StoreError> {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.uuid()).collect();
        sqlx::query!("update certificates set replaced_at = $2 where id = any($1)", &ids, now)
            .execute(self.c())
            .await?;
        self.bump_routes().await?;
        Ok(())
    }
}
