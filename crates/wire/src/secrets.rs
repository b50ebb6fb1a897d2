//! Secrets. Values go in and never come out.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// How often it was set.
    pub version: i32,
    /// A keyed fingerprint: equal for equal values of one team, and nothing else can be learnt from it.
    pub fingerprint: String,
    /// Whether the spec requires it.
    pub required: bool,
    /// When this version was set.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}

/// The value of a secret.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// The value, 1 byte to 64 KiB.
    #[schema(format = Password)]
    pub value: String,
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewSecret { value: **** }")
    }
}
