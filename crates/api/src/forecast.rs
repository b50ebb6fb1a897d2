//! What a caller is told beforehand of a deployment that stops the old instances first: for how long nobody was served
//! the last time.

use chrono::TimeDelta;
use slipway_domain::deployment::{DeploymentState, StepName};
use slipway_domain::spec::Strategy;
use slipway_store::{Deployment, Page, Tx};

use crate::error::Result;

/// So many deployments before this one are looked at.
const LOOKED_AT: u32 = 20;

/// The sentence, if the deployment is such a one and there was one before.
pub(crate) async fn forecast(tx: &mut Tx, deployment: &Deployment) -> Result<Option<String>> {
    if deployment.strategy != Strategy::Recreate.as_str() {
        return Ok(None);
    }
    let before = Page {
        limit: LOOKED_AT,
        after: Some(deployment.id),
    };
    let earlier = tx
        .deployments(deployment.app, Some(deployment.environment), &before)
        .await?;
    Ok(earlier.iter().find_map(unserved).map(|gap| {
        let seconds = gap.as_seconds_f64();
        format!("the last time nobody was served for {seconds:.1} s")
    }))
}

/// How long nobody was served: from the moment the old instances lost their traffic until the new ones had it.
fn unserved(deployment: &Deployment) -> Option<TimeDelta> {
    let step = |name| deployment.steps.iter().find(|s| s.name == name);
    let (begun, ended) = (step(StepName::Drain)?.started_at, step(StepName::Switch)?.finished_at?);
    let counts = deployment.state == DeploymentState::Succeeded && ended > begun;
    counts.then_some(ended - begun)
}
