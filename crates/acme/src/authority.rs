//! Certificates for names that only this machine or this network resolves.

use slipway_domain::ids::CertificateId;
use slipway_domain::ports::{SealContext, Sealer};
use slipway_domain::secret::Secret;
use slipway_domain::{Clock, Entropy, Timestamp};
use slipway_store::{Certificate, Store, StoreError};

use crate::lead::Lead;
use crate::{Names, Platform, renewal};

/// So many are issued in one go; the rest follow at the next.
const AT_ONCE_MAX: i64 = 256;

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

/// What the internal CA issues with, for whom.
pub struct LocalIssue<'a> {
    /// The database.
    pub store: &'a Store,
    /// Issues.
    pub authority: &'a dyn LocalAuthority,
    /// Seals keys.
    pub sealer: &'a dyn Sealer,
    /// The platform's own names.
    pub platform: &'a Platform,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Randomness.
    pub entropy: &'a dyn Entropy,
}

impl LocalIssue<'_> {
    /// Issues for local names what is not there or grows old, before anybody leads.
    pub async fn run(&self) -> Result<(), LocalError> {
        self.issue(None).await
    }

    /// The same, by who leads.
    pub(crate) async fn issue(&self, lead: Option<Lead>) -> Result<(), LocalError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        let due = tx
            .due_certificates(&self.platform.local(), true, now, AT_ONCE_MAX)
            .await?;
        drop(tx);
        for due in due {
            let issued = self.authority.issue(&due.names, now).map_err(LocalError::Authority)?;
            let renew_at = renewal::by_life(issued.not_before, issued.not_after, self.entropy);
            let plan = Plan {
                ca: None,
                renew_at,
                ari_at: None,
                failures: 0,
            };
            let certificate = sealed(issued, due.names, plan, self.sealer, (now, self.entropy))?;
            let mut tx = match lead {
                Some(lead) => lead.begin(self.store).await?,
                None => self.store.begin().await?,
            };
            tx.insert_certificate(&certificate).await?;
            tx.commit().await?;
            tracing::info!(certificate = %certificate.id, names = ?certificate.names, "certificate.issued by the internal CA");
        }
        Ok(())
    }
}

/// Who is to replace a certificate, and when.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// The directory of the CA; `None` for the internal one.
    pub(crate) ca: Option<&'a str>,
    /// When it is to be replaced.
    pub(crate) renew_at: Timestamp,
    /// When the CA is to be asked again when that should be.
    pub(crate) ari_at: Option<Timestamp>,
    /// Attempts that failed before.
    pub(crate) failures: u32,
}

/// A certificate as the database keeps it.
pub(crate) fn sealed(
    issued: Issued,
    names: Names,
    plan: Plan<'_>,
    sealer: &dyn Sealer,
    (now, entropy): (Timestamp, &dyn Entropy),
) -> Result<Certificate, LocalError> {
    let id = CertificateId::mint(now, entropy);
    let text = id.to_string();
    let context = SealContext::certificate(&text);
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
        ca: plan.ca.map(str::to_owned),
        renew_at: plan.renew_at,
        ari_at: plan.ari_at,
        failures: plan.failures,
        uploaded: false,
    })
}
