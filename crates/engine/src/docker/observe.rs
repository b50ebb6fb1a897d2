//! Looking at our containers, found by their labels.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use futures_util::StreamExt;
use slipway_domain::Timestamp;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::observed::{Instance, InstanceState};

use crate::docker::create::network_name;
use crate::docker::going::Going;
use crate::docker::labels::{self, Role};
use crate::docker::{QUESTION, within};
use crate::engine::EngineError;

/// So many containers are inspected at once.
const INSPECTS_MAX: usize = 8;

/// Ids of containers of ours in a role.
pub(crate) async fn ids(
    docker: &Docker,
    environment: Option<EnvironmentId>,
    role: Role,
) -> Result<Vec<String>, EngineError> {
    let found = list(docker, environment, role).await?;
    Ok(found.into_iter().filter_map(|c| c.id).collect())
}

/// Containers of ours in a role.
pub(crate) async fn list(
    docker: &Docker,
    environment: Option<EnvironmentId>,
    role: Role,
) -> Result<Vec<ContainerSummary>, EngineError> {
    let owner = environment.map_or_else(
        || labels::ENVIRONMENT_ID.to_owned(),
        |e| format!("{}={e}", labels::ENVIRONMENT_ID),
    );
    let wanted = vec![owner, format!("{}={}", labels::ROLE, role.as_str())];
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([("label".to_owned(), wanted)])),
        ..ListContainersOptions::default()
    };
    within(QUESTION, docker.list_containers(Some(options))).await
}

pub(super) async fn instances(
    docker: &Docker,
    going: &Going,
    environment: Option<EnvironmentId>,
) -> Result<Vec<Instance>, EngineError> {
    let mut instances = Vec::new();
    let mut inspects = Vec::new();
    for listed in list(docker, environment, Role::App).await? {
        match &listed.id {
            Some(id) if going.has(id) => instances.extend(on_its_way_out(listed)),
            Some(id) => inspects.push(inspect(docker.clone(), id.clone())),
            None => {}
        }
    }
    let found: Vec<_> = futures_util::stream::iter(inspects)
        .buffer_unordered(INSPECTS_MAX)
        .collect()
        .await;
    for result in found {
        match result {
            Ok(response) => instances.extend(instance(response)),
            // Removed between the list and the look.
            Err(EngineError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    instances.sort_by(|a, b| (a.release_number, a.slot, &a.id).cmp(&(b.release_number, b.slot, &b.id)));
    Ok(instances)
}

/// The container under an id or name with its labels; `None` when there is none.
pub(crate) async fn find(
    docker: &Docker,
    id: &str,
) -> Result<Option<(ContainerInspectResponse, HashMap<String, String>)>, EngineError> {
    match within(QUESTION, docker.inspect_container(id, None::<InspectContainerOptions>)).await {
        Ok(mut found) => {
            let labels = found.config.as_mut().and_then(|c| c.labels.take());
            Ok(Some((found, labels.unwrap_or_default())))
        }
        Err(EngineError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn inspect(docker: Docker, id: String) -> Result<ContainerInspectResponse, EngineError> {
    within(QUESTION, docker.inspect_container(&id, None::<InspectContainerOptions>)).await
}

/// A container that is being removed.
fn on_its_way_out(listed: ContainerSummary) -> Option<Instance> {
    let identity = labels::identity(&listed.labels?)?;
    Some(Instance {
        id: listed.id?,
        environment: identity.environment,
        release: identity.release,
        release_number: identity.release_number,
        slot: identity.slot,
        epoch: identity.epoch,
        state: InstanceState::Dead,
        address: None,
    })
}

fn instance(found: ContainerInspectResponse) -> Option<Instance> {
    let identity = labels::identity(&found.config?.labels?)?;
    let state = state(&found.state?);
    let networks = found.network_settings.and_then(|n| n.networks).unwrap_or_default();
    let ip = networks
        .get(&network_name(identity.environment))
        .and_then(|n| n.ip_address.as_deref()?.parse::<IpAddr>().ok());
    let running = matches!(state, InstanceState::Running { .. });
    Some(Instance {
        id: found.id?,
        environment: identity.environment,
        release: identity.release,
        release_number: identity.release_number,
        slot: identity.slot,
        epoch: identity.epoch,
        state,
        address: ip.filter(|_| running).map(|ip| SocketAddr::new(ip, identity.port)),
    })
}

fn time(text: Option<&String>) -> Option<Timestamp> {
    // The engine writes the year 1 where there is no time.
    let parsed: Timestamp = text?.parse().ok()?;
    (parsed.timestamp() > 0).then_some(parsed)
}

fn state(state: &ContainerState) -> InstanceState {
    match state.status {
        Some(ContainerStateStatusEnum::CREATED) => InstanceState::Created,
        Some(ContainerStateStatusEnum::RUNNING) => InstanceState::Running {
            started_at: time(state.started_at.as_ref()).unwrap_or_default(),
        },
        Some(ContainerStateStatusEnum::PAUSED) => InstanceState::Paused,
        Some(ContainerStateStatusEnum::RESTARTING) => InstanceState::Restarting,
        Some(ContainerStateStatusEnum::EXITED) => InstanceState::Exited {
            exit_code: state.exit_code.unwrap_or(-1),
            oom_killed: state.oom_killed.unwrap_or_default(),
            finished_at: time(state.finished_at.as_ref()),
        },
        _ => InstanceState::Dead,
    }
}

/// The first process of a running container, as the engine's machine numbers it, and the container's whole id.
pub(crate) async fn process(docker: &Docker, id: &str) -> Option<(i64, String)> {
    let (found, _) = find(docker, id).await.ok()??;
    let pid = found.state?.pid.filter(|pid| *pid > 0)?;
    Some((pid, found.id?))
}
