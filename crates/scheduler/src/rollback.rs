//! A release that fails within its bake time is taken back: a deployment of the release before, as if somebody had asked
//! for it.
//!
//! Promises: nothing happens when the intent has changed meanwhile; the failed release is no target for a rollback any
//! more; the audit log says that the platform did it, and why.

use slipway_domain::deployment::Reason;
use slipway_domain::ids::{DeploymentId, ReleaseId};
use slipway_domain::release::{Release, ReleaseCause};
use slipway_domain::{Entropy, ReleaseNumber, Timestamp};
use slipway_store::{Deployment, Desired, EnvironmentWorld, Intent, StoreError, Tx};

use crate::by_itself::{ACTOR, record};

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
    tx.append_audit(&record(&environment, &deployment, why), now).await?;
    Ok(Some(deployment))
}
