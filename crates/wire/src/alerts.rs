//! Alerts.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that somebody is told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// Its identifier.
    pub id: String,
    /// Whether it goes on.
    pub state: AlertState,
    /// What is wrong, such as `crash_loop`.
    pub kind: String,
    /// The team; null where it is the platform's own.
    #[schema(required)]
    pub team: Option<String>,
    /// The app.
    #[schema(required)]
    pub app: Option<String>,
    /// The environment.
    #[schema(required)]
    pub environment: Option<String>,
    /// What happened, for people.
    pub message: String,
    /// Since when.
    pub started_at: DateTime<Utc>,
    /// Until when.
    #[schema(required)]
    pub ended_at: Option<DateTime<Utc>>,
}

/// Whether an alert goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It goes on.
    Firing,
    /// It is over.
    Resolved,
}
