//! Certificates for names that only this machine or this network resolves.

use slipway_domain::ids::CertificateId;
use slipway_domain::ports::{SealContext, Sealer};
use slipway_domain::secret::Secret;
use slipway_domain::{Clock, Entropy, Timestamp};
use slipway_store::{Certificate, Store, StoreError};

use crate::plan::due;
use crate::{Names, Platform};

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// PKCS #8, PEM.
    pub key_pem: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Who issued it.
    pub issuer: String,
}

/// Issues without asking anybody.
pub trait LocalAuthority: Send + Sync + 'static {
    /// A certificate for names and one-label wildcards.
    fn issue(&self, names: &[String], now: Timestamp) -> Result<Issued, String>;
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CA, or the key of keys.
    #[error("{0}")]
    Authority(String),
}

/// Issues for the platform's own local names what is not there or about to end.
pub async fn issue_local(
    store: &Store,
    local: &dyn LocalAuthority,
    sealer: &dyn Sealer,
    platform: &Platform,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<(), LocalError> {
    let mut tx = store.begin().await?;
    let current = tx.current_certificates().await?;
    drop(tx);
    let now = clock.now();
    for names in due(&platform.local(), &current, now) {
        let issued = local.issue(names, now).map_err(LocalError::Authority)?;
        let certificate = sealed(issued, names.clone(), None, sealer, (now, entropy))?;
        let mut tx = store.begin().await?;
        tx.insert_certificate(&certificate).await?;
        tx.commit().await?;
        tracing::info!(certificate = %certificate.id, names = ?certificate.names, "certificate.issued by the internal CA");
    }
    Ok(())
}

/// A certificate as the database keeps it.
pub(crate) fn sealed(
    issued: Issued,
    names: Names,
    ca: Option<&str>,
    sealer: &dyn Sealer,
    (now, entropy): (Timestamp, &dyn Entropy),
) -> Result<Certificate, LocalError> {
    let id = CertificateId::mint(now, entropy);
    let text = id.to_string();
    let context = SealContext {
        team: None,
        kind: "certificate",
        id: &text,
    };
    let sealed_key = sealer
        .seal(context, &Secret::new(issued.key_pem))
        .map_err(|e| LocalError::Authority(e.to_string()))?;
    Ok(Certificate {
        id,
        names,
        issuer: issued.issuer,
        chain_pem: issued.chain_pem,
        sealed_key,
        not_before: issued.not_before,
        not_after: issued.not_after,
        created_at: now,
        ca: ca.map(str::to_owned),
        renew_at: None,
        ari_at: None,
    })
}
