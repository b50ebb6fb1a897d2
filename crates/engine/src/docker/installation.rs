//! Everything of one installation, for when it goes.

use std::collections::{BTreeSet, HashMap};

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions, ListVolumesOptions, RemoveVolumeOptions};
use ipnet::{IpNet, Ipv4Net};

use crate::docker::{DockerEngine, QUESTION, WORK, containers, labels, or_gone, within};
use crate::engine::EngineError;

fn ours() -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![labels::ENVIRONMENT_ID.to_owned()])])
}

impl DockerEngine {
    /// Removes containers and networks, and volumes if asked, of the environments whose network lies in the pool.
    /// Says how many things went.
    pub async fn remove_installation(&self, pool: Ipv4Net, volumes: bool) -> Result<usize, EngineError> {
        let docker = self.docker().await?;
        let networks = within(
            QUESTION,
            docker.list_networks(Some(ListNetworksOptions { filters: Some(ours()) })),
        )
        .await?;
        let mut environments = BTreeSet::new();
        let mut names = Vec::new();
        for network in networks {
            let subnets = network.ipam.and_then(|i| i.config).unwrap_or_default();
            let inside = subnets
                .iter()
                .filter_map(|c| c.subnet.as_ref()?.parse::<IpNet>().ok())
                .any(|net| IpNet::V4(pool).contains(&net));
            let environment = network.labels.unwrap_or_default().remove(labels::ENVIRONMENT_ID);
            if let (true, Some(environment), Some(name)) = (inside, environment, network.name) {
                environments.insert(environment);
                names.push(name);
            }
        }
        let mut removed = remove_containers(docker, &environments).await?;
        for name in &names {
            or_gone(within(WORK, docker.remove_network(name)).await)?;
        }
        removed += names.len();
        if volumes {
            removed += remove_volumes(docker, &environments).await?;
        }
        Ok(removed)
    }
}

async fn remove_containers(docker: &Docker, environments: &BTreeSet<String>) -> Result<usize, EngineError> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(ours()),
        ..ListContainersOptions::default()
    };
    let mut removed = 0;
    for container in within(QUESTION, docker.list_containers(Some(options))).await? {
        let environment = container.labels.unwrap_or_default().remove(labels::ENVIRONMENT_ID);
        if let (Some(id), Some(environment)) = (container.id, environment)
            && environments.contains(&environment)
        {
            containers::discard(docker, &id).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

async fn remove_volumes(docker: &Docker, environments: &BTreeSet<String>) -> Result<usize, EngineError> {
    let options = ListVolumesOptions { filters: Some(ours()) };
    let mut removed = 0;
    for volume in within(QUESTION, docker.list_volumes(Some(options)))
        .await?
        .volumes
        .unwrap_or_default()
    {
        let environment = volume.labels.get(labels::ENVIRONMENT_ID);
        if environment.is_some_and(|e| environments.contains(e)) {
            or_gone(within(WORK, docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>)).await)?;
            removed += 1;
        }
    }
    Ok(removed)
}
