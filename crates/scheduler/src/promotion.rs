//! A release that has come into service goes on to the next environment by itself, where its spec says so: the same
//! digest, with the next environment's own spec and secrets.
//!
//! Promises: it is written in the transaction in which the deployment succeeds, so that neither is there without the
//! other; where it cannot be done, the deployment's events say why, and nothing else fails.

use slipway_domain::ids::{DeploymentId, ReleaseId};
use slipway_domain::release::{Release, ReleaseCause};
use slipway_domain::{Entropy, ReleaseNumber, Timestamp};
use slipway_store::{Desired, EnvironmentWorld, Intent, StoreError, Tx};

use crate::by_itself::record;

/// Writes the deployment in the next environment, if there is to be one.
pub(crate) async fn accept(
    tx: &mut Tx,
    rows: &EnvironmentWorld,
    id: DeploymentId,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), StoreError> {
    let deployment = rows.deployment.as_ref().filter(|d| d.id == id);
    let Some(release) = deployment.and_then(|d| rows.release(d.release)) else {
        return Ok(());
    };
    let Some(to) = release
        .spec
        .deploy
        .promote_to
        .as_ref()
        .filter(|_| release.cause.is_new_image())
    else {
        return Ok(());
    };
    let told = match next(tx, rows, release, now, entropy).await? {
        Ok(deployment) => format!("{} goes on to {to}: {deployment}", release.number),
        Err(why) => format!("{} does not go on to {to}: {why}", release.number),
    };
    tx.append_event(id, "deployment.promotion", now, None, &told).await?;
    Ok(())
}

/// The deployment in the next environment, or why there is none.
async fn next(
    tx: &mut Tx,
    rows: &EnvironmentWorld,
    release: &Release,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Result<DeploymentId, String>, StoreError> {
    let Some(to) = &release.spec.deploy.promote_to else {
        return Ok(Err("there is no next environment".into()));
    };
    let found = match tx.environment(rows.environment.app, to).await? {
        Some(found) => tx.lock_environment(found.id).await?,
        None => None,
    };
    let Some(environment) = found else {
        return Ok(Err(format!("there is no environment `{to}`")));
    };
    if environment.desired != Desired::Running {
        return Ok(Err("it is stopped".into()));
    }
    // Where environments name each other, this is where it ends.
    let current = match environment.release {
        Some(id) => tx.release(id).await?,
        None => None,
    };
    if current.is_some_and(|r| r.pin == release.pin) {
        return Ok(Err("it has this image already".into()));
    }
    let secrets = tx.newest_secrets(&environment).await?;
    let required = &environment.spec.secrets.required;
    if let Some(missing) = required.iter().find(|name| !secrets.contains_key(*name)) {
        return Ok(Err(format!("its secret {missing} is not set")));
    }
    if let Some(why) = tx.over_limit(&environment, &environment.spec).await? {
        return Ok(Err(why));
    }
    let made = Release {
        id: ReleaseId::mint(now, entropy),
        environment: environment.id,
        number: ReleaseNumber(0),
        image: release.image.clone(),
        pin: release.pin.clone(),
        spec: environment.spec.clone(),
        secrets: secrets.clone(),
        cause: ReleaseCause::Promote,
        same_as: None,
        created_at: now,
        // As the one who began it, so that nobody approves what they set in motion themselves.
        created_by: release.created_by.clone(),
        good: false,
    };
    let intent = Intent {
        deployment: DeploymentId::mint(now, entropy),
        message: Some(format!("promoted from {} {}", rows.environment.name, release.number)),
        trace_context: None,
    };
    let deployment = tx.intend(&environment, made, intent, &secrets, now).await?;
    let why = format!("`deploy.promote_to` of {}", rows.environment.name);
    tx.append_audit(&record(&environment, &deployment, why), now).await?;
    Ok(Ok(deployment.id))
}
