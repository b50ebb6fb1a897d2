//! Events of a deployment, as JSON and over SSE.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The last event of a deployment; over SSE the stream ends with it.
pub const FINISHED: &str = "deployment.finished";

/// Something that happened during a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its place in the order of events; over SSE also the `id` to resume after.
    pub id: i64,
    /// What: over SSE also the `event`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    pub time: DateTime<Utc>,
    /// The step it belongs to.
    #[schema(required)]
    pub step: Option<String>,
    /// For people.
    pub message: String,
}
