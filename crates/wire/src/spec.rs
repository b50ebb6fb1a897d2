//! The spec of an environment.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The spec with its generation, which is also its `ETag`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SpecDocument {
    /// The whole spec, defaults included.
    pub spec: Spec,
    /// Grows with every change.
    pub generation: i64,
}

/// What an app asks for in one environment: ports, variables, health, scale, resources, security, mounts. What is left
/// out has its default; an unknown key is refused with the nearest known one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Object, example = json!({
    "internal_port": 8080,
    "env": {"LOG_LEVEL": "info"},
    "secrets": {"required": ["DATABASE_URL"]},
    "health": {"path": "/healthz"},
    "scale": {"min": 2},
    "resources": {"cpu": "0.5", "memory": "256MiB"}
}))]
pub struct Spec(pub serde_json::Value);
