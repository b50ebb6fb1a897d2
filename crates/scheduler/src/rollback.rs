//! A release that fails within its bake time is taken back: a deployment of the release before, as if somebody had asked
//! for it.
//!
//! Promises: nothing happens when the intent has changed meanwhile; the failed release is no target for a rollback any
//! more; the audit log says that the platform did it, and why.

use serde_json::json;
use slipway_domain::deployment::Reason;
use slipway_domain::ids::{DeploymentId, ReleaseId};
use slipway_domain::release::{Release, ReleaseCause};
use slipway_domain::{Entropy, ReleaseNumber, Timestamp};
use slipway_store::{AuditEntry, AuditOutcome, Deployment, Desired, EnvironmentWorld, Intent, StoreError, Tx};

/// As whom the platform acts in the record.
const ACTOR: &str = "slipway";

/// Writes the deployment; `None` when something else is wanted by now.
pub(crate) async fn accept(
    tx: &mut Tx,
    rows: &EnvironmentWorld,
    from: ReleaseId,
    to: ReleaseId,
    reason: Option<&Reason>,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Option<Deployment>, StoreError> {
    let Some(environment) = tx.lock_environment(rows.environment.id).await? else {
        return Ok(None);
    };
    let unchanged = environment.generation == rows.environment.generation && environment.desired == Desired::Running;
    let (Some(failed), Some(target), true) = (rows.release(from), rows.release(to), unchanged) else {
        return Ok(None);
    };
    let why = reason.map_or_else(|| "it failed".to_owned(), |r| r.detail.clone());
    let release = Release {
        id: ReleaseId::mint(now, entropy),
        number: ReleaseNumber(0),
        cause: ReleaseCause::AutomaticRollback,
        same_as: Some(target.root()),
        created_at: now,
        created_by: ACTOR.into(),
        good: false,
        ..target.clone()
    };
    let intent = Intent {
        deployment: DeploymentId::mint(now, entropy),
        message: Some(format!(
            "back to {} because {} failed: {why}",
            target.number, failed.number
        )),
        trace_context: None,
    };
    tx.condemn_release(from).await?;
    let newest = tx.newest_secrets(&environment).await?;
    let deployment = tx.intend(&environment, release, intent, &newest, now).await?;
    tx.append_audit(
        &AuditEntry {
            team: Some(environment.team),
            actor: json!({"type": "platform", "name": ACTOR}),
            action: "deployment.create".into(),
            target: json!({
                "type": "deployment", "id": deployment.id,
                "name": format!("{}/{}", environment.app_name, environment.name),
            }),
            outcome: AuditOutcome::Allowed,
            reason: Some(why),
            request_id: None,
            trace_id: None,
            change: Some(json!({
                "release": deployment.release_number.0, "image": deployment.image, "digest": deployment.digest,
                "cause": deployment.cause.as_str(),
            })),
        },
        now,
    )
    .await?;
    Ok(Some(deployment))
}
