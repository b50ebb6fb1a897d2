//! One network for each app and environment, on a subnet of ours.

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

pub(crate) async fn ensure(docker: &Docker, network: &NetworkSpec) -> Result<(), EngineError> {
    let name = network_name(network.owner.environment_id);
    match within(QUESTION, docker.inspect_network(&name, None::<InspectNetworkOptions>)).await {
        Ok(_) => return Ok(()),
        Err(EngineError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    let pool = IpamConfig {
        subnet: Some(network.subnet.clone()),
        ..IpamConfig::default()
    };
    let request = NetworkCreateRequest {
        name,
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
        // Made by an earlier attempt whose answer was lost.
        Err(EngineError::Refused(text) | EngineError::Busy(text)) if text.contains("already exists") => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) async fn remove(docker: &Docker, environment: EnvironmentId) -> Result<(), EngineError> {
    or_gone(within(WORK, docker.remove_network(&network_name(environment))).await)
}
