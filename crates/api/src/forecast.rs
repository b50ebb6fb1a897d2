//! What a caller is told beforehand of a deployment that stops the old instances first: for how long nobody was served
//! the last time, or where there was none how long it can take.

use chrono::TimeDelta;
use slipway_domain::deployment::{DeploymentState, StepName};
use slipway_domain::spec::{Spec, Strategy};
use slipway_store::{Deployment, Page, Tx};

use crate::error::Result;

/// So many deployments before this one are looked at.
const LOOKED_AT: u32 = 20;

/// The sentence, if the deployment is such a one and something served before it.
pub(crate) async fn forecast(tx: &mut Tx, deployment: &Deployment, spec: &Spec) -> Result<Option<String>> {
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
    if let Some(gap) = earlier.iter().find_map(unserved) {
        let seconds = gap.as_seconds_f64();
        return Ok(Some(format!("the last time nobody was served for {seconds:.1} s")));
    }
    let served = earlier.iter().any(|d| d.state == DeploymentState::Succeeded);
    let (drain, kill, start) = (
        spec.deploy.drain_timeout,
        spec.deploy.kill_timeout,
        spec.health.deadline,
    );
    Ok(served.then(|| {
        format!(
            "nobody is served for as long as the old instances take to finish what they answer (at most {drain}) and to end (at most {kill}), and the new ones to be healthy (at most {start}); from the next time on it is said how long it took"
        )
    }))
}

/// How long nobody was served: from the moment the old instances lost their traffic until the new ones had it.
fn unserved(deployment: &Deployment) -> Option<TimeDelta> {
    let step = |name| deployment.steps.iter().find(|s| s.name == name);
    let (begun, ended) = (step(StepName::Drain)?.started_at, step(StepName::Switch)?.finished_at?);
    let counts = deployment.state == DeploymentState::Succeeded && ended > begun;
    counts.then_some(ended - begun)
}
