//! The API's ports on the container engine.

use slipway_domain::ids::{EnvironmentId, RunId};
use slipway_domain::image::{ImageReference, Pin};
use slipway_domain::observed::{Instance, Observed};
use slipway_domain::ports::{
    BoxFuture, ImageResolver, InstanceReader, LogQuery, LogReceiver, PullPolicy, RegistryCredentials, ResolveError,
    Usage,
};
use slipway_engine::Engine;
use slipway_engine::docker::DockerEngine;
use slipway_scheduler::RUN_OUTPUT_LINES_MAX;

/// The engine as the API may use it: to ask, never to change.
#[derive(Clone)]
pub(crate) struct EnginePorts(pub DockerEngine);

impl ImageResolver for EnginePorts {
    fn resolve<'a>(
        &'a self,
        reference: &'a ImageReference,
        policy: PullPolicy,
        credentials: Option<&'a RegistryCredentials>,
    ) -> BoxFuture<'a, Result<Pin, ResolveError>> {
        Box::pin(async move { self.0.resolve(reference, policy, credentials).await })
    }
}

fn observed<T>(answer: Result<T, slipway_engine::EngineError>) -> Observed<T> {
    match answer {
        Ok(value) => Observed::Known(value),
        Err(error) => Observed::Unknown {
            reason: error.to_string(),
        },
    }
}

impl InstanceReader for EnginePorts {
    fn instances(&self, environment: EnvironmentId) -> BoxFuture<'_, Observed<Vec<Instance>>> {
        Box::pin(async move { observed(self.0.observe(Some(environment)).await) })
    }

    fn usage<'a>(&'a self, instances: &'a [String]) -> BoxFuture<'a, Vec<(String, Usage)>> {
        Box::pin(async move { self.0.usage(instances).await })
    }

    fn logs(&self, environment: EnvironmentId, query: LogQuery) -> BoxFuture<'_, Observed<Box<dyn LogReceiver>>> {
        Box::pin(async move { observed(self.0.logs(environment, query).await) })
    }

    fn run_output(&self, run: RunId) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async move {
            let name = slipway_engine::job_container(slipway_engine::Job::Run(run));
            self.0.log_tail(&name, RUN_OUTPUT_LINES_MAX).await.unwrap_or_default()
        })
    }
}
