//! How what the platform does by itself is recorded: as whom, and why.

use serde_json::json;
use slipway_store::{AuditEntry, AuditOutcome, Deployment, Environment};

/// As whom the platform acts in the record.
pub(crate) const ACTOR: &str = "slipway";

/// What the audit log keeps of a deployment that nobody asked for.
pub(crate) fn record(environment: &Environment, deployment: &Deployment, why: String) -> AuditEntry {
    let name = format!("{}/{}", environment.app_name, environment.name);
    AuditEntry {
        team: Some(environment.team),
        actor: json!({"type": "platform", "name": ACTOR}),
        action: "deployment.create".into(),
        target: json!({"type": "deployment", "id": deployment.id, "name": name}),
        outcome: AuditOutcome::Allowed,
        reason: Some(why),
        request_id: None,
        trace_id: None,
        change: Some(json!({
            "release": deployment.release_number.0, "image": deployment.image, "digest": deployment.digest,
            "cause": deployment.cause.as_str(),
        })),
    }
}
