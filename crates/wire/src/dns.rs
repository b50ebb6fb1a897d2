//! Zones that the platform may change. Credentials go in and never come out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A zone that records can be made in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsZone {
    /// Where it begins.
    pub zone: String,
    /// Who keeps it.
    pub provider: String,
    /// The names of what was given, without the values.
    pub settings: Vec<String>,
    /// Whether it is the platform's, and no team's.
    pub platform: bool,
    /// Whether teams may point `_acme-challenge.<name>` into it.
    pub delegation: bool,
    /// What went wrong when it was changed last; `null` if nothing did.
    #[schema(required)]
    pub error: Option<String>,
    /// When it was last set.
    pub updated_at: DateTime<Utc>,
    /// By whom.
    pub updated_by: String,
}

/// How a zone is changed.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDnsZone {
    /// Who keeps it, such as `cloudflare` or `rfc2136`.
    pub provider: String,
    /// What that one wants to know.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, String>)]
    pub settings: BTreeMap<String, String>,
    /// Whether teams may point `_acme-challenge.<name>` into it; for one zone of the platform's.
    #[serde(default)]
    pub delegation: bool,
}

impl std::fmt::Debug for NewDnsZone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&String> = self.settings.keys().collect();
        write!(f, "NewDnsZone {{ provider: {:?}, settings: {keys:?} }}", self.provider)
    }
}

/// What came of trying to change a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DnsZoneCheck {
    /// Whether a record could be made, was told by the zone's servers, and could be taken back.
    pub ok: bool,
    /// What happened, for people.
    pub detail: String,
}
