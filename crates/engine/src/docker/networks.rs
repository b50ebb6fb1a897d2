//! One network for each app and environment, on a subnet of ours.
//!
//! Promises: a network that is not the environment's is neither used nor removed, whatever it is called.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptions};
use slipway_domain::ids::EnvironmentId;

use crate::docker::create::network_name;
use crate::docker::{QUESTION, WORK, labels, or_gone, within};
use crate::engine::{EngineError, NetworkSpec, SubnetsInUse};

pub(crate) async fn subnets(docker: &Docker) -> Result<SubnetsInUse, EngineError> {
    let all = within(QUESTION, docker.list_networks(None::<ListNetworksOptions>)).await?;
    let configs = all.into_iter().filter_map(|n| n.ipam?.config).flatten();
    Ok(configs.filter_map(|c| c.subnet).collect())
}

/// Makes the environment's network unless it is there. `making` is held meanwhile: an engine takes a while to make a
/// network, shows it only afterwards, and would make a second one of the same name.
pub(crate) async fn ensure(
    docker: &Docker,
    making: &tokio::sync::Mutex<()>,
    network: &NetworkSpec,
) -> Result<(), EngineError> {
    let environment = network.owner.environment_id;
    let name = network_name(environment);
    if is_there(docker, environment, &name).await? {
        return Ok(());
    }
    let _making = making.lock().await;
    if is_there(docker, environment, &name).await? {
        return Ok(());
    }
    let pool = IpamConfig {
        subnet: Some(network.subnet.clone()),
        ..IpamConfig::default()
    };
    let request = NetworkCreateRequest {
        name: name.clone(),
        driver: Some("bridge".into()),
        ipam: Some(Ipam {
            config: Some(vec![pool]),
            ..Ipam::default()
        }),
        labels: Some(labels::of_owner(&network.owner)),
        options: Some(HashMap::new()),
        ..NetworkCreateRequest::default()
    };
    match within(WORK, docker.create_network(request)).await {
        Ok(_) => Ok(()),
        // An earlier attempt whose answer was lost may have made it, in this very subnet.
        Err(error @ (EngineError::SubnetTaken(_) | EngineError::Refused(_) | EngineError::Busy(_))) => {
            if is_there(docker, environment, &name).await? {
                return Ok(());
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Whether the environment's network is there. Another one of its name is refused.
async fn is_there(docker: &Docker, environment: EnvironmentId, name: &str) -> Result<bool, EngineError> {
    match within(QUESTION, docker.inspect_network(name, None::<InspectNetworkOptions>)).await {
        Ok(found) if found.labels.as_ref().is_some_and(|l| labels::is_of(l, environment)) => Ok(true),
        Ok(_) => Err(EngineError::Refused(format!(
            "a network named {name} exists that is not this environment's: remove it (`docker network rm {name}`)"
        ))),
        Err(EngineError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the environment's network.
pub(crate) async fn remove(docker: &Docker, environment: EnvironmentId) -> Result<(), EngineError> {
    let name = network_name(environment);
    match is_there(docker, environment, &name).await {
        Ok(true) => or_gone(within(WORK, docker.remove_network(&name)).await),
        // Somebody else's is not ours to remove, and ours is not there.
        Ok(false) | Err(EngineError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
