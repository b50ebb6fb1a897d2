//! From a release to what its instances are made from.

use std::collections::BTreeMap;

use slipway_domain::Epoch;
use slipway_domain::release::Release;
use slipway_domain::secret::Secret;
use slipway_domain::spec::RunAs;
use slipway_engine::{GroupSpec, Owner};
use slipway_store::Environment;

use crate::settings::Settings;

/// Whose the environment's things are.
pub(crate) fn owner(environment: &Environment, epoch: Epoch, settings: &Settings) -> Owner {
    Owner {
        installation: settings.installation.clone(),
        team: environment.team,
        app: environment.app_name.clone(),
        environment: environment.name.clone(),
        environment_id: environment.id,
        generation: environment.generation,
        epoch,
    }
}

/// The group of a release, its secrets opened.
pub(crate) fn group(
    environment: &Environment,
    release: &Release,
    secrets: BTreeMap<String, Secret>,
    epoch: Epoch,
    settings: &Settings,
) -> GroupSpec {
    let spec = &release.spec;
    GroupSpec {
        owner: owner(environment, epoch, settings),
        release: release.id,
        release_number: release.number,
        image: release.pin.clone(),
        port: spec.internal_port,
        env: variables(environment, release, settings),
        secrets,
        resources: spec.resources,
        read_only: spec.security.read_only,
        user: spec.security.user,
        mounts: spec.mounts.clone(),
        kill_signal: spec.deploy.kill_signal,
        kill_timeout: spec.deploy.kill_timeout,
    }
}

/// Whether the app runs as a user of our choice, which it may not be made for.
pub(crate) fn user_is_forced(user: RunAs) -> bool {
    !matches!(user, RunAs::Image | RunAs::Uid(0))
}

fn variables(environment: &Environment, release: &Release, settings: &Settings) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if let Some(endpoint) = &settings.otlp_endpoint {
        variables.insert("OTEL_EXPORTER_OTLP_ENDPOINT".into(), endpoint.clone());
        variables.insert("OTEL_SERVICE_NAME".into(), environment.app_name.to_string());
        let attributes = format!(
            "service.version={},deployment.environment.name={}",
            release.pin.digest(),
            environment.name
        );
        variables.insert("OTEL_RESOURCE_ATTRIBUTES".into(), attributes);
    }
    // The app's own word wins over the platform's suggestions, but not over the platform's facts.
    variables.extend(
        release
            .spec
            .env
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone())),
    );
    variables.insert("PORT".into(), release.spec.internal_port.to_string());
    variables.insert("SLIPWAY_APP".into(), environment.app_name.to_string());
    variables.insert("SLIPWAY_ENVIRONMENT".into(), environment.name.to_string());
    variables.insert("SLIPWAY_RELEASE".into(), release.number.0.to_string());
    variables
}
