//! Certificates, without their keys.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domains::DomainReason;

/// A certificate in use, or one that is still to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The names it is for.
    pub names: Vec<String>,
    /// The app that it belongs to; `null` for the platform's own.
    pub app: Option<String>,
    /// Who issued it; `null` while there is none.
    pub issuer: Option<String>,
    /// Whether it was brought along: then nothing renews it.
    pub uploaded: bool,
    /// The directory of the CA; `null` for the internal one.
    pub ca: Option<String>,
    /// From when it is valid.
    pub not_before: Option<DateTime<Utc>>,
    /// Until when it is valid.
    pub not_after: Option<DateTime<Utc>>,
    /// When it is to be replaced.
    pub renew_at: Option<DateTime<Utc>>,
    /// When the next attempt to get one is made, where the last one failed or had to wait.
    pub next_try: Option<DateTime<Utc>>,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// Why the last one failed, or must wait.
    pub reason: Option<DomainReason>,
    /// When the CA is told at the latest that a certificate for these names holds no more, if that was asked for and is
    /// not done.
    pub revoke_at: Option<DateTime<Utc>>,
    /// What the CA said to that last, if it did not do it.
    pub revocation_error: Option<DomainReason>,
}

/// Accounts at CAs whose keys are to be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountsToRoll {
    /// How many.
    pub accounts: u64,
}

/// The root of the internal CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InternalRoot {
    /// PEM.
    pub certificate: String,
}
