//! Whether the platform is up.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Up or not, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` or `unavailable`.
    pub status: HealthStatus,
}

/// Up or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Up.
    Ok,
    /// Not.
    Unavailable,
}
