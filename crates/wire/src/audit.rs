//! The audit log.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One row of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its place in the chain.
    pub seq: i64,
    /// The team it is about, if one.
    #[schema(required)]
    pub team: Option<String>,
    /// When.
    pub time: DateTime<Utc>,
    /// Who: type, id, name, and how.
    #[schema(value_type = Object)]
    pub actor: serde_json::Value,
    /// What, such as `app.create`.
    pub action: String,
    /// To what: type, id, name.
    #[schema(value_type = Object)]
    pub target: serde_json::Value,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Why it was denied.
    #[schema(required)]
    pub reason: Option<String>,
    /// The request.
    #[schema(required)]
    pub request_id: Option<String>,
    /// The trace.
    #[schema(required)]
    pub trace_id: Option<String>,
    /// What changed, without secret values.
    #[schema(required, value_type = Option<Object>)]
    pub change: Option<serde_json::Value>,
    /// The hash of the row before, in hexadecimal.
    pub prev_hash: String,
    /// The hash of this row, in hexadecimal.
    pub hash: String,
}

/// Whether something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was.
    Allowed,
    /// It was refused.
    Denied,
}

/// Whether the chain holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// Whether every row carries the hash of the one before it.
    pub ok: bool,
    /// How many rows were checked.
    pub rows: u64,
    /// The first row that does not fit.
    #[schema(required)]
    pub broken_at: Option<i64>,
    /// What does not fit there.
    #[schema(required)]
    pub detail: Option<String>,
}
